#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/digest.h"
#include "coordinator/state/model.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A fleet at the point where round 1's training can be leased.
class CoreTrainingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
    incarnations_["a"] = harness_.Register("a");
    while (!grants_.count("a")) {
      std::vector<v1::Grant> grant = harness_.Lease("a", incarnations_["a"]);
      ASSERT_EQ(grant.size(), 1);
      if (grant[0].task().kind() == v1::TASK_KIND_TRAIN) {
        grants_["a"] = grant[0];
      } else {
        harness_.Ok<v1::CompleteResponse>(harness_.Completion("a", incarnations_["a"], grant[0]));
      }
    }
  }

  void Add(const std::string& name) {
    incarnations_[name] = harness_.Register(name);
    std::vector<v1::Grant> grant = harness_.Lease(name, incarnations_[name]);
    ASSERT_EQ(grant.size(), 1);
    ASSERT_EQ(grant[0].task().kind(), v1::TASK_KIND_TRAIN);
    grants_[name] = grant[0];
  }

  /// Starts a join; the id that its answer will have.
  uint64_t Join(const std::string& name, uint64_t step = 0, uint64_t last_generation = 0) {
    v1::JoinTrainingRequest request = harness_.Join(name, incarnations_[name], grants_[name]);
    request.set_step(step);
    request.set_has_state(last_generation > 0);
    request.set_last_generation(last_generation);
    harness_.Call(request);
    return harness_.last_id();
  }

  v1::JoinTrainingResponse Formed(uint64_t id) {
    auto answer = harness_.answers().find(id);
    if (answer == harness_.answers().end() || !answer->second.ok()) {
      ADD_FAILURE() << "no generation";
      return {};
    }
    return std::get<v1::JoinTrainingResponse>(*answer->second);
  }

  bool MustRegroup(const std::string& name) {
    return harness_.Heartbeat(name, incarnations_[name], {grants_[name]}).regroup_tokens_size() > 0;
  }

  v1::CommitCheckpointRequest Commit(const std::string& name, uint64_t generation, uint64_t step) {
    v1::CommitCheckpointRequest request;
    request.set_request_id(harness_.RequestId());
    request.set_worker(name);
    request.set_incarnation(incarnations_[name]);
    *request.mutable_task() = grants_[name].task();
    request.set_token(grants_[name].token());
    request.set_generation(generation);
    request.set_step(step);
    request.set_checkpoint(Sha256Hex("state " + std::to_string(step)));
    return request;
  }

  CoreHarness harness_;
  std::map<std::string, uint64_t> incarnations_;
  std::map<std::string, v1::Grant> grants_;
};

std::vector<std::string> Names(const v1::JoinTrainingResponse& response) {
  std::vector<std::string> names;
  for (const auto& member : response.generation().members()) names.push_back(member.worker());
  return names;
}

TEST_F(CoreTrainingTest, EveryWorkerThatLeasesGetsItsOwnTokenOfTheGang) {
  Add("b");
  EXPECT_NE(grants_["a"].token(), grants_["b"].token());
  EXPECT_EQ(grants_["a"].payload().train().manifest_parts(0),
            grants_["b"].payload().train().manifest_parts(0));
  uint64_t first = Join("a");
  EXPECT_EQ(harness_.answers().count(first), 0) << "b holds a lease and may come within the window";
  uint64_t second = Join("b");
  EXPECT_THAT(Names(Formed(first)), ElementsAre("a", "b"));
  EXPECT_EQ(Formed(second).rank(), 1);
  EXPECT_EQ(Formed(first).generation().SerializeAsString(), Formed(second).generation().SerializeAsString());
}

