#include "coordinator/state/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "google/protobuf/stubs/logging.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;
using Disk = std::map<std::pair<Table, std::string>, std::string>;

std::vector<Row> Rows(const Disk& disk) {
  std::vector<Row> rows;
  for (const auto& [where, value] : disk) rows.push_back({where.first, where.second, value});
  return rows;
}

/// The first violation, empty when there is none.
std::string Found(const Disk& disk, CheckScope scope = CheckScope::kWhole) {
  CheckReport report = CheckRows(Rows(disk), scope);
  return report.violations.empty() ? "" : ToString(report.violations[0]);
}

/// What the disk holds after every call of a run of two rounds, with a lease held, a drain and a restart.
std::vector<Disk> StatesOfARun() {
  std::vector<Disk> states;
  CoreHarness harness;
  uint64_t one = harness.Register("one");
  uint64_t two = harness.Register("two");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2));
  states.push_back(harness.disk());
  for (int step = 0; step < 1'000; ++step) {
    std::vector<v1::Grant> held = harness.Lease("two", two);
    states.push_back(harness.disk());
    if (step == 7) {
      harness.Restart();
      states.push_back(harness.disk());
      harness.Heartbeat("two", two, held);
    }
    std::vector<v1::Grant> grants = held.empty() ? harness.Lease("one", one) : held;
    if (grants.empty()) break;
    std::string worker = held.empty() ? "one" : "two";
    uint64_t incarnation = held.empty() ? one : two;
    if (grants[0].task().kind() == v1::TASK_KIND_TRAIN) {
      harness.Call(harness.Join(worker, incarnation, grants[0]));
      harness.Pass(absl::Seconds(3));
      states.push_back(harness.disk());
    }
    harness.Ok<v1::CompleteResponse>(harness.Completion(worker, incarnation, grants[0]));
    states.push_back(harness.disk());
  }
  v1::RunRecord run;
  run.ParseFromString(harness.disk().at({Table::kRuns, RunKey(1)}));
  EXPECT_EQ(run.state(), v1::RUN_STATE_SUCCEEDED);
  return states;
}

const std::vector<Disk>& States() {
  static const auto& states = *new std::vector<Disk>(StatesOfARun());
  return states;
}

bool AllRunsEnded(const Disk& disk) {
  for (const auto& [where, value] : disk) {
    v1::RunRecord run;
    if (where.first == Table::kRuns && run.ParseFromString(value) && !HasEnded(run)) return false;
  }
  return true;
}

