#include "worker/phase/training_set.h"

#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/train/training_set_builder.h"

namespace rsidiff::worker {
namespace {

/// Latents [1, C, h, w] of one example at a time.
class ExampleLatents {
 public:
  ExampleLatents(v1::LatentSource source, StableDiffusionPipeline& pipeline, PhaseContext& context)
      : source_(source), pipeline_(pipeline), context_(context) {}

  absl::StatusOr<at::Tensor> Read(const TrainingExample& example) {
    return source_ == v1::LATENT_SOURCE_ENCODED ? Encode(example.image) : Stored(example);
  }

 private:
  absl::StatusOr<at::Tensor> Stored(const TrainingExample& example) {
    // One file at a time: a chunk's examples follow each other, and Linux maps some 65,000 files a process.
    if (example.latents != open_) {
      RSIDIFF_ASSIGN_OR_RETURN(latents_, ReadTensor(context_.store, example.latents, "latents", 4));
      open_ = example.latents;
    }
    absl::StatusOr<at::Tensor> row = LatentRow(latents_, example.row);
    if (!row.ok()) return Annotate(row.status(), absl::StrCat("artifact ", example.latents));
    return row;
  }

  absl::StatusOr<at::Tensor> Encode(const std::string& digest) {
    RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const Image> image, context_.images.Get(digest, context_.store));
    absl::StatusOr<at::Tensor> latents = EncodePicture(pipeline_.vae(), *image);
    if (!latents.ok()) return Annotate(latents.status(), absl::StrCat("picture ", digest));
    return latents;
  }

  const v1::LatentSource source_;
  StableDiffusionPipeline& pipeline_;
  PhaseContext& context_;
  std::string open_;  // digest of the file that `latents_` are mapped from
  at::Tensor latents_;
};

}  // namespace

absl::StatusOr<TrainingSet> LoadTrainingSet(const std::vector<TrainingExample>& examples,
                                            v1::LatentSource source, StableDiffusionPipeline& pipeline,
                                            PhaseContext& context) {
  ExampleLatents latents(source, pipeline, context);
  TrainingSetBuilder builder(examples.size());
  for (const TrainingExample& example : examples) {
    RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor row, latents.Read(example));
    const SampleNote note{absl::StrCat("picture ", example.image), example.prompt, example.weight,
                          example.replay};
    RSIDIFF_RETURN_IF_ERROR(builder.Add(note, row));
  }
  return builder.Finish(pipeline);
}

}  // namespace rsidiff::worker
