// Measures the filter on prompts whose faults are known. The pool is all of them, without labels, as a run
// sees it. Those of deploy/examples/shapes are cut in two: the default thresholds were chosen on the half
// `kChosenOn`, and the goals are tested on the other half. Those of tests/data/prompts nothing was chosen on.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/seed.h"
#include "coordinator/prompt/filter.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint64_t kChosenOn = 0;
constexpr const char* kShapes = "/deploy/examples/shapes/prompts/train.labels.tsv";
constexpr const char* kOthers = "/tests/data/prompts/labelled.tsv";

struct Labelled {
  std::vector<std::string> prompts;
  std::vector<std::string> labels;
};

Labelled ReadLabels(const std::string& path) {
  Labelled labelled;
  const absl::StatusOr<std::string> text = ReadFile(RSIDIFF_SOURCE_DIR + path);
  EXPECT_TRUE(text.ok()) << text.status();
  std::vector<std::string> lines = absl::StrSplit(text.value_or("label\tprompt"), '\n', absl::SkipEmpty());
  const std::vector<std::string> header = absl::StrSplit(lines[0], '\t');
  const auto column = [&](const char* name) {
    return static_cast<size_t>(std::find(header.begin(), header.end(), name) - header.begin());
  };
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = absl::StrSplit(lines[i], '\t');
    labelled.labels.push_back(cells.at(column("label")));
    labelled.prompts.emplace_back(absl::StripAsciiWhitespace(cells.at(column("prompt"))));
  }
  return labelled;
}

uint64_t HalfOf(size_t index) {
  return Hash64("prompt-labels", {index}) & 1;
}

/// Prompts by label and verdict.
class Counts {
 public:
  Counts(const Labelled& labelled, const FilterThresholds& thresholds, std::optional<uint64_t> half = {}) {
    const std::vector<JudgedPrompt> judged = FilterPrompts(labelled.prompts, thresholds);
    for (size_t i = 0; i < judged.size(); ++i) {
      if (!half || HalfOf(i) == *half) ++counts_[labelled.labels[i]][judged[i].verdict];
    }
  }

  double CleanKept() const { return Part("clean", Verdict::kKept) / Sum("clean"); }
  /// Share of the bad prompts that are rejected.
  double Recall() const { return BadRejected() / Sum("bad"); }
  /// Share of the rejected prompts that are bad.
  double Precision() const {
    return BadRejected() / (BadRejected() + Sum("clean") - Part("clean", Verdict::kKept));
  }
  double BalancedAccuracy() const { return (CleanKept() + Recall()) / 2; }
  /// Of a label's prompts.
  double ShareOf(const std::string& label, Verdict verdict) const {
    return Part(label, verdict) / Sum(label);
  }

  void Print(const char* what) const {
    std::cout << what << "\n  label: kept, clarity, specificity, diversity\n";
    for (const auto& [label, by_verdict] : counts_) {
      std::cout << "  " << label << ":";
      for (const Verdict verdict :
           {Verdict::kKept, Verdict::kUnclear, Verdict::kVague, Verdict::kDuplicate}) {
        std::cout << " " << Part(label, verdict);
      }
      std::cout << "\n";
    }
    std::cout << "  clean kept " << CleanKept() << ", bad rejected " << Recall() << ", rejected that are bad "
              << Precision() << "\n";
  }

 private:
  // Of the label "bad": of all that are not clean.
  double Part(const std::string& label, Verdict verdict) const {
    double part = 0;
    for (const auto& [name, by_verdict] : counts_) {
      const bool counts = label == "bad" ? name != "clean" : name == label;
      const auto found = by_verdict.find(verdict);
      if (counts && found != by_verdict.end()) part += found->second;
    }
    return part;
  }
  double Sum(const std::string& label) const {
    return Part(label, Verdict::kKept) + Part(label, Verdict::kUnclear) + Part(label, Verdict::kVague) +
           Part(label, Verdict::kDuplicate);
  }
  double BadRejected() const { return Sum("bad") - Part("bad", Verdict::kKept); }

  std::map<std::string, std::map<Verdict, int>> counts_;
};

TEST(PromptLabels, KeepsTheCleanAndRejectsTheBadOfTheOtherHalf) {
  const Labelled labelled = ReadLabels(kShapes);
  ASSERT_EQ(labelled.prompts.size(), 2000u);
  Counts(labelled, {}, kChosenOn).Print("half that the thresholds were chosen on");
  const Counts other(labelled, {}, 1 - kChosenOn);
  other.Print("other half");
  EXPECT_GE(other.CleanKept(), 0.95);
  EXPECT_GE(other.Recall(), 0.90);
  EXPECT_GE(other.Precision(), 0.95);
}

// Within a hundredth of the best, and where it makes no difference how they are chosen.
TEST(PromptLabels, DefaultThresholdsAreAmongTheBestOfTheHalfTheyWereChosenOn) {
  const Labelled labelled = ReadLabels(kShapes);
  const Counts chosen(labelled, {}, kChosenOn);
  double best = 0;
  for (const double clarity : {0.3, 0.5, 0.9}) {
    for (const double specificity : {0.5, 4.0, 8.0}) {
      for (const double diversity : {0.05, 0.3, 0.4}) {
        const FilterThresholds thresholds{clarity, specificity, diversity};
        const Counts counts(labelled, thresholds, kChosenOn);
        best = std::max(best, counts.BalancedAccuracy());
        if (clarity < 0.5 || clarity > 0.9 || specificity > 4 || diversity > 0.3) continue;
        EXPECT_NEAR(counts.BalancedAccuracy(), chosen.BalancedAccuracy(), 0.005)
            << clarity << " " << specificity << " " << diversity;
        EXPECT_GE(counts.CleanKept(), 0.994);
        EXPECT_GE(counts.Recall(), 0.9);
      }
    }
  }
  std::cout << "best of the sweep " << best << ", defaults " << chosen.BalancedAccuracy() << "\n";
  EXPECT_GE(chosen.BalancedAccuracy(), best - 0.01);
}

TEST(PromptLabels, EachFaultIsFoundByItsOwnScore) {
  const Counts counts(ReadLabels(kShapes), {});
  counts.Print("all");
  EXPECT_EQ(counts.ShareOf("vague", Verdict::kVague), 1);
  EXPECT_GE(counts.ShareOf("near_duplicate", Verdict::kDuplicate), 0.75);
  EXPECT_GE(counts.ShareOf("contradictory", Verdict::kUnclear), 0.9);
  EXPECT_GE(counts.ShareOf("garbled", Verdict::kUnclear), 0.9);
}

TEST(PromptLabels, OtherPromptsThanTheRulesWereWrittenFor) {
  const Labelled labelled = ReadLabels(kOthers);
  ASSERT_EQ(labelled.prompts.size(), 600u);
  const Counts counts(labelled, {});
  counts.Print("tests/data/prompts/labelled.tsv");
  // What it is, not what is wanted: docs/method.md says what falls short.
  EXPECT_GE(counts.CleanKept(), 0.98);
  EXPECT_GE(counts.Recall(), 0.5);
  EXPECT_GE(counts.Precision(), 0.9);
}

}  // namespace
}  // namespace rsidiff::coordinator
