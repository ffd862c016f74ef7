#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/check_impl.h"
#include "coordinator/state/judgement_block.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint64_t kMaxPlanned = 20'000'000;

std::string SampleText(const v1::RoundRecord& round, v1::Purpose purpose, uint32_t index) {
  return absl::StrCat(purpose == v1::PURPOSE_EVALUATION ? "evaluation sample " : "sample ", index, " of ",
                      RoundText(round.run_id(), round.round()));
}

bool Done(const v1::TaskRecord* task) {
  return task != nullptr && task->state() == v1::TASK_STATE_DONE;
}

/// True when the round has drawn, or draws, samples of `purpose`, and it is known how far it is: a round
/// that was given up may have got anywhere.
bool Draws(const v1::RoundRecord& round, v1::Purpose purpose) {
  switch (round.phase()) {
    case v1::ROUND_PHASE_EVALUATE:
    case v1::ROUND_PHASE_DONE:
      return purpose == v1::PURPOSE_EVALUATION || round.round() > 0;
    case v1::ROUND_PHASE_SAMPLE:
    case v1::ROUND_PHASE_REFERENCE:
    case v1::ROUND_PHASE_SELECT:
    case v1::ROUND_PHASE_WEIGHT:
    case v1::ROUND_PHASE_TRAIN:
      return purpose == v1::PURPOSE_TRAINING;
    default:
      return false;
  }
}

}  // namespace

std::optional<SamplePlan> DatabaseCheck::Plan(const v1::RunRecord& run, const v1::RoundRecord& round,
                                              v1::Purpose purpose) const {
  bool evaluation = purpose == v1::PURPOSE_EVALUATION;
  uint64_t pool = evaluation ? run.evaluation_prompt_count() : run.train_prompt_count();
  uint64_t per_prompt =
      evaluation ? run.spec().evaluation().samples_per_prompt() : run.spec().sampling().samples_per_prompt();
  if (pool > kMaxPlanned || pool * std::max<uint64_t>(per_prompt, 1) > kMaxPlanned) return std::nullopt;
  if (evaluation) return EvaluationSamples(run.spec(), static_cast<uint32_t>(pool));
  std::vector<uint32_t> kept;
  auto rejected = rejected_.find(run.id());
  for (uint32_t prompt = 0; prompt < pool; ++prompt) {
    if (rejected == rejected_.end() || rejected->second.count(prompt) == 0) kept.push_back(prompt);
  }
  return TrainingSamples(run.spec(), PromptOrder(run.spec().seed(), std::move(kept)), round.round());
}

void DatabaseCheck::CheckSamples(const v1::RunRecord& run, const v1::RoundRecord& round,
                                 v1::Purpose purpose) {
  if (Inherited(run, round)) return;
  SamplesNeeded needed = NeededSamples(run, round.phase(), purpose);
  if (scope_ == CheckScope::kRecovery && needed == SamplesNeeded::kNone) return;
  auto plan = Plan(run, round, purpose);
  if (!plan.has_value()) {
    return Fault(Table::kRuns, RunKey(run.id()),
                 absl::StrCat("run ", run.id(), " plans more samples than a round can have"));
  }
  auto found = samples_.find({run.id(), round.round(), purpose});
  static const SampleSet& none = *new SampleSet;
  const SampleSet& samples = found == samples_.end() ? none : found->second;
  if (!samples.empty() && samples.rbegin()->first >= plan->size()) {
    uint32_t index = samples.rbegin()->first;
    Fault(Table::kSamples, SampleKey(run.id(), round.round(), purpose, index),
          absl::StrCat(SampleText(round, purpose, index), " is beyond the ", plan->size(), " planned"));
  }
  bool draws = Draws(round, purpose);
  for (uint32_t index = 0; index < plan->size(); ++index) {
    const PlannedSample planned = (*plan)[index];
    auto sample = samples.find(planned.index);
    bool there = sample != samples.end();
    if (there) CheckSample(run, round, purpose, planned, sample->second);
    if (draws) CheckPresence(run, round, purpose, planned, there ? &sample->second : nullptr);
  }
}

