#include "worker/train/checkpoint_writer.h"

#include <exception>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
#include "common/base/fault_point.h"

namespace rsidiff::worker {
namespace {

void CopyBuckets(const std::vector<at::Tensor>& from, std::vector<at::Tensor>& to) {
  if (to.size() != from.size()) {
    to.clear();
    for (const at::Tensor& bucket : from)
      to.push_back(at::empty(bucket.sizes(), bucket.options().device(at::kCPU)));
  }
  for (size_t i = 0; i < from.size(); ++i) to[i].copy_(from[i]);
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::function<absl::Status(const TrainingState&)> save,
                                   std::function<void(uint64_t, const absl::Status&)> on_end)
    : save_(std::move(save)), on_end_(std::move(on_end)) {}

CheckpointWriter::~CheckpointWriter() {
  Finish();
}

absl::Status CheckpointWriter::Start(const TrainingState& state) {
  if (saving_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the one of step ", copy_.step, " is still being stored"));
  }
  Finish();
  try {
    Copy(state);
  } catch (const std::exception& error) {
    copy_ = {};
    return absl::ResourceExhaustedError(absl::StrCat("it cannot be copied: ", error.what()));
  }
  saving_ = true;
  thread_ = std::thread([this] {
    on_end_(copy_.step, Save());
    saving_ = false;
  });
  return absl::OkStatus();
}

void CheckpointWriter::Finish() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::Copy(const TrainingState& state) {
  c10::NoGradGuard no_grad;
  copy_.layout = state.layout;
  CopyBuckets(state.parameters, copy_.parameters);
  CopyBuckets(state.exp_avg, copy_.exp_avg);
  CopyBuckets(state.exp_avg_sq, copy_.exp_avg_sq);
  CopyBuckets(state.ema, copy_.ema);
  copy_.step = state.step;
}

absl::Status CheckpointWriter::Save() const {
  FaultPoint("train.store");
  try {
    return save_(copy_);
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace rsidiff::worker
