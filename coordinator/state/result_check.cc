#include "coordinator/state/result_check.h"

#include <cmath>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kLongestEnvironment = 500;

absl::Status Digest(absl::string_view field, const std::string& digest) {
  if (IsDigest(digest)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("result's ", field, " is not a SHA-256 digest: \"", digest.substr(0, 80), "\""));
}

absl::Status Count(absl::string_view field, int got, int wanted) {
  if (got == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("result has ", got, " ", field, ", not ", wanted));
}

absl::Status Finite(absl::string_view field, double value) {
  if (std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("result's ", field, " is not finite: ", value));
}

absl::Status Check(const v1::GenerateWork& work, const v1::GenerateResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Count("images", result.images_size(), work.items_size()));
  for (const std::string& image : result.images()) RSIDIFF_RETURN_IF_ERROR(Digest("image", image));
  if (result.environment().size() > kLongestEnvironment) {
    return absl::InvalidArgumentError(absl::StrCat("result's environment has more than ", kLongestEnvironment,
                                                   " characters: ", result.environment().size()));
  }
  return Digest("latents", result.latents());
}

absl::Status Check(const v1::ScoreWork& work, const v1::ScoreResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Count("score columns", result.columns_size(), work.scorers_size()));
  for (int i = 0; i < result.columns_size(); ++i) {
    const auto& column = result.columns(i);
    if (column.scorer() != work.scorers(i)) {
      return absl::InvalidArgumentError(absl::StrCat("result's column ", i, " is of scorer \"",
                                                     column.scorer(), "\", not \"", work.scorers(i), "\""));
    }
    RSIDIFF_RETURN_IF_ERROR(
        Count(absl::StrCat("scores of ", column.scorer()), column.scores_size(), work.images_size()));
    for (int row = 0; row < column.scores_size(); ++row) {
      RSIDIFF_RETURN_IF_ERROR(Finite(
          absl::StrCat("score of ", column.scorer(), " for sample ", work.indices(row)), column.scores(row)));
    }
  }
  return work.features().empty() ? absl::OkStatus() : Digest("features", result.features());
}

absl::Status Check(const v1::FitReferenceResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Finite("shrinkage", result.shrinkage()));
  return Digest("reference", result.reference());
}

absl::Status Check(const v1::WeightWork& work, const v1::WeightResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Count("distances", result.distances_size(), work.rows_size()));
  for (int row = 0; row < result.distances_size(); ++row) {
    RSIDIFF_RETURN_IF_ERROR(
        Finite(absl::StrCat("distance of sample ", work.indices(row)), result.distances(row)));
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::RunSpec& spec, const v1::TrainResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Count("training steps", result.steps(), spec.train().steps()));
  RSIDIFF_RETURN_IF_ERROR(Finite("first loss", result.first_loss()));
  RSIDIFF_RETURN_IF_ERROR(Finite("last loss", result.last_loss()));
  return Digest("checkpoint", result.checkpoint());
}

absl::Status Check(const v1::FilterWork& work, const v1::FilterResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Count("nearest prompts", result.nearest_size(), result.rejected_size()));
  RSIDIFF_RETURN_IF_ERROR(Count("distances", result.distances_size(), result.rejected_size()));
  absl::flat_hash_set<uint32_t> rejected;
  for (int i = 0; i < result.rejected_size(); ++i) {
    const uint32_t prompt = result.rejected(i);
    const uint32_t nearest = result.nearest(i);
    if (prompt >= work.prompts() || (i > 0 && prompt <= result.rejected(i - 1))) {
      return absl::InvalidArgumentError(
          absl::StrCat("result's rejected prompts are out of order at ", prompt));
    }
    if (nearest > prompt || rejected.contains(nearest)) {
      return absl::InvalidArgumentError(
          absl::StrCat("result's prompt ", prompt, " is not near to a prompt kept before it: ", nearest));
    }
    RSIDIFF_RETURN_IF_ERROR(Finite(absl::StrCat("distance of prompt ", prompt), result.distances(i)));
    rejected.insert(prompt);
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::MeasureResult& result) {
  RSIDIFF_RETURN_IF_ERROR(Finite("diversity", result.diversity()));
  return Finite("Fréchet distance", result.frechet());
}

}  // namespace

absl::Status CheckResult(const v1::RunSpec& spec, const v1::TaskPayload& work, const v1::TaskResult& result) {
  if (work.has_generate() && result.has_generate()) return Check(work.generate(), result.generate());
  if (work.has_score() && result.has_score()) return Check(work.score(), result.score());
  if (work.has_moments() && result.has_moments()) return Digest("moments", result.moments().moments());
  if (work.has_fit_reference() && result.has_fit_reference()) return Check(result.fit_reference());
  if (work.has_weight() && result.has_weight()) return Check(work.weight(), result.weight());
  if (work.has_train() && result.has_train()) return Check(spec, result.train());
  if (work.has_embed() && result.has_embed()) return Digest("embeddings", result.embed().embeddings());
  if (work.has_filter() && result.has_filter()) return Check(work.filter(), result.filter());
  if (work.has_measure() && result.has_measure()) return Check(result.measure());
  return absl::InvalidArgumentError(
      absl::StrCat("result is of another kind than the task: ", static_cast<int>(result.result_case()),
                   ", not ", static_cast<int>(work.work_case())));
}

}  // namespace rsidiff::coordinator
