#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace rsidiff::worker {

/// x [N, C, h, w] with the channels of a pixel side by side in memory, where that is quicker: on the CPU in
/// fp32 without gradients, whose convolutions and attention layers then need no copies. Every other x as it
/// is. Layers keep the layout that they are given.
at::Tensor InInferenceLayout(const at::Tensor& x);

/// Whether x [N, C, h, w] is on the CPU in fp32, without gradients, with its channels side by side and not
/// also its pixels.
bool IsInInferenceLayout(const at::Tensor& x);

/// at::group_norm of such an x. torch's own kernel for this layout is up to 25 times slower than its other
/// one (docs/decisions/0010-channels-last-inference.md). The bits do not depend on the number of threads.
at::Tensor GroupNormOfChannelsLast(const at::Tensor& x, int64_t groups, const at::Tensor& weight,
                                   const at::Tensor& bias, double eps);

/// The pixels of x [N, C, h, w] as a contiguous sequence [N, h·w, C]; a view where the layout allows it.
at::Tensor ToTokens(const at::Tensor& x);

/// The reverse, with the sizes of the pixels and the memory format of `like`.
at::Tensor ToFeatureMap(const at::Tensor& tokens, const at::Tensor& like);

}  // namespace rsidiff::worker
