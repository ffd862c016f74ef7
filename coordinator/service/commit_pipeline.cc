#include "coordinator/service/commit_pipeline.h"

#include <iterator>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/fault_point.h"
#include "common/base/status_macros.h"

namespace rsidiff::coordinator {

CommitPipeline::CommitPipeline(CommitOptions options) : options_(std::move(options)) {
  thread_ = std::thread([this] { Run(); });
}

CommitPipeline::~CommitPipeline() {
  Finish();
}

void CommitPipeline::Submit(StepResult step) {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &CommitPipeline::HasRoom));
  if (stopped_) return;
  pending_rows_ += step.rows.size();
  pending_.push_back(std::move(step));
}

void CommitPipeline::Finish() {
  {
    absl::MutexLock lock(&mutex_);
    finishing_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void CommitPipeline::Run() {
  while (true) {
    std::vector<StepResult> steps;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CommitPipeline::HasWork));
      if (pending_.empty()) {
        stopped_ = true;
        return;
      }
      steps.assign(std::make_move_iterator(pending_.begin()), std::make_move_iterator(pending_.end()));
      pending_.clear();
      pending_rows_ = 0;
    }
    absl::Status written = Write(steps);
    if (!written.ok()) {
      {
        absl::MutexLock lock(&mutex_);
        stopped_ = true;
        pending_.clear();
      }
      options_.fail(written);
      return;
    }
    FaultPoint("commit.written");
    for (StepResult& step : steps) {
      if (!step.replies.empty()) options_.release(std::move(step.replies));
    }
    FaultPoint("commit.answered");
  }
}

absl::Status CommitPipeline::Write(std::vector<StepResult>& steps) {
  absl::Time start = absl::Now();
  CommitReport report;
  report.steps = steps.size();
  std::vector<RowWrite> rows;
  for (StepResult& step : steps) {
    for (const std::string& artifact : step.artifacts) {
      RSIDIFF_RETURN_IF_ERROR(options_.artifacts->Put(artifact).status());
      FaultPoint("commit.artifact_stored");
    }
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
