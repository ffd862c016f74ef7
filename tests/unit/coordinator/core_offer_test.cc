// Workers that take some kinds of tasks only, and runs that ask for labels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/base/protocol.h"
#include "coordinator/schedule/offer.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

class CoreOfferTest : public ::testing::Test {
 protected:
  v1::RegisterRequest Registration(const std::string& name, const std::vector<v1::TaskKind>& kinds,
                                   const std::vector<std::string>& labels) {
    v1::RegisterRequest request;
    request.set_request_id(harness_.RequestId());
    request.set_name(name);
    request.set_protocol_version(kProtocolVersion);
    for (v1::TaskKind kind : kinds) request.mutable_capabilities()->add_tasks(kind);
    for (const std::string& label : labels) request.mutable_capabilities()->add_labels(label);
    return request;
  }
  uint64_t Register(const std::string& name, const std::vector<v1::TaskKind>& kinds,
                    const std::vector<std::string>& labels = {}) {
    return harness_.Ok<v1::RegisterResponse>(Registration(name, kinds, labels)).incarnation();
  }

  v1::RunStatus Run() { return harness_.GetRun(1); }

  CoreHarness harness_;
};

std::set<v1::TaskKind> KindsOf(const std::vector<v1::TaskKey>& tasks) {
  std::set<v1::TaskKind> kinds;
  for (const v1::TaskKey& task : tasks) kinds.insert(task.kind());
  return kinds;
}

TEST_F(CoreOfferTest, WorkersGetTheKindsThatTheyTake) {
  const uint64_t painter = Register("painter", {v1::TASK_KIND_GENERATE});
  const uint64_t critic =
      Register("critic", {v1::TASK_KIND_SCORE, v1::TASK_KIND_MOMENTS, v1::TASK_KIND_FIT_REFERENCE,
                          v1::TASK_KIND_WEIGHT, v1::TASK_KIND_MEASURE});
  const uint64_t trainer = Register("trainer", {v1::TASK_KIND_TRAIN});
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2));
  std::set<v1::TaskKind> drawn, judged, trained;
  for (int turn = 0; turn < 10; ++turn) {
    drawn.merge(KindsOf(harness_.Work("painter", painter)));
    judged.merge(KindsOf(harness_.Work("critic", critic)));
    trained.merge(KindsOf(harness_.Work("trainer", trainer)));
  }
  EXPECT_EQ(Run().run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(drawn, std::set<v1::TaskKind>{v1::TASK_KIND_GENERATE});
  EXPECT_EQ(judged,
            (std::set<v1::TaskKind>{v1::TASK_KIND_SCORE, v1::TASK_KIND_MOMENTS, v1::TASK_KIND_FIT_REFERENCE,
                                    v1::TASK_KIND_WEIGHT, v1::TASK_KIND_MEASURE}));
  EXPECT_EQ(trained, std::set<v1::TaskKind>{v1::TASK_KIND_TRAIN});
}

TEST_F(CoreOfferTest, PicturesAreNotKeptForAWorkerThatDoesNotScore) {
  const uint64_t painter = Register("painter", {v1::TASK_KIND_GENERATE});
  const uint64_t critic = Register("critic", {v1::TASK_KIND_SCORE});
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  auto grants = harness_.Lease("painter", painter);
  ASSERT_EQ(grants.size(), 1u);
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("painter", painter, grants[0]));
  // At once, without the time that pictures are kept for who drew them.
  auto scores = harness_.Lease("critic", critic);
  ASSERT_EQ(scores.size(), 1u);
  EXPECT_EQ(scores[0].task().kind(), v1::TASK_KIND_SCORE);
}

TEST_F(CoreOfferTest, RunWaitsForTheLabelsThatItAsksFor) {
  const uint64_t plain = Register("plain", {}, {"small"});
  v1::SubmitRunRequest request = SmallRun("submit", 1);
  request.mutable_spec()->mutable_workers()->add_train_on("a100");
  request.mutable_spec()->mutable_workers()->add_train_on("nvlink");
  harness_.Ok<v1::SubmitRunResponse>(request);
  EXPECT_EQ(Run().waits_for(), "");
  const std::set<v1::TaskKind> done = KindsOf(harness_.Work("plain", plain));
  EXPECT_EQ(done.count(v1::TASK_KIND_WEIGHT), 1u);
  EXPECT_EQ(done.count(v1::TASK_KIND_TRAIN), 0u);
  EXPECT_EQ(Run().waits_for(), "no active worker takes: train, with labels a100, nvlink");
  Register("half", {}, {"a100"});
  EXPECT_THAT(Run().waits_for(), HasSubstr("train"));

  const uint64_t big = Register("big", {}, {"nvlink", "a100"});
  EXPECT_EQ(Run().waits_for(), "");
  EXPECT_EQ(KindsOf(harness_.Work("big", big)).count(v1::TASK_KIND_TRAIN), 1u);
  EXPECT_EQ(Run().run().state(), v1::RUN_STATE_SUCCEEDED);
}

TEST_F(CoreOfferTest, RunWaitsForAnyWorkerAtAll) {
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  EXPECT_EQ(Run().waits_for(), "no worker is active");
  Register("w", {});
  EXPECT_EQ(Run().waits_for(), "");
}

TEST_F(CoreOfferTest, OffersSurviveARestart) {
  const uint64_t painter = Register("painter", {v1::TASK_KIND_GENERATE});
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  harness_.Restart();
  EXPECT_EQ(KindsOf(harness_.Work("painter", painter)), std::set<v1::TaskKind>{v1::TASK_KIND_GENERATE});
  EXPECT_THAT(Run().waits_for(), HasSubstr("no active worker takes: evaluation score"));
}

TEST_F(CoreOfferTest, LabelsOutOfFormAreRefused) {
  for (const char* label : {"", "A100", "two words", "x\n"}) {
    const absl::Status status = harness_.Error(Registration("w", {}, {label}));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << label;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a label is 1 to 63 of a-z"));
  }
  EXPECT_THAT(std::string(harness_.Error(Registration("w", {}, std::vector<std::string>(65, "x"))).message()),
              HasSubstr("at most 64 labels, not 65"));
}

TEST(TakesTest, KindsAndLabelsBoth) {
  v1::RunSpec spec;
  spec.mutable_workers()->add_generate_on("a");
  spec.mutable_workers()->add_score_on("b");
  v1::Capabilities offer;
  EXPECT_FALSE(Takes(offer, spec, v1::TASK_KIND_GENERATE));
  EXPECT_TRUE(Takes(offer, spec, v1::TASK_KIND_TRAIN));
  EXPECT_TRUE(Takes(offer, spec, v1::TASK_KIND_EMBED));
  offer.add_labels("a");
  EXPECT_TRUE(Takes(offer, spec, v1::TASK_KIND_GENERATE));
  EXPECT_FALSE(Takes(offer, spec, v1::TASK_KIND_SCORE));
  offer.add_tasks(v1::TASK_KIND_TRAIN);
  EXPECT_FALSE(Takes(offer, spec, v1::TASK_KIND_GENERATE));
  EXPECT_TRUE(Takes(offer, spec, v1::TASK_KIND_TRAIN));
}

}  // namespace
}  // namespace rsidiff::coordinator
