#include "common/config/override.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rsidiff {
namespace {

using ::testing::HasSubstr;

const YamlNode* Find(const YamlNode& map, const std::string& key) {
  for (const YamlNode::Entry& entry : map.entries) {
    if (entry.key == key) return entry.value.get();
  }
  return nullptr;
}

TEST(OverrideTest, ReplacesAndAdds) {
  const auto root = ParseYaml("rounds: 3\ntrain: {steps: 40, method: full}\n").root;
  const auto changed = Override(*Override(*Override(root, "rounds=2"), "train.steps=7"), "stop.patience=1");
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(Find(**changed, "rounds")->scalar, "2");
  EXPECT_EQ(Find(*Find(**changed, "train"), "steps")->scalar, "7");
  EXPECT_EQ(Find(*Find(**changed, "train"), "method")->scalar, "full");
  EXPECT_EQ(Find(*Find(**changed, "stop"), "patience")->scalar, "1");
  EXPECT_EQ(Find(*root, "rounds")->scalar, "3");
}

TEST(OverrideTest, ValueIsYaml) {
  const auto changed = Override(ParseYaml("name: a").root, "train.lora={rank: 8}");
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(Find(*Find(*Find(**changed, "train"), "lora"), "rank")->scalar, "8");
}

TEST(OverrideTest, ValueStandsInNoLineOfTheFile) {
  const auto changed = Override(ParseYaml("name: a\nrounds: 2").root, "train={lora: {rank: [8]}}");
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ((*changed)->entries.back().key_position.line, 0);
  const YamlNode* rank = Find(*Find(*Find(**changed, "train"), "lora"), "rank");
  EXPECT_EQ(rank->position.line, 0);
  EXPECT_EQ(rank->items.front()->position.line, 0);
  EXPECT_EQ(Find(**changed, "rounds")->position.line, 2);
}

TEST(OverrideTest, RefusesNonsense) {
  const auto root = ParseYaml("rounds: 3").root;
  EXPECT_THAT(Override(root, "rounds").status().message(), HasSubstr("expected KEY=VALUE"));
  EXPECT_THAT(Override(root, "train.=1").status().message(), HasSubstr("empty key"));
  EXPECT_THAT(Override(root, "rounds.deep=1").status().message(), HasSubstr("has no keys"));
  EXPECT_FALSE(Override(root, "rounds={").ok());
  EXPECT_THAT(Override(root, "rounds=").status().message(), HasSubstr("no value behind the '='"));
}

}  // namespace
}  // namespace rsidiff
