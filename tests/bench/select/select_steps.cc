// Drives the coordinator's core through round 1 of a run of many samples, with results made up, and prints
// how long its steps took by what they did: while a step runs, nobody gets a lease.
//
//   select_steps [SAMPLES]        default 1000000
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/protocol.h"
#include "coordinator/state/core.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

struct Times {
  int steps = 0;
  absl::Duration longest;
  absl::Duration total;
};

class Driver {
 public:
  Driver() {
    CoreOptions options;
    options.cluster_id = "bench";
    auto recovered = Core::Recover(options, {}, now_);
    core_ = std::move(recovered->first);
  }

  // One call, timed under `what`.
  template <class T>
  T Call(const std::string& what, Request request) {
    now_ += absl::Microseconds(100);
    const uint64_t id = ++calls_;
    const absl::Time begin = absl::Now();
    StepResult result = core_->Step(now_, {id, std::move(request)});
    const absl::Duration took = absl::Now() - begin;
    Times& times = times_[what];
    ++times.steps;
    times.total += took;
    times.longest = std::max(times.longest, took);
    for (Reply& reply : result.replies) {
      if (reply.id == id && reply.response.ok()) return std::get<T>(*std::move(reply.response));
      if (reply.id == id) {
        std::fprintf(stderr, "%s: %s\n", what.c_str(), reply.response.status().ToString().c_str());
        std::exit(1);
      }
    }
    return T();
  }

  std::string RequestId() const { return absl::StrCat("bench-", calls_); }

  void Print() const {
    std::printf("%-24s %8s %12s %12s\n", "step", "count", "longest ms", "total s");
    for (const auto& [what, times] : times_) {
      std::printf("%-24s %8d %12.1f %12.2f\n", what.c_str(), times.steps,
                  absl::ToDoubleMilliseconds(times.longest), absl::ToDoubleSeconds(times.total));
    }
  }

 private:
  std::unique_ptr<Core> core_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  uint64_t calls_ = 0;
  std::map<std::string, Times> times_;
};

v1::SubmitRunRequest BigRun(int samples) {
  v1::SubmitRunRequest request = SmallRun("bench-run", 1);
  constexpr int kPerPrompt = 4;
  request.mutable_spec()->mutable_prompts()->set_per_round(0);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(kPerPrompt);
  request.mutable_spec()->mutable_sampling()->set_chunk(1000);
  request.mutable_inputs()->clear_train_prompts();
  for (int i = 0; i < samples / kPerPrompt; ++i) {
    request.mutable_inputs()->add_train_prompts(absl::StrCat("prompt number ", i));
  }
  return request;
}

// Until the training is leased: everything before it is sampling, selection and weights.
void Run(int samples) {
  Driver driver;
  driver.Call<v1::SubmitRunResponse>("submit", BigRun(samples));
  v1::RegisterRequest hello;
  hello.set_request_id("bench-worker");
  hello.set_name("w");
  hello.set_protocol_version(kProtocolVersion);
  const uint64_t incarnation = driver.Call<v1::RegisterResponse>("register", hello).incarnation();
  std::string before = "nothing";
  while (true) {
    v1::LeaseRequest lease;
    lease.set_request_id(driver.RequestId());
    lease.set_worker("w");
    lease.set_incarnation(incarnation);
    lease.set_max_tasks(1);
    const auto leased = driver.Call<v1::LeaseResponse>("lease after " + before, lease);
    if (leased.grants().empty()) break;
    const v1::Grant& grant = leased.grants(0);
    if (grant.task().kind() == v1::TASK_KIND_TRAIN) break;
    v1::CompleteRequest done;
    done.set_request_id(driver.RequestId() + "-done");
    done.set_worker("w");
    done.set_incarnation(incarnation);
    *done.mutable_task() = grant.task();
    done.set_token(grant.token());
    *done.mutable_result() = FakeResult(grant.payload());
    before = v1::TaskKind_Name(grant.task().kind()).substr(10);
    driver.Call<v1::CompleteResponse>("complete " + before, done);
  }
  driver.Print();
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  rsidiff::coordinator::Run(argc > 1 ? std::atoi(argv[1]) : 1'000'000);
}