TEST_F(CoreTrainingTest, NewcomerMakesTheMembersRegroupAndFollowsThem) {
  uint64_t generation = Formed(Join("a")).generation().generation();
  EXPECT_FALSE(MustRegroup("a"));
  Add("0-newcomer");
  EXPECT_FALSE(MustRegroup("a")) << "it has not joined yet";
  uint64_t newcomer = Join("0-newcomer");
  EXPECT_TRUE(MustRegroup("a"));
  v1::JoinTrainingResponse next = Formed(Join("a", 4, generation));
  EXPECT_THAT(Names(next), ElementsAre("a", "0-newcomer"));
  EXPECT_TRUE(next.generation().members(0).has_state());
  EXPECT_FALSE(next.generation().members(1).has_state());
  EXPECT_GT(next.generation().generation(), generation);
  EXPECT_EQ(Formed(newcomer).rank(), 1);
  EXPECT_FALSE(MustRegroup("a"));
}

TEST_F(CoreTrainingTest, LostMemberMakesTheOthersRegroup) {
  Add("b");
  uint64_t first = Join("a");
  uint64_t generation = Formed(Join("b")).generation().generation();
  Formed(first);
  for (int i = 0; i < 4; ++i) {
    harness_.Pass(absl::Seconds(4));
    harness_.Heartbeat("a", incarnations_["a"], {grants_["a"]});
  }
  EXPECT_TRUE(MustRegroup("a"));
  EXPECT_THAT(Names(Formed(Join("a", 3, generation))), ElementsAre("a"));
  EXPECT_EQ(harness_.GetRun(1).last_error(), "") << "a gang that lives on has lost nothing";
}

TEST_F(CoreTrainingTest, MemberWhoseProcessIsGoneIsNotWaitedFor) {
  Add("b");
  uint64_t first = Join("a");
  uint64_t generation = Formed(Join("b")).generation().generation();
  Formed(first);
  v1::JoinTrainingRequest request = harness_.Join("a", incarnations_["a"], grants_["a"]);
  request.set_step(3);
  request.set_has_state(true);
  request.set_last_generation(generation);
  request.add_gone_tokens(grants_["a"].token());  // nonsense: the caller itself
  request.add_gone_tokens(grants_["b"].token());
  harness_.Call(request);
  EXPECT_THAT(Names(Formed(harness_.last_id())), ElementsAre("a"));
  EXPECT_EQ(harness_.Error(harness_.Join("b", incarnations_["b"], grants_["b"])).code(),
            absl::StatusCode::kAborted)
      << "should it live after all, it is fenced";
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreTrainingTest, DamagedCheckpointGivesWayToTheOneBefore) {
  uint64_t generation = Formed(Join("a")).generation().generation();
  for (uint64_t step : {5, 10}) harness_.Ok<v1::CommitCheckpointResponse>(Commit("a", generation, step));
  harness_.Restart();
  v1::JoinTrainingRequest request = harness_.Join("a", incarnations_["a"], grants_["a"]);
  request.set_last_generation(generation);
  harness_.Call(request);
  v1::GenerationRecord offered = Formed(harness_.last_id()).generation();
  EXPECT_EQ(offered.checkpoint_step(), 10);
  request.set_request_id(harness_.RequestId());
  request.set_last_generation(offered.generation());
  request.add_refused_checkpoints(offered.checkpoint());
  harness_.Call(request);
  v1::GenerationRecord next = Formed(harness_.last_id()).generation();
  EXPECT_EQ(next.checkpoint_step(), 5);
  EXPECT_EQ(next.checkpoint(), Sha256Hex("state 5"));
  EXPECT_EQ(harness_.core().statistics().checkpoints_refused, 1);
  harness_.Ok<v1::CommitCheckpointResponse>(Commit("a", next.generation(), 10));
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreTrainingTest, DrainingMemberIsReleasedAtTheRegroup) {
  Add("b");
  Join("a");
  uint64_t generation = Formed(Join("b")).generation().generation();
  v1::DrainWorkerRequest drain;
  drain.set_request_id("drain");
  drain.set_name("a");
  harness_.Ok<v1::DrainWorkerResponse>(drain);
  EXPECT_TRUE(MustRegroup("a"));
  EXPECT_TRUE(MustRegroup("b"));
  uint64_t leaver = Join("a", 4, generation);
  EXPECT_THAT(Names(Formed(Join("b", 4, generation))), ElementsAre("b"));
  EXPECT_EQ(harness_.answers().at(leaver).status().code(), absl::StatusCode::kAborted);
  auto workers = harness_.Ok<v1::ListWorkersResponse>(v1::ListWorkersRequest());
  EXPECT_EQ(workers.workers(0).state(), v1::WORKER_STATE_DRAINED);
}

