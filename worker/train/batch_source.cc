#include "worker/train/batch_source.h"

#include <cmath>
#include <utility>

#include <ATen/ATen.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/tensor/noise.h"

namespace rsidiff::worker {
namespace {

absl::Status CheckSet(const TrainingSet& set) {
  if (!set.latents.defined() || set.latents.dim() != 4) {
    return absl::InvalidArgumentError("training latents are not a [N, C, h, w] tensor");
  }
  if (!set.contexts.defined() || set.contexts.dim() != 3) {
    return absl::InvalidArgumentError("training text embeddings are not a [M, S, D] tensor");
  }
  const size_t count = static_cast<size_t>(set.latents.size(0));
  if (set.context_of.size() != count || set.weights.size() != count || set.replay.size() != count ||
      set.names.size() != count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "training set: latents, captions, weights, replay marks and names differ in number: ", count, ", ",
        set.context_of.size(), ", ", set.weights.size(), ", ", set.replay.size(), ", ", set.names.size()));
  }
  const int64_t captions = set.contexts.size(0);
  if (set.empty_context < 0 || set.empty_context >= captions) {
    return absl::InvalidArgumentError("training set: the empty caption has no text embedding");
  }
  double total = 0.0;
  for (size_t i = 0; i < count; ++i) {
    if (set.context_of[i] < 0 || set.context_of[i] >= captions) {
      return absl::InvalidArgumentError(
          absl::StrCat("training sample ", set.names[i], ": caption has no text embedding"));
    }
    if (!std::isfinite(set.weights[i]) || set.weights[i] < 0.0f) {
      return absl::InvalidArgumentError(absl::StrCat("training sample ", set.names[i],
                                                     ": weight is negative or not finite: ", set.weights[i]));
    }
    if (!at::isfinite(set.latents[static_cast<int64_t>(i)]).all().item<bool>()) {
      return absl::InvalidArgumentError(
          absl::StrCat("training sample ", set.names[i], ": latents are not finite"));
    }
    total += set.weights[i];
  }
  if (count > 0 && total == 0.0) return absl::InvalidArgumentError("training set: every weight is 0");
  return absl::OkStatus();
}

at::Tensor IndexTensor(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PlannedBatches>> PlannedBatches::Create(TrainingSet set,
                                                                       const BatchPlanOptions& options) {
  RSIDIFF_RETURN_IF_ERROR(CheckSet(set));
  RSIDIFF_ASSIGN_OR_RETURN(BatchPlan plan, BatchPlan::Create(options, set.replay));
  set.latents = set.latents.to(at::kFloat).contiguous();
  return std::unique_ptr<PlannedBatches>(new PlannedBatches(std::move(set), std::move(plan)));
}

TrainingBatch PlannedBatches::Get(uint64_t step, uint32_t begin, uint32_t end) {
  std::vector<int64_t> examples, captions, timesteps;
  std::vector<uint64_t> seeds;
  std::vector<float> weights;
  for (uint32_t position = begin; position < end; ++position) {
    const Draw draw = plan_.At(step, position);
    examples.push_back(draw.example);
    captions.push_back(draw.drop_caption ? set_.empty_context : set_.context_of[draw.example]);
    timesteps.push_back(draw.timestep);
    seeds.push_back(draw.noise_seed);
    weights.push_back(set_.weights[draw.example]);
  }
  TrainingBatch batch;
  batch.latents = set_.latents.index_select(0, IndexTensor(examples));
  batch.noise = SampleNoise(seeds, set_.latents.sizes().slice(1));
  batch.timesteps = IndexTensor(timesteps);
  batch.context = set_.contexts.index_select(0, IndexTensor(captions)).to(at::kFloat);
  batch.weights = at::tensor(weights, at::kFloat);
  return batch;
}

std::string PlannedBatches::Describe(uint64_t step, uint32_t position) {
  return set_.names[plan_.At(step, position).example];
}

}  // namespace rsidiff::worker
