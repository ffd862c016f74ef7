#include "coordinator/service/commit_pipeline.h"

#include <iterator>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/fault_point.h"
#include "common/base/status_macros.h"

namespace rsidiff::coordinator {

CommitPipeline::CommitPipeline(CommitOptions options) : options_(std::move(options)) {
  thread_ = std::thread([this] { Run(); });
  artifact_thread_ = std::thread([this] { StoreArtifacts(); });
}

CommitPipeline::~CommitPipeline() {
  Finish();
}

void CommitPipeline::Submit(StepResult step) {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &CommitPipeline::HasRoom));
  if (stopped_ || finishing_) return;
  for (std::string& artifact : step.artifacts) artifacts_.push_back(std::move(artifact));
  handed_over_ += step.artifacts.size();
  if (step.name_artifacts) named_ = handed_over_;
  pending_rows_ += step.rows.size();
  pending_.push_back(std::move(step));
}

size_t CommitPipeline::artifacts_waiting() const {
  absl::MutexLock lock(&mutex_);
  return handed_over_ - stored_;
}

void CommitPipeline::Finish() {
  {
    absl::MutexLock lock(&mutex_);
    finishing_ = true;
  }
  if (artifact_thread_.joinable()) artifact_thread_.join();
  if (thread_.joinable()) thread_.join();
}

void CommitPipeline::Run() {
  while (true) {
    std::vector<StepResult> steps;
    uint64_t named = 0;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CommitPipeline::HasWork));
      if (pending_.empty() && store_error_.ok()) {
        stopped_ = true;
        return;
      }
      steps.assign(std::make_move_iterator(pending_.begin()), std::make_move_iterator(pending_.end()));
      pending_.clear();
      pending_rows_ = 0;
      named = named_;
    }
    absl::Status written = AwaitArtifacts(named);
    if (written.ok()) written = Write(steps);
    if (!written.ok()) return Stop(written);
    FaultPoint("commit.written");
    for (StepResult& step : steps) {
      if (!step.replies.empty()) options_.release(std::move(step.replies));
    }
    FaultPoint("commit.answered");
  }
}

void CommitPipeline::Stop(const absl::Status& failure) {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    pending_.clear();
    artifacts_.clear();
  }
  options_.fail(failure);
}

absl::Status CommitPipeline::AwaitArtifacts(uint64_t count) {
  absl::MutexLock lock(&mutex_);
  auto settled = [this, count]()
                     ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stored_ >= count || !store_error_.ok(); };
  mutex_.Await(absl::Condition(&settled));
  return store_error_;
}

void CommitPipeline::StoreArtifacts() {
  while (true) {
    std::string artifact;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CommitPipeline::HasArtifact));
      if (artifacts_.empty()) return;
      artifact = std::move(artifacts_.front());
      artifacts_.pop_front();
    }
    const absl::Status stored = options_.artifacts->Put(artifact).status();
    FaultPoint("commit.artifact_stored");
    absl::MutexLock lock(&mutex_);
    if (!stored.ok()) {
      store_error_ = stored;
      return;
    }
    ++stored_;
  }
}

absl::Status CommitPipeline::Write(std::vector<StepResult>& steps) {
  absl::Time start = absl::Now();
  CommitReport report;
  report.steps = steps.size();
  std::vector<RowWrite> rows;
  for (StepResult& step : steps) {
    if (step.sync) report.durability = Durability::kPowerLoss;
    rows.insert(rows.end(), std::make_move_iterator(step.rows.begin()),
                std::make_move_iterator(step.rows.end()));
  }
  if (rows.empty()) return absl::OkStatus();
  FaultPoint("commit.begun");
  RSIDIFF_RETURN_IF_ERROR(options_.write(rows, report.durability));
  report.rows = rows.size();
  report.time = absl::Now() - start;
  if (options_.report) options_.report(report);
  return absl::OkStatus();
}

}  // namespace rsidiff::coordinator
