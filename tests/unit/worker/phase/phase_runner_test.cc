#include "worker/phase/phase_runner.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/base/file.h"
#include "common/image/png.h"
#include "tests/unit/worker/phase/phase_runner_fixture.h"
#include "tests/unit/worker/scorer/tiny_reward.h"
#include "worker/phase/feature_file.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(PhaseRunnerTest, GenerateStoresPicturesWithTheirParametersAndLatents) {
  v1::GenerateResult result = Generated(GenerateGrant({{"a red circle", 77}, {"a blue square", 78}}));
  ASSERT_EQ(result.images_size(), 2);
  auto text = ReadPngText(store_->Get(result.images(0)).value());
  ASSERT_TRUE(text.ok());
  std::map<std::string, std::string> values(text->begin(), text->end());
  EXPECT_EQ(values, (std::map<std::string, std::string>{{"prompt", "a red circle"},
                                                        {"seed", "77"},
                                                        {"steps", "3"},
                                                        {"guidance_scale", "3"},
                                                        {"scheduler", "ddim"},
                                                        {"model", inputs_->model()},
                                                        {"run", "test"},
                                                        {"round", "2"}}));
  auto latents = ReadTensor(*store_, result.latents(), "latents", 4);
  ASSERT_TRUE(latents.ok()) << latents.status();
  EXPECT_EQ(latents->size(0), 2);
  EXPECT_EQ(latents->scalar_type(), at::kFloat);
}

TEST_F(PhaseRunnerTest, ASampleDoesNotDependOnWhatElseIsInTheChunk) {
  v1::GenerateResult full = Generated(GenerateGrant({{"a red circle", 77}, {"a blue square", 78}}));
  v1::GenerateResult padded = Generated(GenerateGrant({{"a red circle", 77}}));
  v1::GenerateResult swapped = Generated(GenerateGrant({{"a blue square", 78}, {"a red circle", 77}}));
  ASSERT_EQ(padded.images_size(), 1);
  EXPECT_EQ(padded.images(0), full.images(0));
  EXPECT_EQ(swapped.images(1), full.images(0));
  EXPECT_EQ(swapped.images(0), full.images(1));
}

TEST_F(PhaseRunnerTest, ScoresAreFiniteAndFeaturesHaveLengthOne) {
  v1::GenerateResult samples = Generated(GenerateGrant({{"a red circle", 77}, {"a blue square", 78}}));
  v1::Grant grant = GrantOf(v1::TASK_KIND_SCORE);
  v1::ScoreWork& work = *grant.mutable_payload()->mutable_score();
  for (int i = 0; i < 2; ++i) {
    work.add_indices(i);
    work.add_images(samples.images(i));
    work.add_prompts(i == 0 ? "a red circle" : "a blue square");
  }
  work.add_scorers("clip");
  work.set_features("clip");
  LoneControl control;
  auto result = runner_->Run(grant, control);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->score().columns_size(), 1);
  EXPECT_EQ(result->score().columns(0).scorer(), "clip");
  for (double score : result->score().columns(0).scores()) EXPECT_TRUE(score > -1.0 && score < 1.0) << score;
  auto features = ReadFeatures(*store_, result->score().features());
  ASSERT_TRUE(features.ok()) << features.status();
  EXPECT_TRUE(at::allclose(features->norm(2, {1}), at::ones({2}), 1e-5, 1e-5));

  // Another worker, which has not got the pictures in memory, says the same.
  PhaseRunnerOptions options;
  options.folder = *folder_ / "work";
  auto other = PhaseRunner::Create(options, *store_).value();
  LoneControl control_of_other;
  auto again = other->Run(grant, control_of_other);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->SerializeAsString(), result->SerializeAsString());
}

TEST_F(PhaseRunnerTest, ARewardOfPictureAndPromptScoresAndHasNoFeatures) {
  ASSERT_TRUE(WriteTinyReward(*folder_ / "reward").ok());
  const v1::GenerateResult samples = Generated(GenerateGrant({{"a red circle", 77}, {"a blue square", 78}}));
  v1::Grant grant = GrantOf(v1::TASK_KIND_SCORE);
  v1::ScorerSpec& scorer = *grant.mutable_payload()->mutable_spec()->add_scorers();
  scorer.set_name("reward");
  scorer.set_type(v1::SCORER_TYPE_BLIP_REWARD);
  scorer.set_role(v1::SCORER_ROLE_SELECTION);
  v1::ScorerInputs& inputs = (*grant.mutable_payload()->mutable_inputs()->mutable_scorers())["reward"];
  inputs.set_model(ImportFolder(*store_, *folder_ / "reward").value());
  inputs.set_tokenizer(inputs.model());
  v1::ScoreWork& work = *grant.mutable_payload()->mutable_score();
  for (const auto& [picture, prompt] :
       {std::pair(0, "a b c"), std::pair(0, "x y z"), std::pair(1, "x y z")}) {
    work.add_indices(static_cast<uint32_t>(work.indices_size()));
    work.add_images(samples.images(picture));
    work.add_prompts(prompt);
  }
  work.add_scorers("reward");
  LoneControl control;
  auto result = runner_->Run(grant, control);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->score().columns_size(), 1);
  EXPECT_EQ(result->score().columns(0).scorer(), "reward");
  const auto& scores = result->score().columns(0).scores();
  ASSERT_EQ(scores.size(), 3);
  // Both have a say.
  EXPECT_NE(scores[0], scores[1]);
  EXPECT_NE(scores[1], scores[2]);

  work.set_features("reward");
  LoneControl control_of_features;
  const absl::Status refused = runner_->Run(grant, control_of_features).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("scorer reward: has no embedding of the picture alone"));
}

