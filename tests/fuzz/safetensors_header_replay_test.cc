// The fuzz target over its corpus and over 20,000 mutations, for compilers without libFuzzer.
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fuzz/safetensors_header_fuzz.h"

namespace rsidiff::worker {
namespace {

std::vector<std::pair<std::string, std::string>> Corpus() {
  std::vector<std::pair<std::string, std::string>> corpus;
  std::filesystem::path folder = RSIDIFF_SOURCE_DIR "/tests/fuzz/corpus/safetensors_header";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    corpus.emplace_back(entry.path().filename().string(), ReadFile(entry.path()).value());
  }
  std::sort(corpus.begin(), corpus.end());
  return corpus;
}

// One to four random edits: a byte changed, a piece removed, repeated, or a digit replaced by a long number.
std::string Mutate(std::string bytes, std::mt19937_64& random) {
  auto below = [&random](size_t limit) { return limit == 0 ? 0 : random() % limit; };
  for (size_t edits = 1 + below(4); edits > 0; --edits) {
    size_t at = below(bytes.size()), length = below(16);
    switch (below(5)) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes.erase(at, length);
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 3:
        if (!bytes.empty()) bytes[at] = "{}[],:\"0123456789"[below(17)];
        break;
      default:
        bytes.insert(at, std::to_string(random()));
    }
    // Keep the length field right half of the time, or nothing would get past it.
    if (bytes.size() >= 8 && below(2) == 0) {
      size_t end = bytes.rfind('}');
      uint64_t header = end == std::string::npos || end < 8 ? 0 : end + 1 - 8;
      for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header >> (8 * i) & 0xff);
    }
  }
  return bytes;
}

TEST(SafetensorsHeaderReplayTest, CorpusIsAcceptedOrRefusedAsNamed) {
  for (const auto& [name, bytes] : Corpus()) {
    EXPECT_EQ(CheckSafetensorsHeader(bytes), name.rfind("good", 0) == 0) << name;
  }
}

TEST(SafetensorsHeaderReplayTest, EveryPrefixOfAGoodFileIsRefused) {
  for (const auto& [name, bytes] : Corpus()) {
    if (name.rfind("good", 0) != 0) continue;
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(CheckSafetensorsHeader(absl::string_view(bytes).substr(0, length)))
          << name << " " << length;
    }
  }
}

TEST(SafetensorsHeaderReplayTest, MutationsKeepThePromises) {
  std::mt19937_64 random(1);
  auto corpus = Corpus();
  ASSERT_FALSE(corpus.empty());
  for (int i = 0; i < 20'000; ++i) {
    CheckSafetensorsHeader(Mutate(corpus[random() % corpus.size()].second, random));
  }
}

}  // namespace
}  // namespace rsidiff::worker
