#pragma once

#include <filesystem>
#include <list>
#include <memory>
#include <string>

#include <c10/core/Device.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/sampler/pipeline.h"
#include "worker/scorer/scorer_set.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// Loaded models, so that a task pays only for what changed since the last one: a new checkpoint of a known
/// model replaces the UNet's values and leaves text encoder and VAE alone. Keeps the models of the two runs
/// used last; a scorer's weights that both runs need are there once. Not thread-safe.
class ModelCache {
 public:
  /// `folders` is where model folders are laid out as links to the store's files.
  ModelCache(ArtifactStore& store, c10::Device device, std::filesystem::path folders);

  /// Local folder of a folder manifest's digest.
  absl::StatusOr<std::filesystem::path> Folder(const std::string& digest);

  /// The task's model with the values of its checkpoint, in the sampling precision. Valid until the next
  /// call of this method. After an error or an exception nothing is kept of a model whose values were being
  /// changed.
  absl::StatusOr<StableDiffusionPipeline*> Pipeline(const v1::TaskPayload& payload);

  /// All scorers of the task's run. Valid until the next call of this method.
  absl::StatusOr<ScorerSet*> Scorers(const v1::TaskPayload& payload);

 private:
  struct LoadedPipeline {
    std::string key;
    std::unique_ptr<StableDiffusionPipeline> pipeline;
    std::string checkpoint;  // digest whose values the UNet has; empty: the base model's
    NamedTensors unmerged;   // LoRA: the weights as they were before the adapter was added to them
  };
  struct LoadedScorers {
    std::string key;
    std::unique_ptr<ScorerSet> scorers;
  };

  // Gives the UNet the values of the task's checkpoint, whose label the caller then puts on it.
  absl::Status ApplyCheckpoint(LoadedPipeline& loaded, const v1::TaskPayload& payload);

  ArtifactStore& store_;
  const c10::Device device_;
  const std::filesystem::path folders_;
  std::list<LoadedPipeline> pipelines_;  // most recently used first
  ScorerParts parts_;
  std::list<LoadedScorers> scorers_;
};

/// True when the run's checkpoints are LoRA files rather than UNet parameters.
bool TrainsLora(const v1::RunSpec& spec);

}  // namespace rsidiff::worker
