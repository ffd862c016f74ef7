// `run watch` and `run submit --watch`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"

namespace rsidiff::coordinator {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

v1::RunStatus Status(v1::RunState state, uint32_t scored) {
  v1::RunStatus status;
  status.mutable_run()->set_id(5);
  status.mutable_run()->set_state(state);
  status.mutable_run()->mutable_spec()->set_name("shapes");
  status.mutable_run()->mutable_spec()->set_rounds(1);
  status.mutable_run()->mutable_spec()->add_scorers()->set_name("clip");
  v1::RoundRecord& round = *status.add_rounds();
  round.set_phase(scored < 64 ? v1::ROUND_PHASE_EVALUATE : v1::ROUND_PHASE_DONE);
  round.mutable_evaluation()->set_complete(scored == 64);
  (*round.mutable_evaluation()->mutable_scores())["clip"].set_mean(0.3);
  v1::TaskCounts& counts = *status.add_tasks();
  counts.set_kind(v1::TASK_KIND_SCORE);
  counts.set_purpose(v1::PURPOSE_EVALUATION);
  counts.set_samples_total(64);
  counts.set_samples_done(scored);
  return status;
}

class Watch : public testing::Test {
 protected:
  Watch() { line.coordinator = fake.address(); }

  void Script(std::vector<v1::RunStatus> answers) {
    absl::MutexLock lock(&fake.mutex);
    fake.script.assign(answers.begin(), answers.end());
  }

  FakeCoordinator fake;
  CommandLine line;
};

TEST_F(Watch, PrintsALineAChangeAndTheTableAtTheEnd) {
  const v1::RunStatus start = Status(v1::RUN_STATE_ACTIVE, 0);
  Script({start, start, start, Status(v1::RUN_STATE_ACTIVE, 32), Status(v1::RUN_STATE_SUCCEEDED, 64)});
  const CommandOutcome outcome = line.Run({"run", "watch", "5"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("round  phase"), HasSubstr("0.3000"), HasSubstr("best")));
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("round 0 evaluation 32/64"), HasSubstr("run 5 succeeded\n")));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 4);  // three states, one end
  EXPECT_THAT(outcome.err, Not(HasSubstr("\x1B")));
}

TEST_F(Watch, TellsAWarningWhenItArises) {
  const v1::RunStatus start = Status(v1::RUN_STATE_ACTIVE, 0);
  v1::RunStatus warned = start;
  warned.mutable_run()->add_warnings()->set_text("scorer clip has no say");
  Script({start, start, warned, Status(v1::RUN_STATE_SUCCEEDED, 64)});
  EXPECT_THAT(line.Run({"run", "watch", "5"}).err, HasSubstr("; scorer clip has no say\n"));
  line.terminal = {true, true, 100};
  Script({start, start, warned, Status(v1::RUN_STATE_SUCCEEDED, 64)});
  EXPECT_THAT(line.Run({"run", "watch", "5"}).err, HasSubstr("scorer clip has no say"));
}

TEST_F(Watch, DrawsOverItselfOnAScreen) {
  line.terminal = {true, true, 100};
  const v1::RunStatus start = Status(v1::RUN_STATE_ACTIVE, 0);
  Script({start, start, Status(v1::RUN_STATE_ACTIVE, 16), Status(v1::RUN_STATE_SUCCEEDED, 64)});
  const CommandOutcome outcome = line.Run({"run", "watch", "5"});
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("\x1B[2A\r\x1B[J"), HasSubstr("[#####-"), HasSubstr("16/64 samples\n")));
}

TEST_F(Watch, FailedAndCancelledRunsHaveTheirOwnCode) {
  for (const v1::RunState state : {v1::RUN_STATE_FAILED, v1::RUN_STATE_CANCELLED}) {
    Script({Status(state, 3), Status(state, 3)});
    EXPECT_EQ(line.Run({"run", "watch", "5"}).code, ExitCode::kRunEnded);
  }
}

TEST_F(Watch, GoesOnThroughACoordinatorRestart) {
  Script({Status(v1::RUN_STATE_ACTIVE, 0),
          Status(v1::RUN_STATE_ACTIVE, 0),
          {},
          {},
          Status(v1::RUN_STATE_SUCCEEDED, 64)});
  const CommandOutcome outcome = line.Run({"run", "watch", "5"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("not reachable at " + fake.address() + ", retrying\n"),
                                 HasSubstr("coordinator reachable again\n")));
}

TEST_F(Watch, GoesOnThroughAnOverload) {
  v1::RunStatus overloaded;
  overloaded.mutable_run()->set_id(FakeCoordinator::kOverloaded);
  const v1::RunStatus start = Status(v1::RUN_STATE_ACTIVE, 0);
  Script({start, start, overloaded, overloaded, Status(v1::RUN_STATE_SUCCEEDED, 64)});
  const CommandOutcome outcome = line.Run({"run", "watch", "5"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("coordinator at " + fake.address() + " is overloaded, retrying\n"));
}

TEST_F(Watch, CtrlCLeavesTheRunAlone) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs = {Status(v1::RUN_STATE_ACTIVE, 0)};
  }
  int sleeps = 0;
  line.on_sleep = [&] { line.interrupted = ++sleeps == 15; };
  const CommandOutcome outcome = line.Run({"run", "watch", "5"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.err, HasSubstr("run 5 goes on; watch it again with: rsidiff run watch 5\n"));
  absl::MutexLock lock(&fake.mutex);
  EXPECT_EQ(fake.runs[0].run().state(), v1::RUN_STATE_ACTIVE);
}

TEST_F(Watch, JsonIsOneDocument) {
  Script({Status(v1::RUN_STATE_ACTIVE, 0), Status(v1::RUN_STATE_ACTIVE, 0),
          Status(v1::RUN_STATE_SUCCEEDED, 64)});
  const CommandOutcome outcome = line.Run({"run", "watch", "5", "--json"});
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["run"]["state"], "RUN_STATE_SUCCEEDED");
}

TEST_F(Watch, SubmitWatches) {
  Script({Status(v1::RUN_STATE_SUCCEEDED, 64)});
  const std::string file = std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes-base.yaml";
  const CommandOutcome outcome = line.Run({"run", "submit", file, "--watch"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(testing::StartsWith("42\n"), HasSubstr("best")));
}

}  // namespace
}  // namespace rsidiff::coordinator
