// Measures the filter on prompts whose faults are known (deploy/examples/shapes/prompts/train.labels.tsv).
// The pool is all of them, without labels, as a run sees it. The default thresholds were chosen on the half
// `kChosenOn`; the goals are tested on the other half.
#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/seed.h"
#include "coordinator/prompt/filter.h"
#include "coordinator/prompt/source.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint64_t kChosenOn = 0;

struct Labelled {
  std::vector<std::string> prompts;
  std::vector<std::string> labels;
};

Labelled ReadLabels() {
  Labelled labelled;
  const absl::StatusOr<std::string> text =
      ReadFile(std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes/prompts/train.labels.tsv");
  EXPECT_TRUE(text.ok()) << text.status();
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> cells = absl::StrSplit(line, '\t');
    if (cells[0] == "line") continue;
    labelled.labels.push_back(cells[1]);
    labelled.prompts.push_back(cells[2]);
  }
  return labelled;
}

uint64_t HalfOf(size_t index) {
  return Hash64("prompt-labels", {index}) & 1;
}

struct Shares {
  std::map<std::string, std::pair<int, int>> rejected;  // by label: rejected, all

  double Of(bool bad) const {
    const auto [part, all] = Sum(bad);
    return part / all;
  }

  /// Share of the rejected prompts that are bad.
  double Precision() const {
    const double bad = Sum(true).first;
    return bad / (bad + Sum(false).first);
  }

  /// Of rejected prompts and of all.
  std::pair<double, double> Sum(bool bad) const {
    std::pair<double, double> sum = {0, 0};
    for (const auto& [label, counts] : rejected) {
      if ((label != "clean") != bad) continue;
      sum.first += counts.first;
      sum.second += counts.second;
    }
    return sum;
  }
};

Shares Count(const Labelled& labelled, const std::vector<JudgedPrompt>& judged, uint64_t half) {
  Shares shares;
  for (size_t i = 0; i < judged.size(); ++i) {
    if (HalfOf(i) != half) continue;
    auto& counts = shares.rejected[labelled.labels[i]];
    counts.first += judged[i].verdict != Verdict::kKept;
    ++counts.second;
  }
  return shares;
}

TEST(PromptLabels, KeepsTheCleanAndRejectsTheBadOfTheOtherHalf) {
  const Labelled labelled = ReadLabels();
  ASSERT_EQ(labelled.prompts.size(), 2000u);
  const std::vector<JudgedPrompt> judged = FilterPrompts(labelled.prompts, FilterThresholds());
  for (const uint64_t half : {kChosenOn, 1 - kChosenOn}) {
    const Shares shares = Count(labelled, judged, half);
    std::cout << (half == kChosenOn ? "half that the thresholds were chosen on" : "other half") << "\n";
    for (const auto& [label, counts] : shares.rejected) {
      std::cout << "  " << label << ": " << counts.first << " of " << counts.second << " rejected\n";
    }
    std::cout << "  clean kept " << 1 - shares.Of(false) << ", bad rejected " << shares.Of(true)
              << ", rejected that are bad " << shares.Precision() << "\n";
  }
  const Shares shares = Count(labelled, judged, 1 - kChosenOn);
  EXPECT_GE(1 - shares.Of(false), 0.95);
  EXPECT_GE(shares.Of(true), 0.90);
  EXPECT_GE(shares.Precision(), 0.95);
}

TEST(PromptLabels, RejectsFewOfPublicPromptSets) {
  for (const char* name :
       {"PartiPrompts.tsv", "HPD_prompt.csv", "hpsv2_photo_eval50.txt", "imagereward_benchmark100.json"}) {
    const absl::StatusOr<LoadedPrompts> list =
        ReadPromptFiles({std::string(RSIDIFF_SOURCE_DIR) + "/tests/data/prompts/" + name});
    ASSERT_TRUE(list.ok()) << list.status();
    const FilterCounts counts = CountVerdicts(FilterPrompts(list->prompts, FilterThresholds()));
    EXPECT_EQ(counts.unclear, 0u) << name;
    EXPECT_EQ(counts.vague, 0u) << name;
    EXPECT_LE(counts.duplicate, list->prompts.size() / 200) << name;
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
