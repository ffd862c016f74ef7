// Calls that are repeated: the same answer and one effect, for as long as it is promised.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "coordinator/state/request_memory.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Body(const Response& response) {
  return std::visit(
      [](const auto& message) -> std::string {
        if constexpr (std::is_same_v<decltype(message), const std::monostate&>) {
          return "";
        } else {
          return DeterministicBytes(message);
        }
      },
      response);
}

class CoreRequestsTest : public ::testing::Test {
 protected:
  v1::RegisterRequest Registration(const std::string& request_id) {
    v1::RegisterRequest request;
    request.set_request_id(request_id);
    request.set_name("w");
    request.set_protocol_version(kProtocolVersion);
    return request;
  }

  v1::LeaseRequest Poll(const std::string& request_id) {
    return RequestForWork(request_id, "w", incarnation_);
  }

  v1::CompleteRequest Returned(const std::string& name, uint64_t incarnation, const v1::Grant& grant) {
    v1::CompleteRequest request = harness_.Completion(name, incarnation, grant);
    request.set_returned(true);
    return request;
  }

  v1::SetRunStateRequest SetState(const std::string& request_id, uint64_t run_id, v1::RunState state) {
    v1::SetRunStateRequest request;
    request.set_request_id(request_id);
    request.set_run_id(run_id);
    request.set_state(state);
    return request;
  }

  /// The call and its repetition: the first answer.
  Response Twice(const Request& request) {
    auto first = harness_.Call(request);
    const auto rows = harness_.disk();
    auto second = harness_.Call(request);
    if (!first.has_value() || !first->ok() || !second.has_value() || !second->ok()) {
      ADD_FAILURE() << "no answer, or an error";
      return {};
    }
    EXPECT_EQ(Body(**first), Body(**second));
    EXPECT_EQ(rows, harness_.disk()) << "the repetition wrote something";
    return **first;
  }

  /// Works until the worker is granted the training, which nobody has joined.
  v1::Grant WorkToTraining() {
    while (true) {
      std::vector<v1::Grant> grants = harness_.Lease("w", incarnation_);
      if (grants.empty()) {
        ADD_FAILURE() << "nothing to lease";
        return {};
      }
      if (grants[0].task().kind() == v1::TASK_KIND_TRAIN) return grants[0];
      harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation_, grants[0]));
    }
  }

  void PassBeating(absl::Duration duration, const std::vector<v1::Grant>& held) {
    for (absl::Time end = harness_.now() + duration; harness_.now() < end;) {
      harness_.Pass(std::min<absl::Duration>(absl::Seconds(5), end - harness_.now()));
      harness_.Heartbeat("w", incarnation_, held);
    }
  }

  /// The ids of the calls that the disk has an answer to, of one method or of all.
  std::vector<std::string> Remembered(const std::string& method) {
    std::vector<std::string> ids;
    for (const auto& [where, value] : harness_.disk()) {
      if (where.first != Table::kRequests) continue;
      v1::RequestRecord record;
      record.ParseFromString(value);
      if (method.empty() || record.method() == method) ids.push_back(where.second);
    }
    return ids;
  }

  CoreHarness harness_;
  uint64_t incarnation_ = 0;
};

TEST_F(CoreRequestsTest, EveryCallThatIsRepeatedGetsTheSameAnswerAndHasOneEffect) {
  Twice(SmallRun("submit", 1));
  incarnation_ = std::get<v1::RegisterResponse>(Twice(Registration("register"))).incarnation();
  v1::Grant grant = std::get<v1::LeaseResponse>(Twice(Poll("poll"))).grants(0);
  Twice(Returned("w", incarnation_, grant));
  grant = harness_.Lease("w", incarnation_)[0];
  v1::CompleteRequest error = harness_.Completion("w", incarnation_, grant);
  error.set_error("out of memory");
  Twice(error);
  harness_.Pass(absl::Seconds(2));
  grant = harness_.Lease("w", incarnation_)[0];
  Twice(harness_.Completion("w", incarnation_, grant));

  grant = WorkToTraining();
  auto joined = std::get<v1::JoinTrainingResponse>(Twice(harness_.Join("w", incarnation_, grant)));
  EXPECT_TRUE(joined.formed());
  v1::CommitCheckpointRequest commit;
  commit.set_request_id("commit");
  commit.set_worker("w");
  commit.set_incarnation(incarnation_);
  *commit.mutable_task() = grant.task();
  commit.set_token(grant.token());
  commit.set_generation(joined.generation().generation());
  commit.set_step(5);
  commit.set_checkpoint(Sha256Hex("state 5"));
  Twice(commit);
  Twice(harness_.Completion("w", incarnation_, grant));
  harness_.Work("w", incarnation_);

  v1::ForkRunRequest fork;
  fork.set_request_id("fork");
  fork.set_run_id(1);
  Twice(ForkRun{fork, {}});
  Twice(SetState("pause", 2, v1::RUN_STATE_PAUSED));
  v1::DrainWorkerRequest drain;
  drain.set_request_id("drain");
  drain.set_name("w");
  Twice(drain);
}

