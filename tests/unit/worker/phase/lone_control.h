#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// A coordinator for one worker: every generation is this worker alone, commits are remembered.
class LoneControl : public TaskControl {
 public:
  bool cancelled() const override { return cancelled_; }
  void ReportProgress(double fraction) override {
    EXPECT_GE(fraction, progress_);
    EXPECT_LE(fraction, 1);
    progress_ = fraction;
    if (fraction >= cancel_at_) cancelled_ = true;
  }
  void Warn(const std::string& sentence) override {
    absl::MutexLock lock(&mutex_);
    warnings_.push_back(sentence);
  }
  void ReportStep(uint64_t generation, uint64_t step, double loss) override {
    EXPECT_EQ(generation, generation_);
    losses_.push_back(loss);
    if (step == regroup_after_) regroup_ = true;  // seen during the next step, after which all leave
  }
  void ReportRegroup(RegroupCause cause, double seconds) override {
    EXPECT_EQ(cause, RegroupCause::kPlanned);
    EXPECT_GE(seconds, 0);
    ++regroups_;
  }
  bool regroup_requested() const override { return regroup_; }
  absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const TrainingPosition& position) override {
    EXPECT_EQ(position.last_generation, generation_);
    EXPECT_EQ(position.step, losses_.size());
    regroup_ = false;
    absl::MutexLock lock(&mutex_);
    if (!position.refused_checkpoints.empty() && position.refused_checkpoints.back() == checkpoint_) {
      checkpoint_ = std::exchange(earlier_checkpoint_, "");
      checkpoint_step_ = earlier_checkpoint_step_;
    }
    v1::JoinTrainingResponse response;
    response.set_formed(true);
    v1::GenerationRecord& generation = *response.mutable_generation();
    generation.set_generation(++generation_);
    generation.set_checkpoint(checkpoint_);
    generation.set_checkpoint_step(checkpoint_step_);
    v1::GenerationRecord::Member& member = *generation.add_members();
    member.set_step(position.step);
    member.set_has_state(position.has_state);
    member.set_store_address(position.store_address);
    return response;
  }
  absl::Status CommitCheckpoint(uint64_t generation, uint64_t step, const std::string& digest) override {
    absl::MutexLock lock(&mutex_);
    if (generation != generation_) return absl::AbortedError("FENCED: an old generation");
    commits_[step] = digest;
    return commit_status_;
  }

  absl::Mutex mutex_;  // checkpoints are committed on a thread of their own
  bool cancelled_ = false;
  std::vector<std::string> warnings_;
  double progress_ = 0.0;
  double cancel_at_ = 2.0;
  std::vector<double> losses_;
  uint64_t regroup_after_ = 0;
  bool regroup_ = false;
  uint64_t generation_ = 0;
  std::string checkpoint_;
  uint64_t checkpoint_step_ = 0;
  std::string earlier_checkpoint_;
  uint64_t earlier_checkpoint_step_ = 0;
  int regroups_ = 0;
  std::map<uint64_t, std::string> commits_;
  absl::Status commit_status_;
};

}  // namespace rsidiff::worker
