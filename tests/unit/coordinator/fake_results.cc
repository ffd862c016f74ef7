#include "tests/unit/coordinator/fake_results.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/digest.h"
#include "common/base/seed.h"

namespace rsidiff::coordinator {
namespace {

/// In [0, 1), a function of the text.
double Fraction(const std::string& text) {
  uint64_t number = 0;
  for (char c : Sha256Hex(text).substr(0, 12)) number = number * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
  return static_cast<double>(number) / static_cast<double>(uint64_t{1} << 48);
}

v1::GenerateResult Generate(const v1::TaskPayload& payload) {
  v1::GenerateResult result;
  std::string all = payload.checkpoint();
  for (const auto& item : payload.generate().items()) {
    std::string image =
        absl::StrCat(payload.checkpoint(), item.prompt(), item.seed(), payload.generate().steps());
    result.add_images(Sha256Hex(image));
    all += image;
  }
  result.set_latents(Sha256Hex(absl::StrCat("latents", all)));
  return result;
}

v1::ScoreResult Score(const v1::ScoreWork& work) {
  v1::ScoreResult result;
  for (const std::string& scorer : work.scorers()) {
    auto* column = result.add_columns();
    column->set_scorer(scorer);
    for (const std::string& image : work.images()) column->add_scores(Fraction(scorer + image));
  }
  result.set_features(Sha256Hex(absl::StrCat("features", work.features(), work.ShortDebugString())));
  return result;
}

}  // namespace

v1::TaskResult FakeResult(const v1::TaskPayload& payload) {
  v1::TaskResult result;
  switch (payload.work_case()) {
    case v1::TaskPayload::kGenerate:
      *result.mutable_generate() = Generate(payload);
      break;
    case v1::TaskPayload::kScore:
      *result.mutable_score() = Score(payload.score());
      break;
    case v1::TaskPayload::kMoments:
      result.mutable_moments()->set_moments(Sha256Hex(payload.moments().ShortDebugString()));
      break;
    case v1::TaskPayload::kFitReference:
      result.mutable_fit_reference()->set_reference(Sha256Hex(payload.fit_reference().ShortDebugString()));
      result.mutable_fit_reference()->set_shrinkage(0.1);
      break;
    case v1::TaskPayload::kWeight:
      for (const auto& row : payload.weight().rows()) {
        result.mutable_weight()->add_distances(3 * Fraction(row.ShortDebugString()));
      }
      break;
    case v1::TaskPayload::kTrain:
      result.mutable_train()->set_checkpoint(
          Sha256Hex("unet" + absl::StrJoin(payload.train().manifest_parts(), "")));
      result.mutable_train()->set_steps(payload.spec().train().steps());
      result.mutable_train()->set_first_loss(0.2);
      result.mutable_train()->set_last_loss(0.1);
      break;
    case v1::TaskPayload::kEmbed:
      result.mutable_embed()->set_embeddings(Sha256Hex(payload.embed().ShortDebugString()));
      break;
    case v1::TaskPayload::kFilter:
      // Every third prompt says what the first one does.
      result.mutable_filter();
      for (uint32_t prompt = 2; prompt < payload.filter().prompts(); prompt += 3) {
        result.mutable_filter()->add_rejected(prompt);
        result.mutable_filter()->add_nearest(0);
        result.mutable_filter()->add_distances(0.01);
      }
      break;
    case v1::TaskPayload::kMeasure:
      result.mutable_measure()->set_diversity(0.5);
      result.mutable_measure()->set_frechet(Fraction(payload.measure().ShortDebugString()));
      break;
    default:
      break;
  }
  return result;
}

v1::SubmitRunRequest SmallRun(const std::string& request_id, uint32_t rounds) {
  v1::SubmitRunRequest request;
  request.set_request_id(request_id);
  v1::RunSpec& spec = *request.mutable_spec();
  spec.set_name("small");
  spec.set_seed(7);
  spec.set_rounds(rounds);
  spec.mutable_prompts()->set_per_round(2);
  spec.mutable_sampling()->set_samples_per_prompt(3);
  spec.mutable_sampling()->set_chunk(2);
  spec.mutable_sampling()->set_steps(5);
  spec.mutable_sampling()->set_guidance_scale(3);
  for (const char* name : {"a", "b", "h"}) {
    v1::ScorerSpec* scorer = spec.add_scorers();
    scorer->set_name(name);
    scorer->set_type(v1::SCORER_TYPE_CLIPSCORE);
    scorer->set_role(*name == 'h' ? v1::SCORER_ROLE_HELD_OUT : v1::SCORER_ROLE_SELECTION);
    scorer->set_weight(1);
  }
  spec.mutable_selection()->set_method(v1::SELECTION_METHOD_SUM);
  spec.mutable_selection()->set_keep(1);
  spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_GAUSSIAN);
  spec.mutable_train()->set_steps(10);
  spec.mutable_train()->set_replay(0.25);
  spec.mutable_evaluation()->set_samples_per_prompt(1);
  spec.mutable_workers()->set_train_min(1);
  request.mutable_inputs()->set_model(Sha256Hex("model"));
  for (const char* prompt : {"a red cube", "a blue ball", "two cones", "a ring"}) {
    request.mutable_inputs()->add_train_prompts(prompt);
  }
  for (const char* prompt : {"a green cone", "a torus"})
    request.mutable_inputs()->add_evaluation_prompts(prompt);
  return request;
}

}  // namespace rsidiff::coordinator