TEST_F(CoreRequestsTest, LoadForgetsNothing) {
  const std::string run = Body(**harness_.Call(SmallRun("submit", 1)));
  const auto registered = harness_.Ok<v1::RegisterResponse>(Registration("register"));
  incarnation_ = registered.incarnation();
  const auto granted = harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  ASSERT_EQ(granted.grants_size(), 1);
  harness_.Ok<v1::RunStatus>(SetState("pause", 1, v1::RUN_STATE_PAUSED));
  harness_.Ok<v1::RunStatus>(SetState("resume", 1, v1::RUN_STATE_ACTIVE));
  const uint64_t other = harness_.Register("other");
  std::optional<v1::CompleteRequest> first;
  for (int i = 0; i < 20'001; ++i) {
    std::vector<v1::Grant> grants = harness_.Lease("other", other);
    ASSERT_THAT(grants, SizeIs(1));
    v1::CompleteRequest returned = Returned("other", other, grants[0]);
    harness_.Ok<v1::CompleteResponse>(returned);
    if (!first.has_value()) first = returned;
  }
  harness_.Ok<v1::CompleteResponse>(*first);
  EXPECT_EQ(Body(**harness_.Call(SmallRun("submit", 1))), run);
  EXPECT_EQ(Body(**harness_.Call(Poll("poll"))), Body(granted));
  EXPECT_EQ(harness_.Ok<v1::RunStatus>(SetState("pause", 1, v1::RUN_STATE_PAUSED)).run().state(),
            v1::RUN_STATE_ACTIVE)
      << "it was resumed since";
  EXPECT_EQ(Body(**harness_.Call(Registration("register"))), Body(registered));
}

TEST_F(CoreRequestsTest, AnswersGoWithTheirAge) {
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  incarnation_ = harness_.Ok<v1::RegisterResponse>(Registration("register")).incarnation();
  const auto held = harness_.Ok<v1::LeaseResponse>(Poll("arrived"));
  const auto lost = harness_.Ok<v1::LeaseResponse>(Poll("lost"));
  harness_.Ok<v1::CompleteResponse>(Returned("w", incarnation_, harness_.Lease("w", incarnation_)[0]));
  PassBeating(kBriefMemory, {held.grants(0)});
  EXPECT_THAT(Remembered("CompleteRequest"), SizeIs(1));
  EXPECT_EQ(Body(**harness_.Call(Poll("arrived"))), Body(held));
  PassBeating(absl::Seconds(5), {held.grants(0)});
  EXPECT_THAT(Remembered("CompleteRequest"), IsEmpty());
  EXPECT_THAT(Remembered("LeaseRequest"), ElementsAre("lost"))
      << "the worker never named what it was granted";
  EXPECT_TRUE(harness_.Ok<v1::LeaseResponse>(Poll("lost")).grants().empty()) << "what it had expired";
  EXPECT_THAT(Remembered("RegisterRequest"), ElementsAre("register"));
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
  PassBeating(kRequestMemory, {held.grants(0)});
  EXPECT_THAT(Remembered(""), IsEmpty());
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreRequestsTest, StallOfTheCoordinatorForgetsNoRequest) {
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  incarnation_ = harness_.Ok<v1::RegisterResponse>(Registration("register")).incarnation();
  const v1::CompleteRequest returned = Returned("w", incarnation_, harness_.Lease("w", incarnation_)[0]);
  harness_.Ok<v1::CompleteResponse>(returned);
  harness_.Stall(absl::Hours(1));
  harness_.Call(Tick());
  harness_.Ok<v1::CompleteResponse>(returned);
  EXPECT_EQ(harness_.Ok<v1::RegisterResponse>(Registration("register")).incarnation(), incarnation_);
}

