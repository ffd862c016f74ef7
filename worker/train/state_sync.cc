#include "worker/train/state_sync.h"

#include <cstring>
#include <vector>

#include <ATen/ATen.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/fault_point.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

// Everybody's `value`, by rank.
absl::StatusOr<std::vector<int64_t>> Gather(ProcessGroup& group, at::Device device, int64_t value) {
  const at::Tensor host = at::zeros({group.world()}, at::kLong);
  host[group.rank()] = value;
  const at::Tensor all = host.to(device);
  RSIDIFF_RETURN_IF_ERROR(group.Sum(all));
  const at::Tensor result = all.cpu();
  const int64_t* values = result.const_data_ptr<int64_t>();
  return std::vector<int64_t>(values, values + group.world());
}

absl::Status Receive(ProcessGroup& group, int source, uint64_t step, TrainingState& state) {
  state.complete = false;
  for (const at::Tensor& bucket : state.Buckets()) {
    RSIDIFF_RETURN_IF_ERROR(group.Broadcast(bucket, source));
    FaultPoint("train.transfer");
  }
  state.step = step;
  state.complete = true;
  return absl::OkStatus();
}

absl::Status Send(ProcessGroup& group, int source, const TrainingState& state) {
  // Members that already have the state take part with a scratch copy, so that theirs is never overwritten.
  for (const at::Tensor& bucket : state.Buckets()) {
    RSIDIFF_RETURN_IF_ERROR(
        group.Broadcast(group.rank() == source ? bucket : at::empty_like(bucket), source));
    FaultPoint("train.transfer");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SyncReport> SynchronizeState(ProcessGroup& group, TrainingState& state) {
  const at::Device device = state.parameters.front().device();
  constexpr int64_t kNoState = -1;
  RSIDIFF_ASSIGN_OR_RETURN(
      const std::vector<int64_t> steps,
      Gather(group, device, state.complete ? static_cast<int64_t>(state.step) : kNoState));
  SyncReport report;
  for (int rank = 1; rank < group.world(); ++rank) {
    if (steps[rank] > steps[report.source]) report.source = rank;
  }
  const int64_t top = steps[report.source];
  if (top == kNoState) return absl::DataLossError("no training member holds a complete state");
  report.step = static_cast<uint64_t>(top);
  report.received = steps[group.rank()] != top;

  bool anybody_receives = false;
  for (const int64_t step : steps) anybody_receives |= step != top;
  if (anybody_receives) {
    RSIDIFF_RETURN_IF_ERROR(report.received ? Receive(group, report.source, report.step, state)
                                            : Send(group, report.source, state));
  }
  const auto fingerprint = static_cast<int64_t>(state.Fingerprint());
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<int64_t> fingerprints, Gather(group, device, fingerprint));
  for (int rank = 0; rank < group.world(); ++rank) {
    if (fingerprints[rank] == fingerprints[report.source]) continue;
    return absl::DataLossError(absl::StrCat("training states differ at step ", report.step, ": rank ", rank,
                                            " from rank ", report.source,
                                            steps[rank] == top ? "" : " that it was received from"));
  }
  return report;
}

}  // namespace rsidiff::worker