TEST_F(CoreTrainingTest, DrainDeadlineFencesTheMemberAndTheOthersGoOn) {
  Add("b");
  Join("a");
  const uint64_t generation = Formed(Join("b")).generation().generation();
  v1::DrainWorkerRequest drain;
  drain.set_request_id("drain");
  drain.set_name("a");
  drain.set_deadline_seconds(10);
  harness_.Ok<v1::DrainWorkerResponse>(drain);
  auto dropped = [this](const std::string& name) {
    return harness_.Heartbeat(name, incarnations_[name], {grants_[name]}).dropped_tokens_size();
  };
  harness_.Pass(absl::Seconds(5));
  EXPECT_EQ(dropped("a"), 0);
  EXPECT_EQ(dropped("b"), 0);
  harness_.Pass(absl::Seconds(5));
  EXPECT_EQ(dropped("a"), 1) << "it did not leave in time";
  EXPECT_EQ(dropped("b"), 0);
  EXPECT_EQ(harness_.Error(Commit("a", generation, 5)).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(harness_.Error(harness_.Completion("a", incarnations_["a"], grants_["a"])).code(),
            absl::StatusCode::kAborted);
  EXPECT_TRUE(MustRegroup("b"));
  const v1::JoinTrainingResponse next = Formed(Join("b", 4, generation));
  EXPECT_THAT(Names(next), ElementsAre("b"));
  harness_.Ok<v1::CommitCheckpointResponse>(Commit("b", next.generation().generation(), 5));
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("b", incarnations_["b"], grants_["b"]));
  EXPECT_EQ(harness_.GetRun(1).last_error(), "") << "a planned end is no error";
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreTrainingTest, OldGenerationsGoAndAreCounted) {
  uint64_t generation = Formed(Join("a")).generation().generation();
  harness_.Ok<v1::CommitCheckpointResponse>(Commit("a", generation, 1));
  auto kept = [this] {
    std::vector<uint64_t> generations;
    for (const auto& [where, value] : harness_.disk()) {
      if (where.first != Table::kGenerations) continue;
      v1::GenerationRecord record;
      record.ParseFromString(value);
      generations.push_back(record.generation());
    }
    return generations;
  };
  for (size_t i = 2; i <= Training::kKeptGenerations + 5; ++i) {
    generation = Formed(Join("a", 1, generation)).generation().generation();
    ASSERT_EQ(kept().size(), std::min(i, Training::kKeptGenerations));
    ASSERT_EQ(kept().back(), generation);
    if (i == Training::kKeptGenerations + 2) harness_.Restart();
  }
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
  EXPECT_TRUE(harness_.CheckDisk().ok()) << harness_.CheckDisk();
  EXPECT_EQ(Formed(Join("a")).generation().checkpoint_step(), 1);
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("a", incarnations_["a"], grants_["a"]));
  EXPECT_EQ(harness_.GetRun(1).rounds(1).train().generations(), Training::kKeptGenerations + 5);
}

