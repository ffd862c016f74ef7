#include "worker/scorer/scorer_set.h"

#include <ATen/Functions.h>

#include <cmath>
#include <map>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/model/clip_model.h"
#include "worker/scorer/aesthetic_score.h"
#include "worker/scorer/clip_score.h"
#include "worker/scorer/hps_score.h"
#include "worker/scorer/pick_score.h"

namespace rsidiff::worker {
namespace {

/// One loaded thing for each folder, however many scorers name it.
class SharedParts {
 public:
  explicit SharedParts(const ScorerSet::Options& options) : options_(options) {}

  struct Clip {
    std::shared_ptr<const ClipModel> model;
    std::shared_ptr<const ImageEncoder> images;
  };
  absl::StatusOr<Clip> LoadClip(const std::filesystem::path& folder) {
    const std::string key = Key(folder);
    if (auto found = clips_.find(key); found != clips_.end()) return found->second;
    Clip clip;
    RSIDIFF_ASSIGN_OR_RETURN(clip.model, ClipModel::Load(folder, options_.compute));
    RSIDIFF_ASSIGN_OR_RETURN(ClipPreprocessor preprocessor, ClipPreprocessor::Load(folder));
    RSIDIFF_ASSIGN_OR_RETURN(clip.images,
                             ImageEncoder::Create(clip.model, std::move(preprocessor), options_.batch_size));
    clips_.emplace(key, clip);
    return clip;
  }

  absl::StatusOr<std::shared_ptr<PromptEncoder>> LoadPrompts(const std::filesystem::path& clip_folder,
                                                             const std::filesystem::path& tokenizer_folder) {
    const std::pair<std::string, std::string> key(Key(clip_folder), Key(tokenizer_folder));
    if (auto found = prompts_.find(key); found != prompts_.end()) return found->second;
    RSIDIFF_ASSIGN_OR_RETURN(const Clip clip, LoadClip(clip_folder));
    RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const ClipTokenizer> tokenizer,
                             ClipTokenizer::Load(tokenizer_folder));
    RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<PromptEncoder> encoder,
                             PromptEncoder::Create(clip.model, tokenizer));
    prompts_.emplace(key, encoder);
    return encoder;
  }

 private:
  // Two spellings of one folder are one.
  static std::string Key(const std::filesystem::path& folder) {
    std::error_code error;
    const std::filesystem::path canonical = std::filesystem::canonical(folder, error);
    return error ? folder.string() : canonical.string();
  }

  ScorerSet::Options options_;
  std::map<std::string, Clip> clips_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<PromptEncoder>> prompts_;
};

absl::StatusOr<std::unique_ptr<Scorer>> LoadScorer(const ScorerSource& source, SharedParts& parts) {
  if (source.type == ScorerType::kAesthetic) {
    if (source.clip.empty())
      return absl::InvalidArgumentError("no CLIP folder given whose image embedding to read");
    RSIDIFF_ASSIGN_OR_RETURN(const SharedParts::Clip clip, parts.LoadClip(source.clip));
    return AestheticScore::Load(source.folder, clip.images);
  }
  if (!source.clip.empty())
    return absl::InvalidArgumentError("a separate CLIP folder is for aesthetic scorers only");
  RSIDIFF_ASSIGN_OR_RETURN(const SharedParts::Clip clip, parts.LoadClip(source.folder));
  RSIDIFF_ASSIGN_OR_RETURN(
      const std::shared_ptr<PromptEncoder> prompts,
      parts.LoadPrompts(source.folder, source.tokenizer.empty() ? source.folder : source.tokenizer));
  switch (source.type) {
    case ScorerType::kClipScore:
      return std::make_unique<ClipScore>(clip.images, prompts);
    case ScorerType::kHps:
      return std::make_unique<HpsScore>(clip.images, prompts);
    case ScorerType::kPickScore:
      return std::make_unique<PickScore>(clip.images, prompts, clip.model->logit_scale());
    case ScorerType::kAesthetic:
      break;
  }
  return absl::InternalError("unknown scorer type");
}

// Enough of a prompt to recognise it, not cut within a UTF-8 character.
std::string Excerpt(const std::string& prompt) {
  size_t length = 80;
  if (prompt.size() <= length) return prompt;
  while (length > 0 && (static_cast<unsigned char>(prompt[length]) & 0xC0) == 0x80) --length;
  return absl::StrCat(prompt.substr(0, length), "...");
}

