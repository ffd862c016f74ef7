#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "worker/train/flat_layout.h"
#include "worker/train/process_group.h"

namespace rsidiff::worker {

/// The gradients of one optimizer step in flat fp32 buckets, summed over micro batches and then over the
/// members of a group; a bucket starts to travel when backward has completed its last gradient.
///
/// fp32 leaves accumulate straight into the buckets (their .grad is a view); others through a hook, so the
/// sum over micro batches is in fp32 there as well. One step at a time; backward runs between Begin and
/// Finish.
class GradientBuckets {
 public:
  /// `leaves`: the tensors that backward reaches, in the layout's order; made to require gradients.
  GradientBuckets(const FlatLayout& layout, const NamedTensors& leaves, at::Device device);
  /// Takes gradients and hooks off the leaves.
  ~GradientBuckets();
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  /// Zeroes everything for a new step. `group` may be null: one member.
  void Begin(ProcessGroup* group);
  /// The next backward is the step's last: buckets travel as they are completed.
  void LastBackward() { reducing_ = group_ != nullptr; }
  /// Starts what has not started and waits for all of it. After an error the values are void and no
  /// operation touches the buckets once the group is destroyed.
  absl::Status Finish();

  const std::vector<at::Tensor>& flats() const { return flats_; }

 private:
  class Hook;

  void OnGradient(size_t slot, const at::Tensor& leaf);
  // Buckets start in one order, the same on every member, or their operations would not match.
  void StartReady();

  const FlatLayout& layout_;
  std::vector<at::Tensor> leaves_;
  std::vector<at::Tensor> flats_;
  std::vector<at::Tensor> views_;  // of each slot
  std::vector<size_t> slots_of_;   // slots in each bucket
  std::vector<size_t> remaining_;  // gradients missing in each bucket, in the last backward
  std::vector<ProcessGroup::Pending> pending_;
  ProcessGroup* group_ = nullptr;
  bool reducing_ = false;
  size_t next_bucket_ = 0;
  absl::Status status_;
};

}  // namespace rsidiff::worker