TEST_F(PhaseRunnerTest, TrainingIsRepeatableAndItsCheckpointChangesTheSamples) {
  v1::Grant grant = TrainGrant();
  LoneControl control;
  auto trained = runner_->Run(grant, control);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->train().steps(), 4u);
  EXPECT_EQ(control.losses_.size(), 4u);
  EXPECT_EQ(trained->train().first_loss(), control.losses_.front());
  EXPECT_EQ(trained->train().last_loss(), control.losses_.back());
  ASSERT_EQ(control.commits_.size(), 1u);  // after step 2; the last step needs none

  // A change of membership between steps changes nothing.
  LoneControl regrouped;
  regrouped.regroup_after_ = 1;
  auto again = runner_->Run(grant, regrouped);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(regrouped.generation_, 2u);
  EXPECT_EQ(regrouped.regroups_, 1);
  EXPECT_EQ(again->train().checkpoint(), trained->train().checkpoint());

  // Base, checkpoint, base again: the first and the last picture are the same bytes.
  v1::Grant generate = GenerateGrant({{"a red circle", 77}});
  v1::GenerateResult base = Generated(generate);
  generate.mutable_payload()->set_checkpoint(trained->train().checkpoint());
  v1::GenerateResult tuned = Generated(generate);
  generate.mutable_payload()->clear_checkpoint();
  EXPECT_NE(tuned.latents(), base.latents());
  EXPECT_EQ(Generated(generate).latents(), base.latents());
}

TEST_F(PhaseRunnerTest, ALostTrainingGoesOnFromTheCommittedCheckpoint) {
  v1::Grant grant = TrainGrant();
  LoneControl whole;
  auto expected = runner_->Run(grant, whole);
  ASSERT_TRUE(expected.ok()) << expected.status();

  LoneControl resumed;
  resumed.checkpoint_ = whole.commits_.at(2);
  resumed.checkpoint_step_ = 2;
  auto result = runner_->Run(grant, resumed);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(resumed.losses_.size(), 2u);
  EXPECT_EQ(result->train().checkpoint(), expected->train().checkpoint());
}

TEST_F(PhaseRunnerTest, ADamagedCheckpointIsRefusedAndTheOneBeforeItUsed) {
  v1::Grant grant = TrainGrant();
  v1::TrainSpec& train = *grant.mutable_payload()->mutable_spec()->mutable_train();
  // One checkpoint a run: a second one may find the first still being written.
  std::map<uint64_t, std::string> commits;
  absl::StatusOr<v1::TaskResult> expected;
  for (uint32_t every : {2, 3}) {
    train.set_checkpoint_every(every);
    LoneControl whole;
    expected = runner_->Run(grant, whole);
    ASSERT_TRUE(expected.ok()) << expected.status();
    commits.merge(whole.commits_);
  }
  ASSERT_EQ(commits.size(), 2u);
  const auto [earlier, last] = std::make_pair(commits.begin(), std::prev(commits.end()));
  const fs::path path = store_->LocalPath(last->second).value();
  const std::string bytes = ReadFile(path).value();
  std::string tampered = bytes;
  tampered[bytes.size() / 2] ^= 1;

  for (const std::string& damaged : {bytes.substr(0, bytes.size() / 2), tampered, std::string()}) {
    ASSERT_TRUE(WriteFileAtomically(path, damaged).ok());
    LoneControl resumed;
    resumed.checkpoint_ = last->second;
    resumed.checkpoint_step_ = last->first;
    resumed.earlier_checkpoint_ = earlier->second;
    resumed.earlier_checkpoint_step_ = earlier->first;
    auto result = runner_->Run(grant, resumed);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(resumed.losses_.size(), 4u - earlier->first);
    EXPECT_EQ(result->train().checkpoint(), expected->train().checkpoint());
    ASSERT_FALSE(resumed.warnings_.empty());
    EXPECT_THAT(resumed.warnings_[0],
                AllOf(HasSubstr(absl::StrCat("step ", last->first, " is refused")), HasSubstr("has digest")));
  }
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());  // other tests may have the same artifact
}

TEST_F(PhaseRunnerTest, TrainingOutlivesACommitThatFails) {
  LoneControl control;
  control.commit_status_ = absl::UnavailableError("the coordinator is away");
  auto trained = runner_->Run(TrainGrant(), control);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->train().steps(), 4u);
  ASSERT_EQ(control.warnings_.size(), 1u);
  EXPECT_THAT(control.warnings_[0], HasSubstr("checkpoint of step 2 was not committed"));
}

