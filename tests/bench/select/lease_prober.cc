#include "tests/bench/select/lease_prober.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/time/clock.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(5);

absl::StatusOr<Response> OrExit(absl::StatusOr<Response> response) {
  if (response.ok()) return response;
  std::fprintf(stderr, "a prober's call failed: %s\n", response.status().ToString().c_str());
  std::exit(1);
}

}  // namespace

LeaseProber::LeaseProber(CoreLoop& loop) : loop_(loop) {
  v1::RegisterRequest hello = MakeRegister("prober");
  hello.mutable_capabilities()->add_tasks(v1::TASK_KIND_GENERATE);
  hello.mutable_capabilities()->add_labels(kLabel);
  const auto answer = OrExit(loop_.CallAndWait(hello, absl::Minutes(1)));
  identity_ = {hello.name(), std::get<v1::RegisterResponse>(*answer).incarnation()};
  thread_ = std::thread([this] { Run(); });
}

LeaseProber::~LeaseProber() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
  TakeWaits();
}

std::vector<absl::Duration> LeaseProber::TakeWaits() {
  absl::MutexLock lock(&mutex_);
  auto answered = [this, asked = asked_]()
                      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return answered_ >= asked; };
  mutex_.Await(absl::Condition(&answered));
  return std::exchange(waits_, {});
}

void LeaseProber::Run() {
  for (absl::Time due = absl::Now();; due += kInterval) {
    absl::SleepFor(due - absl::Now());
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) return;
      ++asked_;
    }
    Ask(due);
  }
}

void LeaseProber::Ask(absl::Time due) {
  PendingCall call;
  call.request = MakeLease(identity_, 1, 0);
  call.done = [this, due](absl::StatusOr<Response> response) {
    const absl::Duration wait = absl::Now() - due;
    GiveBack(std::get<v1::LeaseResponse>(*OrExit(std::move(response))));
    absl::MutexLock lock(&mutex_);
    ++answered_;
    waits_.push_back(wait);
  };
  loop_.Call(std::move(call));
}

void LeaseProber::GiveBack(const v1::LeaseResponse& leased) {
  for (const v1::Grant& grant : leased.grants()) {
    v1::CompleteRequest done = MakeCompletion(identity_, grant);
    done.set_returned(true);
    PendingCall call;
    call.request = std::move(done);
    call.done = [](absl::StatusOr<Response> response) { OrExit(std::move(response)).IgnoreError(); };
    loop_.Call(std::move(call));
  }
}

}  // namespace rsidiff::coordinator
