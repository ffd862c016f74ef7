#include "worker/train/checkpoint.h"

#include <map>
#include <string>

#include <ATen/ATen.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

constexpr char kKind[] = "rsidiff training state";
constexpr char kVersion[] = "1";

std::string DigestOf(const NamedTensors& tensors, uint64_t step) {
  Sha256 sha;
  sha.Update(absl::StrCat("step ", step, "\n"));
  for (const auto& [name, tensor] : tensors) {
    sha.Update(absl::StrCat(name, " ", absl::StrJoin(tensor.sizes(), ","), "\n"));
    const at::Tensor values = tensor.cpu().contiguous();
    sha.Update({static_cast<const char*>(values.const_data_ptr()), static_cast<size_t>(values.nbytes())});
  }
  return sha.FinishHex();
}

absl::StatusOr<std::string> Metadata(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": not a training state (no metadata ", key, ")"));
  }
  return found->second;
}

}  // namespace

absl::Status WriteTrainingState(const std::filesystem::path& path, const TrainingState& state) {
  const NamedTensors tensors = state.Views();
  return WriteSafetensors(path, tensors,
                          {{"format", "pt"},
                           {"kind", kKind},
                           {"version", kVersion},
                           {"step", absl::StrCat(state.step)},
                           {"sha256", DigestOf(tensors, state.step)}});
}

absl::Status ReadTrainingState(const std::filesystem::path& path, TrainingState& state) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string kind, Metadata(*file, "kind"));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string version, Metadata(*file, "version"));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string step_text, Metadata(*file, "step"));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string digest, Metadata(*file, "sha256"));
  uint64_t step = 0;
  if (kind != kKind || version != kVersion || !absl::SimpleAtoi(step_text, &step)) {
    return absl::InvalidArgumentError(absl::StrCat(file->path(), ": not a training state of version ",
                                                   kVersion, ": kind ", kind, ", version ", version));
  }
  const NamedTensors views = state.Views();
  if (file->names().size() != views.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        file->path(), ": training state of another model or other options: ", file->names().size(),
        " tensors, expected ", views.size()));
  }
  NamedTensors stored;
  for (const auto& [name, view] : views) {
    if (!file->Has(name)) {
      return absl::InvalidArgumentError(absl::StrCat(file->path(), ": training state lacks tensor ", name));
    }
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor tensor, file->Get(name));
    if (tensor.scalar_type() != at::kFloat || tensor.sizes() != view.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat(file->path(), ": tensor ", name, " is not F32 [",
                                                     absl::StrJoin(view.sizes(), ", "), "] but [",
                                                     absl::StrJoin(tensor.sizes(), ", "), "]"));
    }
    stored.emplace_back(name, std::move(tensor));
  }
  if (DigestOf(stored, step) != digest) {
    return absl::DataLossError(absl::StrCat(file->path(), ": training state does not match its digest"));
  }
  for (size_t i = 0; i < views.size(); ++i) views[i].second.copy_(stored[i].second);
  state.step = step;
  return absl::OkStatus();
}

}  // namespace rsidiff::worker
