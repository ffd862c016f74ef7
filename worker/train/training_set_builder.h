#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/image/image.h"
#include "worker/model/autoencoder_kl.h"
#include "worker/sampler/pipeline.h"
#include "worker/train/batch_source.h"

namespace rsidiff::worker {

/// Latents [1, C, h, w] of a picture, fp32 on the CPU, with the VAE's scaling factor: the posterior's mode,
/// so that an epoch sees the same latents again; one picture at a time, so that their bits do not depend on
/// what else is in the set. INVALID_ARGUMENT for sides that are not multiples of the VAE's factor.
absl::StatusOr<at::Tensor> EncodePicture(AutoencoderKL& vae, const Image& image);

/// Row `row` of latents [N, C, h, w] as a view [1, C, h, w]. INVALID_ARGUMENT for another number of
/// dimensions or a row that is not there.
absl::StatusOr<at::Tensor> LatentRow(const at::Tensor& latents, int64_t row);

/// What a training set says of a sample beside its latents.
struct SampleNote {
  std::string name;  // for messages
  std::string prompt;
  double weight = 1.0;
  bool replay = false;
};

/// Puts a TrainingSet together. Latents and embeddings are copied to their places in one tensor each, so that
/// the set itself is all that is held: neither the files that latents came from nor a second copy.
class TrainingSetBuilder {
 public:
  /// For exactly `samples` samples.
  explicit TrainingSetBuilder(size_t samples) : samples_(static_cast<int64_t>(samples)) {}

  /// `latents` [1, C, h, w]. INVALID_ARGUMENT, naming the sample, where they differ in shape from the first
  /// sample's.
  absl::Status Add(const SampleNote& note, const at::Tensor& latents);

  /// After the last Add. Encodes each distinct caption and the empty one, and keeps the embeddings in the
  /// pipeline's precision. The builder is empty then.
  TrainingSet Finish(StableDiffusionPipeline& pipeline);

 private:
  const int64_t samples_;
  TrainingSet set_;
  std::map<std::string, int64_t> rows_ = {{"", 0}};  // of the embeddings, by caption
  std::vector<std::string> captions_ = {""};         // by row
};

}  // namespace rsidiff::worker
