#include "common/config/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/run_file.h"

namespace rsidiff {
namespace {

std::string SyntaxErrorOf(const std::string& text) {
  const YamlDocument document = ParseYaml(text);
  EXPECT_EQ(document.root == nullptr, !document.errors.empty());
  return document.errors.empty() ? "" : FormatDiagnostics("f", document.errors);
}

TEST(YamlTree, KeepsPositionsQuotesAndDuplicates) {
  const YamlDocument document = ParseYaml("a: 1\nb: [x, \"2\"]\na:\n");
  ASSERT_NE(document.root, nullptr);
  ASSERT_EQ(document.root->entries.size(), 3);
  const YamlNode& list = *document.root->entries[1].value;
  EXPECT_EQ(document.root->entries[1].key_position.line, 2);
  EXPECT_EQ(list.items[1]->position.column, 8);
  EXPECT_FALSE(list.items[0]->quoted);
  EXPECT_TRUE(list.items[1]->quoted);
  EXPECT_EQ(document.root->entries[2].value->kind, YamlNode::Kind::kNull);
}

TEST(YamlTree, SharesAliases) {
  const YamlDocument document = ParseYaml("a: &x {k: 1}\nb: *x\n");
  ASSERT_NE(document.root, nullptr);
  EXPECT_EQ(document.root->entries[0].value, document.root->entries[1].value);
}

TEST(YamlTree, RefusesWhatIsNoSingleTextDocument) {
  EXPECT_EQ(SyntaxErrorOf(""), "f: the file is empty");
  EXPECT_EQ(SyntaxErrorOf("a: 1\n---\nb: 2\n"), "f:2:1: a second document; a run file holds one");
  EXPECT_EQ(SyntaxErrorOf("a: \xC0\x80\n"), "f:1:4: not valid UTF-8");
  EXPECT_EQ(SyntaxErrorOf(std::string("a:\0", 3)), "f:1:3: a zero byte; this is not a text file");
  EXPECT_EQ(SyntaxErrorOf("a: &x [*x]\n"), "f:1:8: an alias inside the value that it stands for");
  EXPECT_EQ(SyntaxErrorOf("{[1]: 2}\n"), "f:1:2: a key has to be a name");
  EXPECT_EQ(SyntaxErrorOf("a: *b\n"), "f:1:4: YAML syntax: the referenced anchor is not defined");
}

TEST(YamlTree, BoundsDepthSizeAndCount) {
  EXPECT_THAT(SyntaxErrorOf(std::string(1000, '[')), testing::HasSubstr("nested deeper than 64 levels"));
  EXPECT_THAT(SyntaxErrorOf(std::string(200'000, '[')), testing::HasSubstr("nested deeper"));
  EXPECT_THAT(SyntaxErrorOf(std::string(kMaxYamlBytes + 1, 'a')),
              testing::HasSubstr("larger than 1048576 bytes"));
  std::string many = "[";
  for (size_t i = 0; i <= kMaxYamlNodes; ++i) many += "1,";
  EXPECT_THAT(SyntaxErrorOf(many + "1]"), testing::HasSubstr("more than 100000 values"));
}

TEST(YamlTree, ManyAliasesOfAliasesStayCheap) {
  std::string text = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 60; ++i) absl::StrAppend(&text, "a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, "]\n");
  EXPECT_EQ(SyntaxErrorOf(text), "");
  EXPECT_FALSE(ParseRunFile(text, "f").ok());
}

// Mutations of a valid file must give a run or errors with places, never a crash.
TEST(YamlTree, MutatedRunFilesNeverCrash) {
  const std::string seed =
      "name: a\nrounds: 1\nmodel: &m {path: b}\nprompts: {train: [t.txt], evaluation: e.txt}\n"
      "scorers:\n  - {name: c, type: hps, path: c, weight: 2}\n  - name: d\n    type: \"clipscore\"\n    "
      "path: |\n      x\n"
      "    role: held_out\ntrain: {lora: {rank: 1}, method: lora}\n";
  ASSERT_TRUE(ParseRunFile(seed, "f.yaml").ok()) << ParseRunFile(seed, "f.yaml").status();
  const std::string pieces[] = {"*m",     "&m",    "? ",  "- ",       "[",   "]", "{",  "}",
                                "!!int ", "|",     ">",   "%",        "\"",  "'", ": ", "\n",
                                "\t",     "---\n", "...", "<<: *m\n", "\\x", "#", "~",  "\xF0\x9F\x98\x80",
                                ",",      "1e999"};
  std::mt19937 random(11);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seed;
    for (int edit = 0; edit < 1 + round % 5; ++edit) {
      const size_t at = random() % (text.size() + 1);
      switch (random() % 4) {
        case 0:
          text.insert(at, pieces[random() % std::size(pieces)]);
          break;
        case 1:
          text.erase(at, random() % 12);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 30));
          break;
        default:
          text.insert(at, 1, static_cast<char>(random() % 256));
      }
      if (text.empty()) text = "a";
    }
    const auto run = ParseRunFile(text, "f.yaml");
    if (run.ok()) continue;
    EXPECT_THAT(std::string(run.status().message()), testing::StartsWith("f.yaml:"));
  }
}

}  // namespace
}  // namespace rsidiff
