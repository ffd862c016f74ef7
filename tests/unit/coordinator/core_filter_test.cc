// The look at the training prompts' embeddings, the first phase of round 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/state/result_check.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::SubmitRunRequest FilteredRun(uint32_t rounds) {
  v1::SubmitRunRequest request = SmallRun("submit", rounds);
  request.mutable_spec()->mutable_prompts()->set_per_round(0);
  request.mutable_spec()->mutable_prompts()->mutable_filter()->set_enabled(true);
  request.mutable_spec()->mutable_prompts()->mutable_filter()->set_embedding_distance(0.1);
  return request;
}

std::set<uint32_t> PromptsDrawn(const CoreHarness& harness, uint64_t run_id) {
  std::set<uint32_t> prompts;
  const std::string prefix = SamplePrefix(run_id, 1, v1::PURPOSE_TRAINING);
  for (const auto& [where, value] : harness.disk()) {
    if (where.first != Table::kSamples || where.second.compare(0, prefix.size(), prefix) != 0) continue;
    v1::SampleRecord sample;
    sample.ParseFromString(value);
    prompts.insert(sample.prompt_id());
  }
  return prompts;
}

TEST(CoreFilterTest, RejectedPromptsAreKeptWithTheReasonAndNeverDrawn) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(FilteredRun(2)).run_id();
  EXPECT_EQ(harness.GetRun(run_id).rounds(1).phase(), v1::ROUND_PHASE_FILTER);
  harness.Work("w", incarnation);

  const v1::RunStatus status = harness.GetRun(run_id);
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_SUCCEEDED) << status.run().reason();
  const v1::EmbeddingFilterSummary& found = status.run().embedding_filter();
  EXPECT_EQ(found.judged(), 4);
  EXPECT_EQ(found.diversity(), 1);
  EXPECT_EQ(found.specificity(), 0);
  EXPECT_THAT(harness.artifacts().at(found.rejected_prompts()),
              AllOf(HasSubstr("\"prompt\":\"two cones\""), HasSubstr("\"rejected_by\":\"diversity\""),
                    HasSubstr("means the same as another: \\\"a red cube\\\""), HasSubstr("0.01")));
  EXPECT_EQ(PromptsDrawn(harness, run_id), (std::set<uint32_t>{0, 1, 3})) << "ids do not move";
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
}

TEST(CoreFilterTest, ARestartAtAnyTaskChangesNothing) {
  auto checkpoint = [](size_t restart_before) {
    CoreHarness harness;
    uint64_t incarnation = harness.Register("w");
    const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(FilteredRun(1)).run_id();
    for (size_t task = 0; task < 3; ++task) {
      if (task == restart_before) harness.Restart();
      for (const v1::Grant& grant : harness.Lease("w", incarnation)) {
        harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, grant));
      }
      EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
    }
    harness.Work("w", incarnation);
    return harness.GetRun(run_id).rounds(1).checkpoint();
  };
  const std::string undisturbed = checkpoint(99);
  ASSERT_FALSE(undisturbed.empty());
  for (size_t task = 0; task < 3; ++task) EXPECT_EQ(checkpoint(task), undisturbed);
}

/// A run of 20 prompts, of which every third is rejected.
v1::SubmitRunRequest RunOfManyRejections() {
  v1::SubmitRunRequest request = FilteredRun(1);
  while (request.inputs().train_prompts_size() < 20) {
    request.mutable_inputs()->add_train_prompts(
        absl::StrCat("prompt ", request.inputs().train_prompts_size()));
  }
  return request;
}

/// Of the run, as it is on the disk: without a call, which would bring ticks.
v1::EmbeddingFilterSummary SummaryOnDisk(const CoreHarness& harness, uint64_t run_id) {
  v1::RunRecord run;
  run.ParseFromString(harness.disk().at({Table::kRuns, RunKey(run_id)}));
  return run.embedding_filter();
}

/// Works until the filter's result is there and the first tick of it is due.
uint64_t WorkUntilFiltered(CoreHarness& harness, uint64_t incarnation) {
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(RunOfManyRejections()).run_id();
  while (!harness.TickIsDue()) {
    std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
    if (grants.empty()) break;
    harness.CallOnly(harness.Completion("w", incarnation, grants[0]));
  }
  EXPECT_EQ(SummaryOnDisk(harness, run_id).judged(), 0);
  return run_id;
}

