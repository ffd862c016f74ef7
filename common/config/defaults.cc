#include "common/config/defaults.h"

#include <string>

#include "common/scorer/scorer_family.h"

namespace rsidiff {
namespace {

// `set(x)` for an optional field that is absent.
#define RSIDIFF_DEFAULT(message, field, value) \
  if (!(message).has_##field()) (message).set_##field(value)
// The same for an enum, whose zero means absent.
#define RSIDIFF_DEFAULT_ENUM(message, field, value) \
  if ((message).field() == 0) (message).set_##field(value)

void FillPrompts(v1::PromptSpec& prompts) {
  RSIDIFF_DEFAULT(prompts, per_round, 0);
  RSIDIFF_DEFAULT(prompts, evaluation_limit, 0);
  if (!prompts.has_filter()) return;
  v1::PromptFilterSpec& filter = *prompts.mutable_filter();
  RSIDIFF_DEFAULT(filter, enabled, true);
  RSIDIFF_DEFAULT(filter, clarity, 0.7);
  RSIDIFF_DEFAULT(filter, specificity, 1);
  RSIDIFF_DEFAULT(filter, diversity, 0.1);
  RSIDIFF_DEFAULT(filter, embedding_distance, 0);
  RSIDIFF_DEFAULT(filter, embedding_specificity, 0);
  if (!filter.has_judge()) return;
  v1::PromptJudgeSpec& judge = *filter.mutable_judge();
  RSIDIFF_DEFAULT(judge, clarity, 0.5);
  RSIDIFF_DEFAULT(judge, specificity, 0.5);
  RSIDIFF_DEFAULT(judge, timeout, 30);
  RSIDIFF_DEFAULT(judge, retries, 3);
  RSIDIFF_DEFAULT(judge, parallel, 4);
  if (judge.api_key_variable().empty()) judge.set_api_key_variable("OPENAI_API_KEY");
}

void FillSampling(v1::SamplingSpec& sampling) {
  RSIDIFF_DEFAULT(sampling, samples_per_prompt, 4);
  RSIDIFF_DEFAULT(sampling, steps, 50);
  RSIDIFF_DEFAULT(sampling, guidance_scale, 7.5);
  RSIDIFF_DEFAULT(sampling, width, 0);
  RSIDIFF_DEFAULT(sampling, height, 0);
  RSIDIFF_DEFAULT(sampling, chunk, 16);
  RSIDIFF_DEFAULT_ENUM(sampling, precision, v1::PRECISION_FP32);
}

void FillScorer(v1::ScorerSpec& scorer) {
  RSIDIFF_DEFAULT_ENUM(scorer, role, v1::SCORER_ROLE_SELECTION);
  RSIDIFF_DEFAULT(scorer, weight, 1);
  const ScorerFamily family = FamilyOf(scorer.type());
  const bool reads_prompts = family == ScorerFamily::kClip || family == ScorerFamily::kBlipReward;
  if (scorer.tokenizer().empty() && reads_prompts) scorer.set_tokenizer(scorer.path());
}

void FillSelection(v1::SelectionSpec& selection) {
  RSIDIFF_DEFAULT_ENUM(selection, method, v1::SELECTION_METHOD_SUM);
  RSIDIFF_DEFAULT(selection, keep, 1);
}

std::string FirstClipType(const v1::RunSpec& spec, v1::ScorerRole role) {
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    if (scorer.role() == role && FamilyOf(scorer.type()) == ScorerFamily::kClip) return scorer.name();
  }
  return "";
}

void FillWeights(const v1::RunSpec& spec, v1::WeightSpec& weights) {
  RSIDIFF_DEFAULT_ENUM(weights, method, v1::WEIGHT_METHOD_GAUSSIAN);
  if (weights.features().empty()) weights.set_features(FirstClipType(spec, v1::SCORER_ROLE_SELECTION));
  RSIDIFF_DEFAULT(weights, temperature, 1);
  RSIDIFF_DEFAULT(weights, penalty, 1);
  RSIDIFF_DEFAULT(weights, margin, 1);
  RSIDIFF_DEFAULT(weights, min, 0.1);
  RSIDIFF_DEFAULT(weights, max, 5);
  RSIDIFF_DEFAULT(weights, ess_floor, 0.3);
  RSIDIFF_DEFAULT(weights, neighbours, 5);
}

void FillLora(v1::LoraSpec& lora) {
  RSIDIFF_DEFAULT(lora, rank, 4);
  RSIDIFF_DEFAULT(lora, alpha, lora.rank());
  if (lora.targets().empty()) {
    for (const char* target : {"to_q", "to_k", "to_v", "to_out.0"}) lora.add_targets(target);
  }
}

void FillTrain(v1::TrainSpec& train) {
  RSIDIFF_DEFAULT_ENUM(train, method, v1::TRAIN_METHOD_FULL);
  RSIDIFF_DEFAULT(train, steps, 100);
  RSIDIFF_DEFAULT(train, global_batch, 64);
  RSIDIFF_DEFAULT(train, micro_batch, 8);
  RSIDIFF_DEFAULT(train, learning_rate, 1e-5);
  RSIDIFF_DEFAULT_ENUM(train, schedule, v1::LEARNING_RATE_SCHEDULE_CONSTANT);
  RSIDIFF_DEFAULT(train, warmup_steps, 0);
  RSIDIFF_DEFAULT(train, beta1, 0.9);
  RSIDIFF_DEFAULT(train, beta2, 0.999);
  RSIDIFF_DEFAULT(train, epsilon, 1e-8);
  RSIDIFF_DEFAULT(train, weight_decay, 0.01);
  RSIDIFF_DEFAULT(train, max_grad_norm, 1);
  RSIDIFF_DEFAULT(train, ema_decay, 0);
  RSIDIFF_DEFAULT(train, caption_dropout, 0.1);
  if (train.method() == v1::TRAIN_METHOD_LORA) FillLora(*train.mutable_lora());
  RSIDIFF_DEFAULT_ENUM(train, latents, v1::LATENT_SOURCE_GENERATED);
  RSIDIFF_DEFAULT(train, replay, 0);
  RSIDIFF_DEFAULT_ENUM(train, precision, v1::PRECISION_FP32);
  RSIDIFF_DEFAULT(train, checkpoint_every, 50);
  RSIDIFF_DEFAULT(train, operation_timeout, 30);
}

void FillEvaluation(const v1::RunSpec& spec, v1::EvaluationSpec& evaluation) {
  RSIDIFF_DEFAULT(evaluation, samples_per_prompt, 1);
  RSIDIFF_DEFAULT(evaluation, seed, spec.seed());
  RSIDIFF_DEFAULT(evaluation, steps, spec.sampling().steps());
  RSIDIFF_DEFAULT(evaluation, guidance_scale, spec.sampling().guidance_scale());
  if (evaluation.features().empty()) {
    const std::string held_out = FirstClipType(spec, v1::SCORER_ROLE_HELD_OUT);
    evaluation.set_features(held_out.empty() ? spec.weights().features() : held_out);
  }
}

void FillWorkers(v1::WorkerSpec& workers) {
  RSIDIFF_DEFAULT(workers, threads, 1);
  RSIDIFF_DEFAULT(workers, train_min, 1);
  RSIDIFF_DEFAULT(workers, train_max, 0);
}

#undef RSIDIFF_DEFAULT
#undef RSIDIFF_DEFAULT_ENUM

}  // namespace

void FillDefaults(v1::RunSpec& spec) {
  if (!spec.has_seed()) spec.set_seed(0);
  spec.mutable_model();
  FillPrompts(*spec.mutable_prompts());
  FillSampling(*spec.mutable_sampling());
  for (v1::ScorerSpec& scorer : *spec.mutable_scorers()) FillScorer(scorer);
  FillSelection(*spec.mutable_selection());
  FillWeights(spec, *spec.mutable_weights());
  FillTrain(*spec.mutable_train());
  FillEvaluation(spec, *spec.mutable_evaluation());
  if (!spec.stop().has_patience()) spec.mutable_stop()->set_patience(0);
  if (!spec.stop().has_roll_back_after()) spec.mutable_stop()->set_roll_back_after(0);
  FillWorkers(*spec.mutable_workers());
}

}  // namespace rsidiff
