#include "coordinator/schedule/task_graph.h"

#include <algorithm>
#include <iterator>

#include "common/run/distance.h"
#include "common/scorer/scorer_family.h"
#include "coordinator/schedule/round_plan.h"

namespace rsidiff::coordinator {
namespace {

bool HeldOut(const v1::ScorerSpec& scorer) {
  return scorer.role() == v1::SCORER_ROLE_HELD_OUT;
}

const char* KindName(v1::TaskKind kind) {
  switch (kind) {
    case v1::TASK_KIND_GENERATE:
      return "generate";
    case v1::TASK_KIND_SCORE:
      return "score";
    case v1::TASK_KIND_FIT_REFERENCE:
      return "fit reference";
    case v1::TASK_KIND_WEIGHT:
      return "weight";
    case v1::TASK_KIND_TRAIN:
      return "train";
    case v1::TASK_KIND_MEASURE:
      return "measure";
    case v1::TASK_KIND_EMBED:
      return "embed";
    case v1::TASK_KIND_FILTER:
      return "filter";
    case v1::TASK_KIND_MOMENTS:
      return "moments";
    default:
      return "unknown";
  }
}

}  // namespace

bool NeedsEmbeddings(const v1::RunSpec& spec) {
  const v1::PromptFilterSpec& filter = spec.prompts().filter();
  return filter.enabled() && (filter.embedding_distance() > 0 || filter.embedding_specificity() > 0);
}

bool NeedsReference(const v1::RunSpec& spec) {
  return MeasuresDistances(spec.weights());
}

bool NeedsMoments(const v1::RunSpec& spec) {
  return NeedsReference(spec) && spec.weights().method() != v1::WEIGHT_METHOD_KNN;
}

uint32_t ChunksOf(const v1::RunSpec& spec, uint32_t samples) {
  return std::max<uint32_t>(samples / std::max<uint32_t>(spec.sampling().chunk(), 1), 1);
}

uint32_t MomentsTasks(const v1::RunSpec& spec, uint32_t samples) {
  return ChunkCount(ChunkCount(samples, spec.sampling().chunk()), ChunksOf(spec, kMomentsBlock));
}

v1::RoundPhase FirstPhase(const v1::RunSpec& spec, uint32_t round) {
  if (round == 0) return v1::ROUND_PHASE_EVALUATE;
  return round == 1 && NeedsEmbeddings(spec) ? v1::ROUND_PHASE_FILTER : v1::ROUND_PHASE_SAMPLE;
}

v1::RoundPhase NextPhase(const v1::RunSpec& spec, uint32_t round, v1::RoundPhase phase) {
  switch (phase) {
    case v1::ROUND_PHASE_FILTER:
      return v1::ROUND_PHASE_SAMPLE;
    case v1::ROUND_PHASE_SAMPLE:
      return NeedsReference(spec) && round == 1 ? v1::ROUND_PHASE_REFERENCE : v1::ROUND_PHASE_SELECT;
    case v1::ROUND_PHASE_REFERENCE:
      return v1::ROUND_PHASE_SELECT;
    case v1::ROUND_PHASE_SELECT:
      return v1::ROUND_PHASE_WEIGHT;
    case v1::ROUND_PHASE_WEIGHT:
      return v1::ROUND_PHASE_TRAIN;
    case v1::ROUND_PHASE_TRAIN:
      return v1::ROUND_PHASE_EVALUATE;
    case v1::ROUND_PHASE_EVALUATE:
      return v1::ROUND_PHASE_DONE;
    default:
      return phase;
  }
}

int PhaseOrder(v1::RoundPhase phase) {
  static constexpr v1::RoundPhase kOrder[] = {
      v1::ROUND_PHASE_UNSPECIFIED, v1::ROUND_PHASE_FILTER,   v1::ROUND_PHASE_SAMPLE,
      v1::ROUND_PHASE_REFERENCE,   v1::ROUND_PHASE_SELECT,   v1::ROUND_PHASE_WEIGHT,
      v1::ROUND_PHASE_TRAIN,       v1::ROUND_PHASE_EVALUATE, v1::ROUND_PHASE_DONE,
      v1::ROUND_PHASE_FAILED,      v1::ROUND_PHASE_ABANDONED};
  return static_cast<int>(std::find(std::begin(kOrder), std::end(kOrder), phase) - std::begin(kOrder));
}

std::vector<std::string> ScorersFor(const v1::RunSpec& spec, v1::Purpose purpose) {
  std::vector<std::string> names;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    if (purpose == v1::PURPOSE_EVALUATION || !HeldOut(scorer)) names.push_back(scorer.name());
  }
  return names;
}

std::string FeatureScorer(const v1::RunSpec& spec, v1::Purpose purpose) {
  auto first = [&spec](bool held_out) -> std::string {
    for (const v1::ScorerSpec& scorer : spec.scorers()) {
      if (FamilyOf(scorer.type()) == ScorerFamily::kClip && HeldOut(scorer) == held_out) return scorer.name();
    }
    return "";
  };
  std::string weights = spec.weights().features().empty() ? first(false) : spec.weights().features();
  if (purpose != v1::PURPOSE_EVALUATION) return weights;
  if (!spec.evaluation().features().empty()) return spec.evaluation().features();
  std::string held_out = first(true);
  return held_out.empty() ? weights : held_out;
}

std::string TaskName(v1::TaskKind kind, v1::Purpose purpose) {
  bool both = kind == v1::TASK_KIND_GENERATE || kind == v1::TASK_KIND_SCORE;
  return std::string(both && purpose == v1::PURPOSE_EVALUATION ? "evaluation " : "") + KindName(kind);
}

}  // namespace rsidiff::coordinator
