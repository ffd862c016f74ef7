#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/tensor/safetensors_header.h"

namespace rsidiff::worker {

class MappedFile;

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// A safetensors file, mapped. Safe for concurrent use.
class SafetensorsFile {
 public:
  /// Maps the file and checks its header whole. DATA_LOSS for a malformed or truncated file.
  static absl::StatusOr<std::shared_ptr<SafetensorsFile>> Open(const std::filesystem::path& path);

  /// In ascending order.
  std::vector<std::string> names() const;
  bool Has(const std::string& name) const { return header_.tensors.count(name) > 0; }
  /// The tensor on the CPU, in the file's dtype, without a copy: it keeps the mapping alive, and writing to
  /// it changes this process's pages and never the file. NOT_FOUND for an unknown name.
  absl::StatusOr<at::Tensor> Get(const std::string& name) const;
  /// Every tensor, in ascending order of names.
  absl::StatusOr<NamedTensors> GetAll() const;
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  /// Where messages about this file start.
  const std::string& path() const { return path_; }

 private:
  SafetensorsFile(std::string path, std::shared_ptr<MappedFile> file, SafetensorsHeader header);

  std::string path_;
  std::shared_ptr<MappedFile> file_;
  SafetensorsHeader header_;
};

/// The whole file as bytes, laid out as the reference implementation does: tensors ordered by falling
/// element size, then name; the header padded with spaces to a multiple of 8. transformers refuses files
/// without {"format", "pt"} in the metadata. INVALID_ARGUMENT for a name given twice, an undefined or sparse
/// tensor, a dtype that the format lacks, or text that is not UTF-8.
absl::StatusOr<std::string> SerializeSafetensors(const NamedTensors& tensors,
                                                 const std::map<std::string, std::string>& metadata);

/// As SerializeSafetensors, straight into a file: one tensor at a time is copied to contiguous CPU memory
/// where it is not there already. Writes a temporary file beside `path`, syncs, renames.
absl::Status WriteSafetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata);

/// Parses a file held in memory; the tensors share it. `name` stands before error messages.
absl::StatusOr<NamedTensors> ParseSafetensors(std::string bytes, absl::string_view name);

/// torch's type for a safetensors dtype name; INVALID_ARGUMENT for one that torch lacks.
absl::StatusOr<at::ScalarType> ScalarTypeFromSafetensors(absl::string_view dtype);

}  // namespace rsidiff::worker
