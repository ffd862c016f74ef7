#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// One tensor of a safetensors file.
struct TensorInfo {
  /// The format's own name: "F32", "BF16", "I64", ...
  std::string dtype;
  std::vector<int64_t> shape;
  /// First byte and one past the last, counted from the start of the file.
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// The parsed header: everything in the file but the numbers.
struct SafetensorsHeader {
  /// Keyed by tensor name.
  std::map<std::string, TensorInfo> tensors;
  /// The optional "__metadata__" object.
  std::map<std::string, std::string> metadata;
  /// Where the numbers start, counted from the start of the file.
  uint64_t data_begin = 0;
};

/// Longest header that is read, as in the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

/// Bytes of one element of a safetensors dtype; 0 for a dtype this reader does not know.
size_t SafetensorsElementSize(absl::string_view dtype);

/// Length of the whole header (the 8 length bytes included) from the first 8 bytes of a file.
/// DATA_LOSS when it does not fit `file_size` or the limit; `name` stands before every message.
absl::StatusOr<uint64_t> SafetensorsHeaderLength(absl::string_view first_bytes, uint64_t file_size,
                                                 absl::string_view name);

/// Parses and checks a header. `first_bytes` holds at least the header, at most the file. Checked: the JSON
/// (UTF-8, nesting, no key twice), the dtypes, that no shape's product overflows, that each tensor's bytes
/// match its shape, and that the tensors cover the data section without hole, overlap or rest. DATA_LOSS
/// otherwise; messages name `name` and the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view first_bytes, uint64_t file_size,
                                                         absl::string_view name);

}  // namespace rsidiff::worker
