#include "worker/model/parameters.h"

#include <algorithm>
#include <set>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace rsidiff::worker {
namespace {

constexpr size_t kMaxReportedProblems = 20;

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

Parameters::Parameters(NamedTensors tensors) : tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].first, i);
}

absl::StatusOr<at::Tensor> Parameters::Get(const std::string& name) const {
  auto entry = index_.find(name);
  if (entry == index_.end()) return absl::NotFoundError(absl::StrCat("no parameter ", name));
  return tensors_[entry->second].second;
}

absl::Status Parameters::Assign(const NamedTensors& values, Coverage coverage) {
  std::set<std::string> given;
  for (const auto& [name, value] : values) {
    auto entry = index_.find(name);
    if (entry == index_.end()) return absl::InvalidArgumentError(absl::StrCat("no parameter ", name));
    const at::Tensor& target = tensors_[entry->second].second;
    if (!value.defined() || value.sizes() != target.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " has shape ",
                                                     value.defined() ? ShapeText(value.sizes()) : "[?]",
                                                     ", expected ", ShapeText(target.sizes())));
    }
    if (!given.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat("parameter given twice: ", name));
    }
  }
  if (coverage == Coverage::kAll && given.size() != tensors_.size()) {
    for (const auto& entry : tensors_) {
      if (given.count(entry.first) == 0) {
        return absl::InvalidArgumentError(absl::StrCat("parameter is missing: ", entry.first));
      }
    }
  }
  at::NoGradGuard no_grad;
  for (const auto& [name, value] : values) tensors_[index_.at(name)].second.copy_(value);
  return absl::OkStatus();
}

std::string ParameterScope::Join(absl::string_view name) const {
  if (path_.empty()) return std::string(name);
  return absl::StrCat(path_, ".", name);
}

ParameterScope ParameterScope::Sub(absl::string_view name) const {
  return ParameterScope(loader_, Join(name));
}

ParameterScope ParameterScope::Sub(absl::string_view name, size_t index) const {
  return ParameterScope(loader_, Join(absl::StrCat(name, ".", index)));
}

at::Tensor ParameterScope::Take(absl::string_view name, at::IntArrayRef shape,
                                absl::string_view old_name) const {
  return loader_->Take(Join(name), shape, old_name.empty() ? "" : Join(old_name));
}

bool ParameterScope::Has(absl::string_view name) const {
  return loader_->Has(Join(name));
}

absl::StatusOr<std::unique_ptr<ParameterLoader>> ParameterLoader::Open(const std::filesystem::path& path,
                                                                       const ComputeOptions& options) {
  std::unique_ptr<ParameterLoader> loader(new ParameterLoader(path.string(), options));
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    RSIDIFF_RETURN_IF_ERROR(loader->AddFile(path));
    return loader;
  }
  for (const char* name : {"diffusion_pytorch_model.safetensors", "model.safetensors"}) {
    std::filesystem::path file = path / name;
    if (std::filesystem::exists(file, error)) {
      RSIDIFF_RETURN_IF_ERROR(loader->AddFile(file));
      return loader;
    }
    file += ".index.json";
    if (std::filesystem::exists(file, error)) {
      RSIDIFF_RETURN_IF_ERROR(loader->AddShards(file));
      return loader;
    }
  }
  return absl::NotFoundError(absl::StrCat(
      path.string(), ": no diffusion_pytorch_model.safetensors or model.safetensors, nor their .index.json"));
}

std::unique_ptr<ParameterLoader> ParameterLoader::FromTensors(NamedTensors tensors, std::string name,
                                                              const ComputeOptions& options) {
  std::unique_ptr<ParameterLoader> loader(new ParameterLoader(name, options));
  for (auto& [tensor_name, tensor] : tensors) {
    if (!loader->sources_.emplace(tensor_name, Source{std::move(tensor), name}).second) {
      loader->problems_.push_back(absl::StrCat("tensor given twice: ", tensor_name));
    }
  }
  return loader;
}