/// What the filter leaves behind, and what is made of it.
std::string FilterResults(CoreHarness& harness, uint64_t run_id) {
  const v1::RunStatus status = harness.GetRun(run_id);
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_SUCCEEDED) << status.run().reason();
  std::string text = status.rounds(1).checkpoint() + status.run().embedding_filter().DebugString() +
                     harness.artifacts().at(status.run().embedding_filter().rejected_prompts());
  for (const auto& [where, value] : harness.disk()) {
    v1::PromptRecord prompt;
    if (where.first == Table::kPrompts && prompt.ParseFromString(value)) text += prompt.DebugString();
  }
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
  return text;
}

CoreOptions FilterSlices(size_t rejections) {
  CoreOptions options;
  options.slice_samples = rejections;
  return options;
}

std::string FilterResultsOfSlices(size_t rejections) {
  CoreHarness harness(FilterSlices(rejections));
  const uint64_t incarnation = harness.Register("w");
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(RunOfManyRejections()).run_id();
  harness.Work("w", incarnation);
  EXPECT_EQ(harness.GetRun(run_id).run().embedding_filter().diversity(), 6);
  return FilterResults(harness, run_id);
}

TEST(CoreFilterTest, ResultsDoNotDependOnTheSlices) {
  const std::string whole = FilterResultsOfSlices(1'000'000);
  for (size_t rejections : {1, 4, 6}) EXPECT_EQ(FilterResultsOfSlices(rejections), whole);
}

TEST(CoreFilterTest, LeasesAreGrantedBetweenTheSlices) {
  CoreHarness harness(FilterSlices(2));
  const uint64_t incarnation = harness.Register("w");
  const uint64_t run_id = WorkUntilFiltered(harness, incarnation);
  harness.Tick();
  EXPECT_EQ(SummaryOnDisk(harness, run_id).diversity(), 2);
  harness.CallOnly(SmallRun("other", 1));
  auto answer = harness.CallOnly(RequestForWork("between", "w", incarnation));
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ(std::get<v1::LeaseResponse>(**answer).grants_size(), 1);
  EXPECT_TRUE(harness.TickIsDue());
}

TEST(CoreFilterTest, RestartBetweenAnyTwoSlicesComesToTheSameEnd) {
  const std::string whole = FilterResultsOfSlices(1'000'000);
  for (int slices = 0; slices <= 6; ++slices) {
    CoreHarness harness(FilterSlices(1));
    const uint64_t run_id = WorkUntilFiltered(harness, harness.Register("w"));
    for (int i = 0; i < slices; ++i) harness.Tick();
    EXPECT_EQ(SummaryOnDisk(harness, run_id).diversity(), slices);
    EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
    harness.Restart();
    EXPECT_TRUE(harness.MemoryEqualsDisk());
    harness.Work("w", harness.Register("w"));
    EXPECT_EQ(FilterResults(harness, run_id), whole) << "after slice " << slices;
  }
}

TEST(CoreFilterTest, ARunThatIsStoppedBetweenTwoSlicesIsSound) {
  CoreHarness harness(FilterSlices(2));
  const uint64_t run_id = WorkUntilFiltered(harness, harness.Register("w"));
  harness.Tick();
  v1::SetRunStateRequest stop;
  stop.set_request_id("stop");
  stop.set_run_id(run_id);
  stop.set_state(v1::RUN_STATE_CANCELLED);
  harness.CallOnly(stop);
  EXPECT_EQ(harness.GetRun(run_id).run().state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(harness.GetRun(run_id).run().embedding_filter().diversity(), 2);
  EXPECT_FALSE(harness.TickIsDue());
  EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
  harness.Restart();
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreFilterTest, AReasonQuotesWholeCharacters) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  v1::SubmitRunRequest request = FilteredRun(1);
  std::string& first = *request.mutable_inputs()->mutable_train_prompts(0);
  first = "a";
  for (int i = 0; i < 200; ++i) first += "\u00e9";
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(request).run_id();
  harness.Work("w", incarnation);
  const std::string& lines =
      harness.artifacts().at(harness.GetRun(run_id).run().embedding_filter().rejected_prompts());
  EXPECT_THAT(lines, HasSubstr("\u00e9...\\\"\","));
  EXPECT_THAT(lines, Not(HasSubstr("\uFFFD")));
}

