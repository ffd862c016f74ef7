#include "coordinator/service/io_pool.h"

#include <utility>

namespace rsidiff::coordinator {

absl::Status Overloaded() {
  return absl::UnavailableError("the coordinator is overloaded");
}

IoPool::IoPool(int threads, size_t max_queue) : max_queue_(max_queue) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

IoPool::~IoPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool IoPool::Submit(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  if (jobs_.size() >= max_queue_) return false;
  jobs_.push_back(std::move(job));
  return true;
}

void IoPool::Run() {
  while (true) {
    std::function<void()> job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &IoPool::HasWork));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace rsidiff::coordinator
