#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/config/run_file.h"
#include "common/config/yaml_writer.h"

namespace rsidiff {
namespace {

using testing::HasSubstr;

absl::StatusOr<RunFile> ParseFilter(const std::string& filter) {
  return ParseRunFile(absl::StrCat("name: a\nrounds: 1\nmodel: {path: m}\nprompts:\n  train: [t.txt]\n",
                                   "  evaluation: [e.txt]\n", filter,
                                   "scorers:\n  - {name: clip, type: clipscore, path: c}\n"),
                      "run.yaml");
}

std::string FilterErrorOf(const std::string& filter) {
  const absl::StatusOr<RunFile> file = ParseFilter(filter);
  return file.ok() ? "no error" : std::string(file.status().message());
}

TEST(PromptFilterSpec, IsOffUnlessTheSectionIsThere) {
  const absl::StatusOr<RunFile> without = ParseFilter("");
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_FALSE(without->spec.prompts().has_filter());
  const absl::StatusOr<RunFile> with = ParseFilter("  filter: {}\n");
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_TRUE(with->spec.prompts().filter().enabled());
  EXPECT_EQ(with->spec.prompts().filter().clarity(), 0.7);
  EXPECT_THAT(RunSpecToYaml(with->spec), HasSubstr("enabled: true"));
  const absl::StatusOr<RunFile> off = ParseFilter("  filter: {enabled: false}\n");
  ASSERT_TRUE(off.ok()) << off.status();
  EXPECT_FALSE(off->spec.prompts().filter().enabled());
}

TEST(PromptFilterSpec, AJudgeNeedsAnEndpointAndAModel) {
  EXPECT_EQ(FilterErrorOf("  filter: {judge: {endpoint: \"http://h/v1\", model: m}}\n"), "no error");
  EXPECT_THAT(FilterErrorOf("  filter: {judge: {model: m}}\n"),
              HasSubstr("prompts.filter.judge.endpoint is missing"));
  EXPECT_THAT(
      FilterErrorOf("  filter: {judge: {endpoint: \"h:8000\", model: m}}\n"),
      HasSubstr("run.yaml:7:30: prompts.filter.judge.endpoint has to begin with http:// or https://"));
  EXPECT_THAT(FilterErrorOf("  filter: {judge: {endpoint: \"https://h/v1\"}}\n"),
              HasSubstr("prompts.filter.judge.model is missing"));
}

TEST(PromptFilterSpec, ErrorsNameTheirPlace) {
  EXPECT_EQ(FilterErrorOf("  filter: {clarity: 1.5}\n"),
            "run.yaml:7:21: prompts.filter.clarity has to be at least 0 and at most 1, not 1.5");
  EXPECT_EQ(FilterErrorOf("  filter: {diversity: 1}\n"),
            "run.yaml:7:23: prompts.filter.diversity has to be at least 0 and below 1, not 1");
  EXPECT_EQ(FilterErrorOf("  filter: {specificity: -1}\n"),
            "run.yaml:7:25: prompts.filter.specificity has to be at least 0 and at most 1000, not -1");
  EXPECT_THAT(FilterErrorOf("  filter: {enabled: yes}\n"),
              HasSubstr("run.yaml:7:21: prompts.filter.enabled has to be true or false"));
  EXPECT_THAT(FilterErrorOf("  filter: {clearness: 1}\n"), HasSubstr("run.yaml:7:12: unknown key"));
}

}  // namespace
}  // namespace rsidiff
