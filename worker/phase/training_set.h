#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/training_manifest.h"
#include "worker/sampler/pipeline.h"
#include "worker/train/batch_source.h"

namespace rsidiff::worker {

/// Latents (the samples' own, or their pictures encoded anew: TrainSpec.latents), caption embeddings and
/// weights of the examples, on the CPU. Errors name the example's digest.
absl::StatusOr<TrainingSet> LoadTrainingSet(const std::vector<TrainingExample>& examples,
                                            v1::LatentSource source, StableDiffusionPipeline& pipeline,
                                            PhaseContext& context);

}  // namespace rsidiff::worker