/// Recovers a core from the rows and works on what is there with one worker, at most `limit` tasks.
absl::Status WorkOn(const Disk& disk, int limit) {
  absl::Time now = absl::UnixEpoch() + absl::Hours(2);
  auto recovered = Core::Recover({}, Rows(disk), now);
  if (!recovered.ok()) return recovered.status();
  Core& core = *recovered->first;
  uint64_t id = 0;
  auto call = [&](Request request) -> absl::StatusOr<Response> {
    uint64_t asked = ++id;
    StepResult result = core.Step(now, {asked, std::move(request)});
    for (int ticks = 0; ticks < 50; ++ticks) {
      for (Reply& reply : result.replies) {
        if (reply.id == asked) return std::move(reply.response);
      }
      now += absl::Seconds(1);
      result = core.Step(now, {0, Tick()});
    }
    return absl::DeadlineExceededError("no answer");
  };
  now += absl::Minutes(2);  // leases of the past end
  v1::RegisterRequest hello;
  hello.set_request_id("register-after-damage");
  hello.set_name("after");
  hello.set_protocol_version(kProtocolVersion);
  auto registered = call(hello);
  if (!registered.ok()) return registered.status();
  uint64_t incarnation = std::get<v1::RegisterResponse>(*registered).incarnation();
  for (int task = 0; task < limit; ++task) {
    v1::LeaseRequest lease = RequestForWork(absl::StrCat("lease-", task), "after", incarnation);
    auto leased = call(lease);
    if (!leased.ok()) return leased.status();
    const auto& grants = std::get<v1::LeaseResponse>(*leased).grants();
    if (grants.empty()) return absl::OkStatus();
    v1::CompleteRequest done;
    done.set_request_id(absl::StrCat("complete-", task));
    done.set_worker("after");
    done.set_incarnation(incarnation);
    *done.mutable_task() = grants[0].task();
    done.set_token(grants[0].token());
    if (grants[0].task().kind() == v1::TASK_KIND_TRAIN) {
      v1::JoinTrainingRequest join;
      join.set_request_id(absl::StrCat("join-", task));
      join.set_worker("after");
      join.set_incarnation(incarnation);
      *join.mutable_task() = grants[0].task();
      join.set_token(grants[0].token());
      join.set_store_address("after:1");
      join.set_wait_ms(20'000);
      auto joined = call(join);
      if (!joined.ok()) return joined.status();
    }
    *done.mutable_result() = FakeResult(grants[0].payload());
    auto completed = call(done);
    if (!completed.ok()) return completed.status();
  }
  return absl::OkStatus();
}

TEST(CheckTest, EveryStateOfARunKeepsTheRules) {
  ASSERT_GT(States().size(), 50);
  for (size_t i = 0; i < States().size(); ++i) {
    ASSERT_EQ(Found(States()[i]), "") << "state " << i;
    ASSERT_EQ(Found(States()[i], CheckScope::kRecovery), "") << "state " << i;
  }
}

TEST(CheckTest, NamesWhatIsWrongAndWhere) {
  auto changed = [](Table table, const std::string& key, auto message, auto change) {
    Disk disk = States()[5];
    message.ParseFromString(disk.at({table, key}));
    change(message);
    disk[{table, key}] = message.SerializeAsString();
    return Found(disk);
  };
  const Disk& disk = States()[5];
  std::string task;
  for (const auto& [where, value] : disk) {
    v1::TaskRecord record;
    if (where.first != Table::kTasks || !record.ParseFromString(value)) continue;
    if (record.state() == v1::TASK_STATE_LEASED) task = where.second;
  }
  ASSERT_FALSE(task.empty());
  EXPECT_THAT(
      changed(Table::kTasks, task, v1::TaskRecord(), [](auto& t) { t.set_token(uint64_t{9} << 40 | 1); }),
      HasSubstr("never issued"));
  EXPECT_THAT(changed(Table::kTasks, task, v1::TaskRecord(), [](auto& t) { t.set_worker("nobody"); }),
              HasSubstr("no known worker: nobody"));
  EXPECT_THAT(
      changed(Table::kTasks, task, v1::TaskRecord(), [](auto& t) { t.set_state(v1::TASK_STATE_PENDING); }),
      HasSubstr("has a lease and is not leased"));
  EXPECT_THAT(
      changed(Table::kMeta, std::string(kMetaKey), v1::MetaRecord(), [](auto& m) { m.set_next_run_id(1); }),
      HasSubstr("table meta, key meta: the next run would be 1, and there is run 1"));
  EXPECT_THAT(changed(Table::kWorkers, "one", v1::WorkerRecord(), [](auto& w) { w.set_incarnation(77); }),
              HasSubstr("worker one has incarnation 77, which was not issued yet"));
  EXPECT_THAT(changed(Table::kRounds, RoundKey(1, 1), v1::RoundRecord(),
                      [](auto& r) { r.set_phase(v1::ROUND_PHASE_TRAIN); }),
              HasSubstr("round 1 of run 1 has no training manifest"));
  EXPECT_THAT(changed(Table::kRuns, RunKey(1), v1::RunRecord(), [](auto& r) { r.set_train_prompt_count(5); }),
              HasSubstr("training prompt 4 of run 1 is missing"));
  Disk two_leases = disk;
  for (auto& [where, value] : two_leases) {
    v1::TaskRecord record, leased;
    if (where.first != Table::kTasks || !record.ParseFromString(value)) continue;
    if (record.state() != v1::TASK_STATE_PENDING || record.key().kind() != v1::TASK_KIND_GENERATE) continue;
    leased.ParseFromString(disk.at({Table::kTasks, task}));
    *leased.mutable_key() = record.key();
    value = leased.SerializeAsString();
    break;
  }
  EXPECT_THAT(Found(two_leases), HasSubstr("which is that of"));
}

TEST(CheckTest, TheFilteredPromptsOfARunAreNamed) {
  CoreHarness harness;
  v1::SubmitRunRequest request = SmallRun("submit", 1);
  const std::string filtered = Sha256Hex("filtered prompts");
  request.mutable_inputs()->set_rejected_prompts(filtered);
  harness.Ok<v1::SubmitRunResponse>(request);
  const CheckReport report = CheckRows(Rows(harness.disk()), CheckScope::kWhole);
  EXPECT_TRUE(ToStatus(report).ok()) << ToStatus(report);
  ASSERT_EQ(report.artifacts.count(filtered), 1);
  EXPECT_EQ(report.artifacts.at(filtered).owner, "filtered prompts of run 1");
  EXPECT_TRUE(report.artifacts.at(filtered).kind == ArtifactUse::Kind::kFile);
}

TEST(CheckTest, NamesDamagedJudgements) {
  const std::string key = JudgementKey(1, 1, 0);
  ASSERT_EQ(States().back().count({Table::kJudgements, key}), 1);
  auto changed = [&](auto change) {
    Disk disk = States().back();
    v1::JudgementBlock block;
    block.ParseFromString(disk.at({Table::kJudgements, key}));
    change(block);
    disk[{Table::kJudgements, key}] = block.SerializeAsString();
    return std::string(ToStatus(CheckRows(Rows(disk), CheckScope::kWhole)).message());
  };
  EXPECT_EQ(changed([](auto&) {}), "");
  EXPECT_THAT(
      changed([](auto& block) { block.add_rank(1); }),
      HasSubstr("table judgements, key 00000000000000010000000100000000: lists of different lengths"));
  EXPECT_THAT(changed([](auto& block) { block.set_selected(0, !block.selected(0)); }),
              HasSubstr("round 1 of run 1 has selected 2 samples, and"));
  EXPECT_THAT(changed([](auto& block) {
                for (int i = 0; i < block.weight_size(); ++i) {
                  if (!block.selected(i)) block.set_weight(i, 0.5);
                }
              }),
              HasSubstr("has a weight and is not selected"));
  EXPECT_THAT(
      changed([](auto& block) {
        for (auto* list : {block.mutable_reward(), block.mutable_distance(), block.mutable_weight()}) {
          list->RemoveLast();
        }
        block.mutable_rank()->RemoveLast();
        block.mutable_selected()->RemoveLast();
      }),
      HasSubstr("has selected from 6 samples, and 5 are judged"));
  Disk moved = States().back();
  moved[{Table::kJudgements, JudgementKey(1, 1, 1)}] = moved.at({Table::kJudgements, key});
  EXPECT_THAT(Found(moved), HasSubstr("a row before it is missing or has too few samples"));
  moved.erase({Table::kJudgements, JudgementKey(1, 1, 1)});
  moved[{Table::kJudgements, JudgementKey(1, 9, 0)}] = moved.at({Table::kJudgements, key});
  EXPECT_THAT(Found(moved), HasSubstr("there is no round 9 of run 1 for its judgements"));
}

TEST(CheckTest, NamesADeletedRowOrDoesWithoutIt) {
  size_t named = 0;
  size_t spared = 0;
  for (size_t state = 1; state < States().size(); state += 9) {
    const Disk& disk = States()[state];
    for (const auto& [where, value] : disk) {
      Disk damaged = disk;
      damaged.erase(where);
      std::string found = Found(damaged, CheckScope::kRecovery);
      if (!found.empty()) {
        ++named;
        continue;
      }
      // Rows that a restart can do without: an idle worker, an answer, an event, what finished rounds left.
      ++spared;
      bool needed =
          where.first == Table::kMeta || where.first == Table::kRuns || where.first == Table::kRounds;
      EXPECT_FALSE(needed) << "state " << state << ", table " << TableName(where.first);
      if (where.first == Table::kPrompts) {
        // Of a run that has ended, which a restart does not look at; `check` does.
        EXPECT_TRUE(AllRunsEnded(disk)) << "state " << state;
        EXPECT_NE(Found(damaged, CheckScope::kWhole), "") << "state " << state;
      }
      if (where.first == Table::kEvents || where.first == Table::kRequests) continue;
      EXPECT_TRUE(WorkOn(damaged, 100).ok()) << "state " << state << ", table " << TableName(where.first);
    }
  }
  EXPECT_GT(named, spared / 4);
}

TEST(CheckTest, DamagedBytesAreNamedOrSurvived) {
  google::protobuf::LogSilencer no_parse_errors;
  constexpr uint32_t kSeed = 20'240'601;
  constexpr int kTrials = 1'500;
  std::mt19937 random(kSeed);
  auto below = [&random](size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random);
  };
  int named = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    SCOPED_TRACE(absl::StrCat("seed ", kSeed, ", trial ", trial));
    Disk damaged = States()[below(States().size())];
    auto row = std::next(damaged.begin(), below(damaged.size()));
    std::string& value = row->second;
    if (value.empty()) continue;
    switch (below(4)) {
      case 0:
        value[below(value.size())] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        value.resize(below(value.size()));
        break;
      case 2:
        value[below(value.size())] = static_cast<char>(below(256));
        break;
      default: {
        std::string bytes = value;
        std::string key = row->first.second;
        key.back() ^= static_cast<char>(1 << below(8));
        Table table = row->first.first;
        damaged.erase(row);
        damaged[{table, key}] = bytes;
      }
    }
    if (!Found(damaged, CheckScope::kRecovery).empty()) {
      ++named;
      continue;
    }
    EXPECT_NO_THROW((void)WorkOn(damaged, 40));
  }
  EXPECT_GT(named, kTrials / 4);
}

TEST(CheckTest, RandomBytesAreNoRows) {
  google::protobuf::LogSilencer no_parse_errors;
  std::mt19937 random(7);
  std::vector<Row> rows;
  for (int i = 0; i < 2'000; ++i) {
    Row row{kTables[random() % std::size(kTables)], "", ""};
    for (size_t n = random() % 24; n > 0; --n) row.key.push_back(static_cast<char>(random()));
    for (size_t n = random() % 64; n > 0; --n) row.value.push_back(static_cast<char>(random()));
    rows.push_back(std::move(row));
  }
  EXPECT_FALSE(CheckRows(rows, CheckScope::kWhole).violations.empty());
}

}  // namespace
}  // namespace rsidiff::coordinator