std::string Label(const ScorerSet::Request& request, size_t i) {
  return i < request.labels.size() ? request.labels[i] : absl::StrCat("sample ", i);
}

absl::Status CheckScores(const std::string& scorer, const std::vector<double>& scores,
                         const ScorerSet::Request& request) {
  if (scores.size() != request.images.size()) {
    return absl::InternalError(absl::StrCat("scorer ", scorer, " gave ", scores.size(), " scores for ",
                                            request.images.size(), " pictures"));
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i])) continue;
    return absl::DataLossError(absl::StrCat("scorer ", scorer, ": ", Label(request, i),
                                            ": score is not finite: ", scores[i], ", prompt \"",
                                            Excerpt(request.prompts[i]), "\""));
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(const std::string& scorer, const at::Tensor& features,
                           const ScorerSet::Request& request) {
  const at::Tensor finite = features.isfinite().all(1);
  for (size_t i = 0; i < request.images.size(); ++i) {
    if (finite[i].item<bool>()) continue;
    return absl::DataLossError(absl::StrCat("scorer ", scorer, ": ", Label(request, i),
                                            ": image features are not finite, prompt \"",
                                            Excerpt(request.prompts[i]), "\""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScorerType> ParseScorerType(absl::string_view name) {
  if (name == "clipscore") return ScorerType::kClipScore;
  if (name == "hps") return ScorerType::kHps;
  if (name == "pickscore") return ScorerType::kPickScore;
  if (name == "aesthetic") return ScorerType::kAesthetic;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown scorer type; there are clipscore, hps, pickscore and aesthetic: \"", name, "\""));
}

absl::StatusOr<std::unique_ptr<ScorerSet>> ScorerSet::Load(absl::Span<const ScorerSource> sources,
                                                           const Options& options) {
  SharedParts parts(options);
  auto set = std::unique_ptr<ScorerSet>(new ScorerSet());
  for (const ScorerSource& source : sources) {
    const std::string context = absl::StrCat("scorer ", source.name);
    if (set->Find(source.name).ok()) {
      return absl::InvalidArgumentError(absl::StrCat(context, ": another scorer has this name"));
    }
    absl::StatusOr<std::unique_ptr<Scorer>> scorer = LoadScorer(source, parts);
    if (!scorer.ok()) return Annotate(scorer.status(), context);
    set->entries_.push_back({source.name, *std::move(scorer)});
  }
  return set;
}

std::vector<std::string> ScorerSet::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.push_back(entry.name);
  return names;
}

absl::StatusOr<Scorer*> ScorerSet::Find(absl::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name) return entry.scorer.get();
  }
  return absl::NotFoundError(absl::StrCat("no scorer of this name is loaded: ", name));
}

absl::StatusOr<ScorerSet::Result> ScorerSet::Score(const Request& request) {
  if (request.images.size() != request.prompts.size()) {
    return absl::InvalidArgumentError(absl::StrCat("as many prompts as pictures are needed, not ",
                                                   request.prompts.size(), " for ", request.images.size()));
  }
  ScoreBatch batch(request.images, request.prompts);
  Result result;
  for (const std::string& name : request.scorers.empty() ? names() : request.scorers) {
    RSIDIFF_ASSIGN_OR_RETURN(Scorer * scorer, Find(name));
    absl::StatusOr<std::vector<double>> scores = scorer->Score(batch);
    if (!scores.ok()) return Annotate(scores.status(), absl::StrCat("scorer ", name));
    RSIDIFF_RETURN_IF_ERROR(CheckScores(name, *scores, request));
    result.columns.push_back({name, *std::move(scores)});
  }
  if (!request.features.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(Scorer * scorer, Find(request.features));
    absl::StatusOr<at::Tensor> features = scorer->ImageFeatures(batch);
    if (!features.ok()) return Annotate(features.status(), absl::StrCat("scorer ", request.features));
    RSIDIFF_RETURN_IF_ERROR(CheckFeatures(request.features, *features, request));
    result.features = *std::move(features);
  }
  return result;
}

}  // namespace rsidiff::worker
