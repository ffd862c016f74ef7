#include "tests/bench/coordinator/timers.h"

#include <utility>

#include "absl/time/clock.h"

namespace rsidiff::coordinator {

Timers::Timers() : thread_([this] { Run(); }) {}

Timers::~Timers() {
  Stop();
}

void Timers::After(absl::Duration delay, std::function<void()> action) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  auto added = waiting_.emplace(absl::Now() + delay, std::move(action));
  if (added == waiting_.begin()) changed_.Signal();
}

void Timers::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void Timers::Run() {
  absl::MutexLock lock(&mutex_);
  while (!stopping_) {
    if (waiting_.empty() || waiting_.begin()->first > absl::Now()) {
      changed_.WaitWithDeadline(&mutex_, waiting_.empty() ? absl::InfiniteFuture() : waiting_.begin()->first);
      continue;
    }
    std::function<void()> action = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    mutex_.Unlock();
    action();
    mutex_.Lock();
  }
}

}  // namespace rsidiff::coordinator