TEST(CoreFilterTest, EveryPromptRejectedFailsTheRunWithTheReason) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(FilteredRun(1)).run_id();
  while (harness.GetRun(run_id).run().state() == v1::RUN_STATE_ACTIVE) {
    std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
    ASSERT_FALSE(grants.empty());
    v1::CompleteRequest done = harness.Completion("w", incarnation, grants[0]);
    if (grants[0].task().kind() == v1::TASK_KIND_FILTER) {
      v1::FilterResult& result = *done.mutable_result()->mutable_filter();
      result.Clear();
      for (uint32_t prompt = 0; prompt < 4; ++prompt) {
        result.add_rejected(prompt);
        result.add_nearest(prompt);
        result.add_distances(0);
      }
    }
    harness.Ok<v1::CompleteResponse>(done);
  }
  EXPECT_EQ(harness.GetRun(run_id).run().state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(harness.GetRun(run_id).run().reason(), HasSubstr("rejects all 4 training prompts"));
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
}

TEST(CoreFilterTest, AForkKeepsTheFilterAndOneOfTheBaseModelFiltersAnew) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  const uint64_t parent = harness.Ok<v1::SubmitRunResponse>(FilteredRun(1)).run_id();
  harness.Work("w", incarnation);
  harness.Pass(absl::Seconds(1));  // what was begun before the fork is the parent's
  auto fork = [&](uint32_t from) {
    v1::ForkRunRequest request;
    request.set_request_id("fork-" + std::to_string(from));
    request.set_run_id(parent);
    request.set_from_round(from);
    request.set_rounds(from + 1);
    return harness.Ok<v1::SubmitRunResponse>(ForkRun{request, {}}).run_id();
  };
  const uint64_t base = fork(0);
  EXPECT_EQ(harness.GetRun(base).rounds(1).phase(), v1::ROUND_PHASE_FILTER);
  EXPECT_FALSE(harness.GetRun(base).run().has_embedding_filter());
  const uint64_t later = fork(1);
  EXPECT_EQ(harness.GetRun(later).rounds(2).phase(), v1::ROUND_PHASE_SAMPLE);
  harness.Restart();
  harness.Work("w", incarnation);
  EXPECT_EQ(harness.GetRun(base).rounds(1).checkpoint(), harness.GetRun(parent).rounds(1).checkpoint());
  EXPECT_EQ(harness.GetRun(later).run().embedding_filter().diversity(), 1);
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
}

TEST(CoreFilterTest, ResultsThatMakeNoSenseAreRefused) {
  v1::TaskPayload payload;
  payload.mutable_filter()->set_prompts(5);
  auto check = [&payload](std::vector<uint32_t> rejected, std::vector<uint32_t> nearest,
                          std::vector<double> distances) {
    v1::TaskResult result;
    result.mutable_filter()->mutable_rejected()->Add(rejected.begin(), rejected.end());
    result.mutable_filter()->mutable_nearest()->Add(nearest.begin(), nearest.end());
    result.mutable_filter()->mutable_distances()->Add(distances.begin(), distances.end());
    return CheckResult(payload.spec(), payload, result);
  };
  EXPECT_TRUE(check({}, {}, {}).ok());
  EXPECT_TRUE(check({1, 2, 4}, {0, 2, 3}, {0, 0.1, 0.2}).ok());
  EXPECT_THAT(check({1, 2}, {0}, {0, 0}).message(), HasSubstr("1 nearest prompts, not 2"));
  EXPECT_THAT(check({1, 2}, {0, 0}, {0}).message(), HasSubstr("1 distances, not 2"));
  EXPECT_THAT(check({2, 1}, {0, 0}, {0, 0}).message(), HasSubstr("out of order at 1"));
  EXPECT_THAT(check({5}, {0}, {0}).message(), HasSubstr("out of order at 5"));
  EXPECT_THAT(check({1}, {2}, {0}).message(), HasSubstr("not near to a prompt kept before it: 2"));
  EXPECT_THAT(check({1, 2}, {0, 1}, {0, 0}).message(), HasSubstr("kept before it: 1"));
  EXPECT_THAT(check({1}, {0}, {std::nan("")}).message(), HasSubstr("not finite"));
}

}  // namespace
}  // namespace rsidiff::coordinator