TEST_F(CoreTrainingTest, JoinAgainAfterALostAnswerOrARestartGetsTheSameGeneration) {
  uint64_t generation = Formed(Join("a")).generation().generation();
  EXPECT_EQ(Formed(Join("a")).generation().generation(), generation);
  harness_.Restart();
  EXPECT_EQ(Formed(Join("a")).generation().generation(), generation);
  EXPECT_GT(Formed(Join("a", 2, generation)).generation().generation(), generation);
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreTrainingTest, CheckpointsAreFencedAndCarriedOn) {
  uint64_t generation = Formed(Join("a")).generation().generation();
  harness_.Ok<v1::CommitCheckpointResponse>(Commit("a", generation, 5));
  harness_.Ok<v1::CommitCheckpointResponse>(Commit("a", generation, 5));
  EXPECT_EQ(harness_.Error(Commit("a", generation, 4)).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(harness_.Error(Commit("a", generation + 7, 9)).code(), absl::StatusCode::kAborted);
  v1::CommitCheckpointRequest bad = Commit("a", generation, 9);
  bad.set_checkpoint("state");
  EXPECT_EQ(harness_.Error(bad).code(), absl::StatusCode::kInvalidArgument);
  v1::JoinTrainingResponse next = Formed(Join("a", 5, generation));
  EXPECT_EQ(next.generation().checkpoint_step(), 5);
  EXPECT_EQ(next.generation().checkpoint(), Sha256Hex("state 5"));
  EXPECT_EQ(harness_.Error(Commit("a", generation, 9)).code(), absl::StatusCode::kAborted)
      << "an old generation";
}

TEST_F(CoreTrainingTest, AnyMembersResultEndsItAndTheOthersAreToldQuietly) {
  Add("b");
  Join("a");
  Join("b");
  v1::CompleteRequest result = harness_.Completion("b", incarnations_["b"], grants_["b"]);
  harness_.Ok<v1::CompleteResponse>(result);
  EXPECT_EQ(harness_.Heartbeat("a", incarnations_["a"], {grants_["a"]}).dropped_tokens_size(), 1);
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("a", incarnations_["a"], grants_["a"]));
  EXPECT_EQ(harness_.core().statistics().tasks_done.at(v1::TASK_KIND_TRAIN), 1);
}

TEST_F(CoreTrainingTest, ResultOfAWorkerOutsideTheGenerationIsFenced) {
  Formed(Join("a"));
  Add("b");
  EXPECT_EQ(harness_.Error(harness_.Completion("b", incarnations_["b"], grants_["b"])).code(),
            absl::StatusCode::kAborted);
}

TEST_F(CoreTrainingTest, ErrorOfOneMemberCountsOnceAndStartsTheGangAnew) {
  Add("b");
  Join("a");
  Join("b");
  for (const char* name : {"a", "b"}) {
    v1::CompleteRequest request = harness_.Completion(name, incarnations_[name], grants_[name]);
    request.set_error("loss of step 3 is not finite");
    harness_.Call(request);
  }
  EXPECT_EQ(harness_.core().statistics().task_errors, 1);
  const v1::RunStatus status = harness_.GetRun(1);
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_ACTIVE);
  EXPECT_THAT(status.last_error(), HasSubstr("loss of step 3 is not finite"));
}

TEST_F(CoreTrainingTest, FewerThanTrainMinWaitAndSayWhy) {
  CoreHarness harness;
  v1::SubmitRunRequest request = SmallRun("submit", 1);
  request.mutable_spec()->mutable_workers()->set_train_min(2);
  harness.Ok<v1::SubmitRunResponse>(request);
  uint64_t incarnation = harness.Register("w");
  std::vector<v1::Grant> grant = harness.Lease("w", incarnation);
  while (grant[0].task().kind() != v1::TASK_KIND_TRAIN) {
    harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, grant[0]));
    grant = harness.Lease("w", incarnation);
    ASSERT_EQ(grant.size(), 1);
  }
  EXPECT_FALSE(harness.Call(harness.Join("w", incarnation, grant[0])).has_value());
  std::string log;
  for (const auto& [where, value] : harness.disk()) {
    if (where.first == Table::kEvents) log += value;
  }
  EXPECT_THAT(log, HasSubstr("waits for workers: 1 of 2"));
  EXPECT_EQ(harness.GetRun(1).waits_for(), "training of round 1 waits for workers: 1 of 2");

  uint64_t second = harness.Register("v");
  std::vector<v1::Grant> other = harness.Lease("v", second);
  ASSERT_EQ(other.size(), 1);
  harness.Call(harness.Join("v", second, other[0]));
  EXPECT_EQ(harness.GetRun(1).waits_for(), "");
}

}  // namespace
}  // namespace rsidiff::coordinator