TEST_F(PhaseRunnerTest, LoraRoundsBuildOnEachOther) {
  v1::Grant grant = TrainGrant();
  grant.mutable_payload()->mutable_spec()->mutable_train()->set_method(v1::TRAIN_METHOD_LORA);
  LoneControl control;
  auto first = runner_->Run(grant, control);
  ASSERT_TRUE(first.ok()) << first.status();
  grant.mutable_payload()->set_checkpoint(first->train().checkpoint());
  LoneControl second_control;
  auto second = runner_->Run(grant, second_control);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(second->train().checkpoint(), first->train().checkpoint());

  std::vector<std::string> latents;
  for (const std::string& checkpoint :
       {std::string(), first->train().checkpoint(), second->train().checkpoint(), std::string()}) {
    v1::Grant generate = GenerateGrant({{"a red circle", 77}});
    generate.mutable_payload()->mutable_spec()->mutable_train()->set_method(v1::TRAIN_METHOD_LORA);
    generate.mutable_payload()->set_checkpoint(checkpoint);
    latents.push_back(Generated(generate).latents());
  }
  EXPECT_NE(latents[0], latents[1]);
  EXPECT_NE(latents[1], latents[2]);
  EXPECT_EQ(latents[0], latents[3]);
}

TEST_F(PhaseRunnerTest, EncodedPicturesAndHalfPrecisionTrainToo) {
  v1::Grant grant = TrainGrant();
  grant.mutable_payload()->mutable_spec()->mutable_train()->set_latents(v1::LATENT_SOURCE_ENCODED);
  grant.mutable_payload()->mutable_spec()->mutable_train()->set_precision(v1::PRECISION_BF16);
  grant.mutable_payload()->mutable_spec()->mutable_train()->set_steps(1);
  LoneControl control;
  auto trained = runner_->Run(grant, control);
  ASSERT_TRUE(trained.ok()) << trained.status();
}

TEST_F(PhaseRunnerTest, GivesUpWhenCancelled) {
  LoneControl control;
  control.cancel_at_ = 0.3;
  auto result = runner_->Run(GenerateGrant({{"a red circle", 77}}), control);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  LoneControl training;
  v1::Grant grant = TrainGrant();
  training.cancel_at_ = 0.5;
  EXPECT_EQ(runner_->Run(grant, training).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(PhaseRunnerTest, EmbeddingsOfPromptsHaveLengthOneAndDoNotDependOnTheWorker) {
  v1::Grant grant = GrantOf(v1::TASK_KIND_EMBED);
  v1::EmbedWork& work = *grant.mutable_payload()->mutable_embed();
  for (int i = 0; i < 17; ++i) work.add_prompts(absl::StrCat("a red circle and ", i, " squares"));
  work.set_prompts(3, "");
  LoneControl control;
  auto result = runner_->Run(grant, control);
  ASSERT_TRUE(result.ok()) << result.status();
  auto rows = ReadTensor(*store_, result->embed().embeddings(), "embeddings", 2);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->size(0), 17);
  EXPECT_TRUE(at::allclose(rows->norm(2, {1}), at::ones({17}), 1e-5, 1e-5));
  auto empty = ReadTensor(*store_, result->embed().embeddings(), "empty", 1);
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_TRUE(at::allclose((*rows)[3], *empty, 1e-4, 1e-5));

  PhaseRunnerOptions options;
  options.folder = *folder_ / "another";
  LoneControl other_control;
  auto again = PhaseRunner::Create(options, *store_).value()->Run(grant, other_control);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->embed().embeddings(), result->embed().embeddings());
}

TEST_F(PhaseRunnerTest, ErrorsNameTheTaskAndTheThing) {
  LoneControl control;
  v1::Grant grant = GenerateGrant({{"a red circle", 77}});
  const std::string missing(64, 'a');
  grant.mutable_payload()->mutable_inputs()->set_model(missing);
  auto result = runner_->Run(grant, control);
  EXPECT_THAT(std::string(result.status().message()),
              AllOf(HasSubstr("generate task 5 of run 1, round 2: "), HasSubstr(missing)));

  grant = GenerateGrant({{"a red circle", 77}});
  grant.mutable_payload()->set_checkpoint(store_->Put("torn").value());
  result = runner_->Run(grant, control);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("checkpoint "));

  v1::Grant train = TrainGrant();
  train.mutable_payload()->mutable_train()->add_manifest_parts(store_->Put("{}\n").value());
  EXPECT_THAT(std::string(runner_->Run(train, control).status().message()),
              HasSubstr("line 1: no \"prompt\""));

  v1::Grant unknown = GrantOf(v1::TASK_KIND_UNSPECIFIED);
  EXPECT_THAT(std::string(runner_->Run(unknown, control).status().message()), HasSubstr("does not know"));
}

}  // namespace
}  // namespace rsidiff::worker
