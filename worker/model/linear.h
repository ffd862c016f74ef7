#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "worker/model/parameters.h"

namespace rsidiff::worker {

enum class Bias { kYes, kNo };

/// y = x Wᵀ + b, plus scale · (x downᵀ) upᵀ when a LoRA pair is attached (Hu et al., arXiv 2106.09685; as in
/// PEFT, scale = alpha / rank).
struct Linear {
  Linear() = default;
  /// Takes "weight" [out, in] and, with Bias::kYes, "bias" [out].
  Linear(const ParameterScope& scope, int64_t in, int64_t out, Bias with_bias);

  /// x [..., in] to [..., out].
  at::Tensor operator()(const at::Tensor& x) const;

  int64_t in_features() const { return weight.size(1); }
  int64_t out_features() const { return weight.size(0); }

  /// diffusers module path, "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q".
  std::string path;
  at::Tensor weight;
  at::Tensor bias;       ///< Undefined without bias.
  at::Tensor lora_down;  ///< [rank, in]; undefined without LoRA.
  at::Tensor lora_up;    ///< [out, rank].
  double lora_scale = 1;
};

}  // namespace rsidiff::worker