void DatabaseCheck::CheckSample(const v1::RunRecord& run, const v1::RoundRecord& round, v1::Purpose purpose,
                                const PlannedSample& planned, const v1::SampleRecord& sample) {
  auto fault = [&](auto... what) {
    Fault(Table::kSamples, SampleKey(run.id(), round.round(), purpose, planned.index),
          absl::StrCat(SampleText(round, purpose, planned.index), " ", what...));
  };
  if (sample.prompt_id() != planned.prompt_id || sample.sample_index() != planned.sample_index) {
    fault("is of prompt ", sample.prompt_id(), ", sample ", sample.sample_index(), ", not of prompt ",
          planned.prompt_id, ", sample ", planned.sample_index);
  }
  if (sample.seed() != planned.seed) fault("has seed ", sample.seed(), ", not ", planned.seed);
  uint32_t chunk = std::max<uint32_t>(run.spec().sampling().chunk(), 1);
  if (sample.row() != planned.index % chunk) {
    fault("is row ", sample.row(), " of its chunk, not ", planned.index % chunk);
  }
  if (!IsDigest(sample.image())) fault("has no picture");
  if (!IsDigest(sample.latents())) fault("has no latents");
  if (!sample.scores().empty()) {
    for (const std::string& scorer : ScorersFor(run.spec(), purpose)) {
      auto score = sample.scores().find(scorer);
      if (score == sample.scores().end() || !std::isfinite(score->second)) fault("has no score of ", scorer);
    }
  }
  if (scope_ == CheckScope::kWhole) {
    CheckArtifactsOf(SampleKey(run.id(), round.round(), purpose, planned.index),
                     SampleText(round, purpose, planned.index), sample);
  }
}

void DatabaseCheck::CheckArtifactsOf(const std::string& key, const std::string& text,
                                     const v1::SampleRecord& sample) {
  ArtifactUse use{ArtifactUse::Kind::kFile, Table::kSamples, key, absl::StrCat("picture of ", text)};
  Use(sample.image(), use);
  use.owner = absl::StrCat("latents of ", text);
  Use(sample.latents(), use);
  use.owner = absl::StrCat("features of ", text);
  Use(sample.features(), use);
}

void DatabaseCheck::CheckPresence(const v1::RunRecord& run, const v1::RoundRecord& round, v1::Purpose purpose,
                                  const PlannedSample& planned, const v1::SampleRecord* sample) {
  uint32_t chunk = planned.index / std::max<uint32_t>(run.spec().sampling().chunk(), 1);
  const v1::TaskRecord* generate =
      FindTask({run.id(), round.round(), v1::TASK_KIND_GENERATE, purpose, chunk});
  const v1::TaskRecord* score = FindTask({run.id(), round.round(), v1::TASK_KIND_SCORE, purpose, chunk});
  // The tasks of rounds that are long done are gone; then everything has to be there.
  bool forgotten = round.phase() == v1::ROUND_PHASE_DONE && generate == nullptr && score == nullptr;
  bool drawn = forgotten || Done(generate);
  bool scored = forgotten || Done(score);
  auto fault = [&](absl::string_view what) {
    Fault(Table::kSamples, SampleKey(run.id(), round.round(), purpose, planned.index),
          absl::StrCat(SampleText(round, purpose, planned.index), " ", what));
  };
  bool judged = !ScorersFor(run.spec(), purpose).empty();
  if (drawn && sample == nullptr) return fault("is missing, and its task is done");
  if (!drawn && sample != nullptr) return fault("is there, and its task is not done");
  if (sample == nullptr || !judged) return;
  if (scored && sample->scores().empty()) fault("has no scores, and its task is done");
  if (!scored && !sample->scores().empty()) fault("has scores, and its task is not done");
}

void DatabaseCheck::CheckJudgements(const v1::RunRecord& run, const v1::RoundRecord& round) {
  if (scope_ == CheckScope::kRecovery &&
      NeededSamples(run, round.phase(), v1::PURPOSE_TRAINING) == SamplesNeeded::kNone) {
    return;
  }
  auto found = judgements_.find({run.id(), round.round()});
  const size_t judged = found == judgements_.end() ? 0 : found->second.size();
  uint32_t selected = 0;
  for (uint32_t index = 0; index < judged; ++index) {
    const Judgement& judgement = found->second[index];
    selected += judgement.selected;
    if (judgement.weight == 0 || judgement.selected) continue;
    Fault(Table::kJudgements, JudgementKey(run.id(), round.round(), index / kJudgementBlock),
          absl::StrCat(SampleText(round, v1::PURPOSE_TRAINING, index), " has a weight and is not selected"));
  }
  if (round.round() == 0 || Inherited(run, round)) return;
  if (PhaseOrder(round.phase()) < PhaseOrder(v1::ROUND_PHASE_WEIGHT) ||
      PhaseOrder(round.phase()) > PhaseOrder(v1::ROUND_PHASE_DONE)) {
    return;
  }
  auto fault = [&](auto... what) {
    Fault(Table::kRounds, RoundKey(run.id(), round.round()),
          absl::StrCat(RoundText(run.id(), round.round()), " ", what...));
  };
  if (judged != round.selection().samples()) {
    fault("has selected from ", round.selection().samples(), " samples, and ", judged, " are judged");
  }
  if (selected != round.selection().selected()) {
    fault("has selected ", round.selection().selected(), " samples, and ", selected, " are marked so");
  }
}

}  // namespace rsidiff::coordinator