TEST_F(CoreRequestsTest, ResultsNeedNoRowUntilTheirTasksGoAndAreKnownStill) {
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  incarnation_ = harness_.Ok<v1::RegisterResponse>(Registration("register")).incarnation();
  harness_.Pass(absl::Seconds(10));
  std::vector<v1::CompleteRequest> early, late;
  auto complete = [this](const v1::Grant& grant, std::vector<v1::CompleteRequest>& done) {
    EXPECT_THAT(Remembered("CompleteRequest"), IsEmpty());
    done.push_back(harness_.Completion("w", incarnation_, grant));
    harness_.Ok<v1::CompleteResponse>(done.back());
  };
  for (int i = 0; i < 4; ++i) complete(harness_.Lease("w", incarnation_)[0], early);
  PassBeating(2 * kBriefMemory, {});
  for (auto grants = harness_.Lease("w", incarnation_); !grants.empty();
       grants = harness_.Lease("w", incarnation_)) {
    if (grants[0].task().kind() == v1::TASK_KIND_TRAIN) {
      harness_.Ok<v1::JoinTrainingResponse>(harness_.Join("w", incarnation_, grants[0]));
    }
    complete(grants[0], late);
  }
  ASSERT_EQ(harness_.GetRun(1).run().state(), v1::RUN_STATE_SUCCEEDED);
  for (const auto& [where, value] : harness_.disk()) EXPECT_NE(where.first, Table::kTasks);
  EXPECT_THAT(Remembered("CompleteRequest"), SizeIs(late.size())) << "nobody repeats the early ones now";
  for (bool restarted : {false, true}) {
    if (restarted) harness_.Restart();
    for (const v1::CompleteRequest& again : late) harness_.Ok<v1::CompleteResponse>(again);
    EXPECT_EQ(harness_.Error(early[0]).code(), absl::StatusCode::kAborted);
    EXPECT_TRUE(harness_.MemoryEqualsDisk());
  }
  PassBeating(kBriefMemory + absl::Seconds(5), {});
  EXPECT_THAT(Remembered("CompleteRequest"), IsEmpty());
}

v1::RequestRecord Answer(const std::string& method) {
  v1::RequestRecord record;
  record.set_method(method);
  return record;
}

TEST(RequestMemoryTest, AnswerThatWasErasedAndGivenAgainHasItsOwnAge) {
  RequestMemory memory;
  const absl::Time start = absl::UnixEpoch();
  memory.Add("id", Answer("LeaseRequest"), start);
  memory.Erase("id");
  memory.Add("id", Answer("LeaseRequest"), start + kRequestMemory);
  EXPECT_THAT(memory.Forget(start + kRequestMemory + absl::Seconds(1), 10), IsEmpty());
  EXPECT_TRUE(memory.Find("id").has_value());
  EXPECT_THAT(memory.Forget(start + 2 * kRequestMemory + absl::Seconds(1), 10), ElementsAre("id"));
  EXPECT_FALSE(memory.Find("id").has_value());
}

TEST(RequestMemoryTest, ManyOfOneAgeGoAFewAtATime) {
  RequestMemory memory;
  const absl::Time start = absl::UnixEpoch();
  for (int i = 0; i < 25; ++i) memory.Add(std::to_string(i), Answer("CompleteRequest"), start);
  const absl::Time later = start + kBriefMemory + absl::Seconds(1);
  for (size_t forgotten : {10u, 10u, 5u, 0u}) EXPECT_THAT(memory.Forget(later, 10), SizeIs(forgotten));
  EXPECT_THAT(memory.answers(), IsEmpty());
}

}  // namespace
}  // namespace rsidiff::coordinator
