#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// A model's weights by their diffusers (or transformers) names, in ascending order of names.
///
/// The model's layers hold handles to these very tensors: changing a tensor in place changes the model. On
/// the CPU, in the file's own dtype, the tensors are the mapped file (copy-on-write).
class Parameters {
 public:
  Parameters() = default;
  explicit Parameters(NamedTensors tensors);

  const NamedTensors& tensors() const { return tensors_; }
  bool Has(const std::string& name) const { return index_.count(name) > 0; }
  /// NOT_FOUND for an unknown name.
  absl::StatusOr<at::Tensor> Get(const std::string& name) const;

  /// Copies values into the tensors of the same names, converting dtype and device. With `Coverage::kAll`
  /// each of this model's tensors must be given. INVALID_ARGUMENT for an unknown name or another shape, and
  /// then nothing was changed.
  enum class Coverage { kAll, kSome };
  absl::Status Assign(const NamedTensors& values, Coverage coverage);

 private:
  NamedTensors tensors_;
  std::unordered_map<std::string, size_t> index_;
};

class ParameterLoader;

/// A place in the tree of module names, "down_blocks.0.resnets.1" say. Cheap to copy; valid while its loader
/// lives.
class ParameterScope {
 public:
  ParameterScope Sub(absl::string_view name) const;
  ParameterScope Sub(absl::string_view name, size_t index) const;

  /// Takes the tensor `name` of this place. A missing one, or one of another shape, is remembered by the
  /// loader, and an undefined tensor is returned: the module being built must not be used then. `old_name`,
  /// when not empty, is accepted instead of `name` (and exported as `name`).
  at::Tensor Take(absl::string_view name, at::IntArrayRef shape, absl::string_view old_name = "") const;
  bool Has(absl::string_view name) const;
  /// Dotted path of the module; empty for the root.
  const std::string& path() const { return path_; }

 private:
  friend class ParameterLoader;
  ParameterScope(ParameterLoader* loader, std::string path) : loader_(loader), path_(std::move(path)) {}
  std::string Join(absl::string_view name) const;

  ParameterLoader* loader_;
  std::string path_;
};

/// Hands the tensors of safetensors files to modules under construction and checks that the two agree: after
/// the modules took theirs, Finish() reports every missing, surplus and mis-shaped tensor at once.
class ParameterLoader {
 public:
  /// `path` is a safetensors file, or a model folder that holds one of diffusion_pytorch_model.safetensors,
  /// model.safetensors, or either's sharded form (*.safetensors.index.json and the files it names).
  static absl::StatusOr<std::unique_ptr<ParameterLoader>> Open(const std::filesystem::path& path,
                                                               const ComputeOptions& options);
  /// Over tensors in memory; `name` stands before error messages.
  static std::unique_ptr<ParameterLoader> FromTensors(NamedTensors tensors, std::string name,
                                                      const ComputeOptions& options);

  /// What a file's tensor is to the model: tensors under the model's names, which may be views into it.
  using TensorMapping =
      std::function<absl::StatusOr<NamedTensors>(const std::string& name, const at::Tensor& tensor)>;
  /// Puts what `mapping` makes of each tensor in its place. `note` follows the name in error messages, since
  /// they show the new names from here on. An error of `mapping` comes with the file's name.
  absl::Status Map(absl::string_view note, const TensorMapping& mapping);

  /// Takes `prefix` off the names, if every tensor's has it.
  void StripCommonPrefix(absl::string_view prefix);

  ParameterScope root() { return ParameterScope(this, ""); }
  bool Has(const std::string& name) const { return sources_.count(name) > 0; }

  /// The taken tensors, converted to the device and dtype asked for (no copy where they have both already).
  /// INVALID_ARGUMENT lists what was missing, mis-shaped or left over; left-over names that end in one of
  /// `harmless` are no error.
  absl::StatusOr<Parameters> Finish(const std::vector<std::string>& harmless);

 private:
  friend class ParameterScope;
  struct Source {
    at::Tensor tensor;
    std::string file;
    bool taken = false;
  };

  explicit ParameterLoader(std::string name, const ComputeOptions& options)
      : name_(std::move(name)), options_(options) {}
  absl::Status AddFile(const std::filesystem::path& file);
  absl::Status AddShards(const std::filesystem::path& index_file);
  at::Tensor Take(const std::string& name, at::IntArrayRef shape, const std::string& old_name);

  std::string name_;
  ComputeOptions options_;
  std::map<std::string, Source> sources_;
  NamedTensors taken_;
  std::vector<std::string> problems_;
};

}  // namespace rsidiff::worker