absl::Status ParameterLoader::AddFile(const std::filesystem::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsFile> tensors, SafetensorsFile::Open(file));
  for (const std::string& name : tensors->names()) {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor tensor, tensors->Get(name));
    if (!sources_.emplace(name, Source{std::move(tensor), file.string()}).second) {
      problems_.push_back(absl::StrCat("tensor in two files: ", name, " (second: ", file.string(), ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status ParameterLoader::AddShards(const std::filesystem::path& index_file) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string text, ReadFile(index_file));
  nlohmann::json index = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return absl::DataLossError(absl::StrCat(index_file.string(), ": no weight_map object"));
  }
  std::set<std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      return absl::DataLossError(absl::StrCat(index_file.string(), ": bad file name for tensor ", name));
    }
    files.insert(file.get<std::string>());
  }
  for (const std::string& file : files) {
    RSIDIFF_RETURN_IF_ERROR(AddFile(index_file.parent_path() / file));
  }
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!Has(name)) {
      problems_.push_back(absl::StrCat("tensor in the index but not in its file: ", name, " (",
                                       file.get<std::string>(), ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status ParameterLoader::Map(absl::string_view note, const TensorMapping& mapping) {
  std::map<std::string, Source> mapped;
  for (const auto& [name, source] : sources_) {
    absl::StatusOr<NamedTensors> tensors = mapping(name, source.tensor);
    if (!tensors.ok()) return Annotate(tensors.status(), source.file);
    for (auto& [new_name, tensor] : *tensors) {
      if (!mapped.emplace(new_name, Source{std::move(tensor), source.file}).second) {
        problems_.push_back(absl::StrCat("tensor there under two names: ", new_name, ", ", name));
      }
    }
  }
  sources_ = std::move(mapped);
  absl::StrAppend(&name_, " (", note, ")");
  return absl::OkStatus();
}

void ParameterLoader::StripCommonPrefix(absl::string_view prefix) {
  const auto has_prefix = [prefix](const auto& entry) { return absl::StartsWith(entry.first, prefix); };
  if (!std::all_of(sources_.begin(), sources_.end(), has_prefix)) return;
  std::map<std::string, Source> stripped;
  for (auto& [name, source] : sources_) stripped.emplace(name.substr(prefix.size()), std::move(source));
  sources_ = std::move(stripped);
  absl::StrAppend(&name_, " (names without ", prefix, ")");
}

at::Tensor ParameterLoader::Take(const std::string& name, at::IntArrayRef shape,
                                 const std::string& old_name) {
  auto entry = sources_.find(name);
  if (entry == sources_.end() && !old_name.empty()) entry = sources_.find(old_name);
  if (entry == sources_.end()) {
    problems_.push_back(absl::StrCat("missing tensor ", name, " of shape ", ShapeText(shape)));
    return at::Tensor();
  }
  Source& source = entry->second;
  if (source.taken) {
    problems_.push_back(absl::StrCat("tensor wanted twice: ", name));
    return at::Tensor();
  }
  source.taken = true;
  if (source.tensor.sizes() != shape || !source.tensor.is_floating_point()) {
    problems_.push_back(absl::StrCat(
        "tensor ", entry->first, " in ", source.file, " is ", c10::toString(source.tensor.scalar_type()), " ",
        ShapeText(source.tensor.sizes()), ", expected floating point ", ShapeText(shape)));
    return at::Tensor();
  }
  at::NoGradGuard no_grad;
  at::Tensor tensor = source.tensor.to(options_.device, options_.dtype);
  source.tensor = at::Tensor();
  taken_.emplace_back(name, tensor);
  return tensor;
}

absl::StatusOr<Parameters> ParameterLoader::Finish(const std::vector<std::string>& harmless) {
  for (const auto& [name, source] : sources_) {
    auto is_harmless = [&name = name](const std::string& ending) { return absl::EndsWith(name, ending); };
    if (source.taken || std::any_of(harmless.begin(), harmless.end(), is_harmless)) continue;
    problems_.push_back(absl::StrCat("surplus tensor ", name, " of shape ", ShapeText(source.tensor.sizes()),
                                     " in ", source.file));
  }
  if (!problems_.empty()) {
    size_t shown = std::min(problems_.size(), kMaxReportedProblems);
    std::vector<std::string> first(problems_.begin(), problems_.begin() + shown);
    std::string rest =
        shown < problems_.size() ? absl::StrCat("; and ", problems_.size() - shown, " more") : "";
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", absl::StrJoin(first, "; "), rest));
  }
  std::sort(taken_.begin(), taken_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return Parameters(std::move(taken_));
}

}  // namespace rsidiff::worker
