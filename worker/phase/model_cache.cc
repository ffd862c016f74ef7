#include "worker/phase/model_cache.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/artifact/folder.h"
#include "common/base/status_macros.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/phase/spec_settings.h"
#include "worker/train/lora.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKept = 2;

// Moves the entry with `key` to the front; false when there is none.
template <typename Entry>
bool MoveToFront(std::list<Entry>& entries, const std::string& key) {
  auto found =
      std::find_if(entries.begin(), entries.end(), [&key](const Entry& entry) { return entry.key == key; });
  if (found == entries.end()) return false;
  entries.splice(entries.begin(), entries, found);
  return true;
}

// Makes room before a load, so that at no time one model more than kKept is in memory.
template <typename Entry>
void Trim(std::list<Entry>& entries) {
  while (entries.size() >= kKept) entries.pop_back();
}

}  // namespace

bool TrainsLora(const v1::RunSpec& spec) {
  return spec.train().method() == v1::TRAIN_METHOD_LORA;
}

ModelCache::ModelCache(ArtifactStore& store, c10::Device device, fs::path folders)
    : store_(store),
      device_(device),
      folders_(std::move(folders)),
      parts_(ScorerParts::Options{{device, at::kFloat}}) {}

absl::StatusOr<fs::path> ModelCache::Folder(const std::string& digest) {
  return MaterializeFolder(store_, digest, folders_);
}

absl::StatusOr<StableDiffusionPipeline*> ModelCache::Pipeline(const v1::TaskPayload& payload) {
  ComputeOptions compute{device_, DtypeOf(payload.spec().sampling().precision())};
  std::string key = absl::StrCat(payload.inputs().model(), "/", PrecisionName(compute.dtype));
  if (!MoveToFront(pipelines_, key)) {
    RSIDIFF_ASSIGN_OR_RETURN(fs::path folder, Folder(payload.inputs().model()));
    Trim(pipelines_);
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<StableDiffusionPipeline> pipeline,
                             StableDiffusionPipeline::Load(folder, compute));
    pipelines_.push_front({key, std::move(pipeline), "", {}});
  }
  if (pipelines_.front().checkpoint != payload.checkpoint()) {
    // Kept out of the list meanwhile: when this ends early, by an exception too, the values may be of two
    // checkpoints, and the entry is gone.
    std::list<LoadedPipeline> changing;
    changing.splice(changing.begin(), pipelines_, pipelines_.begin());
    const absl::Status applied = ApplyCheckpoint(changing.front(), payload);
    if (!applied.ok()) return Annotate(applied, absl::StrCat("checkpoint ", payload.checkpoint()));
    changing.front().checkpoint = payload.checkpoint();
    pipelines_.splice(pipelines_.begin(), changing);
  }
  return pipelines_.front().pipeline.get();
}

absl::Status ModelCache::ApplyCheckpoint(LoadedPipeline& loaded, const v1::TaskPayload& payload) {
  UNet2DConditionModel& unet = loaded.pipeline->unet();
  const bool lora = TrainsLora(payload.spec());
  if (!loaded.unmerged.empty()) {
    RSIDIFF_RETURN_IF_ERROR(unet.parameters().Assign(loaded.unmerged, Parameters::Coverage::kSome));
    loaded.unmerged.clear();
  } else if (!loaded.checkpoint.empty() && (lora || payload.checkpoint().empty())) {
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<UNet2DConditionModel> base,
                             UNet2DConditionModel::Load(loaded.pipeline->folder() / "unet", unet.options()));
    RSIDIFF_RETURN_IF_ERROR(
        unet.parameters().Assign(base->parameters().tensors(), Parameters::Coverage::kAll));
  }
  if (payload.checkpoint().empty()) return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(fs::path path, store_.LocalPath(payload.checkpoint()));
  if (lora) {
    RSIDIFF_ASSIGN_OR_RETURN(LoraWeights weights, ReadLora(path));
    RSIDIFF_ASSIGN_OR_RETURN(loaded.unmerged, MergeLora(unet, weights));
    return absl::OkStatus();
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  RSIDIFF_ASSIGN_OR_RETURN(NamedTensors tensors, file->GetAll());
  return unet.parameters().Assign(tensors, Parameters::Coverage::kAll);
}

absl::StatusOr<ScorerSet*> ModelCache::Scorers(const v1::TaskPayload& payload) {
  std::string key;
  for (const v1::ScorerSpec& spec : payload.spec().scorers()) {
    auto found = payload.inputs().scorers().find(spec.name());
    if (found == payload.inputs().scorers().end()) {
      return absl::InvalidArgumentError(absl::StrCat("scorer ", spec.name(), " has no model folder"));
    }
    absl::StrAppend(&key, spec.name(), "=", static_cast<int>(spec.type()), ":", found->second.model(), ":",
                    found->second.tokenizer(), ":", found->second.clip(), ";");
  }
  if (MoveToFront(scorers_, key)) return scorers_.front().scorers.get();

  std::vector<ScorerSource> sources;
  for (const v1::ScorerSpec& spec : payload.spec().scorers()) {
    const v1::ScorerInputs& inputs = payload.inputs().scorers().at(spec.name());
    ScorerSource source;
    source.name = spec.name();
    absl::StatusOr<ScorerType> type = ScorerTypeOf(spec.type());
    if (!type.ok()) return Annotate(type.status(), absl::StrCat("scorer ", spec.name()));
    source.type = *type;
    RSIDIFF_ASSIGN_OR_RETURN(source.folder, Folder(inputs.model()));
    if (!inputs.tokenizer().empty()) {
      RSIDIFF_ASSIGN_OR_RETURN(source.tokenizer, Folder(inputs.tokenizer()));
    }
    if (!inputs.clip().empty()) {
      RSIDIFF_ASSIGN_OR_RETURN(source.clip, Folder(inputs.clip()));
    }
    sources.push_back(std::move(source));
  }
  // What the new set has in common with the one that has to leave stays.
  std::vector<std::shared_ptr<const void>> common;
  for (const ScorerSource& source : sources) {
    common.push_back(parts_.Loaded(source.clip.empty() ? source.folder : source.clip));
  }
  Trim(scorers_);
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ScorerSet> scorers, ScorerSet::Load(sources, parts_));
  scorers_.push_front({key, std::move(scorers)});
  return scorers_.front().scorers.get();
}

}  // namespace rsidiff::worker
