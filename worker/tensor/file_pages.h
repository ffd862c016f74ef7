#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace rsidiff::worker {

/// Takes those pages of `tensor` out of this process's memory that a mapped file can give back: after a copy
/// in another layout was made, the file's bytes would only stand beside it. Reading the tensor again reads
/// the file, mostly from the kernel's cache. Returns the bytes let go: 0 for a tensor on another device, and
/// when any of its pages is the process's own (allocated, or mapped and written to) or the kernel does not
/// tell. Whole pages only, so neighbours in the file keep theirs. Nobody may write to the tensor meanwhile.
int64_t ReleaseFilePages(const at::Tensor& tensor);

}  // namespace rsidiff::worker
