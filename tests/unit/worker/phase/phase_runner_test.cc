#include "worker/phase/phase_runner.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "absl/synchronization/mutex.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/file.h"
#include "common/image/png.h"
#include "worker/phase/feature_file.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

const fs::path kShapes = fs::path(RSIDIFF_SOURCE_DIR) / "deploy/examples/shapes";

/// A coordinator for one worker: every generation is this worker alone, commits are remembered.
class LoneControl : public TaskControl {
 public:
  bool cancelled() const override { return cancelled_; }
  void ReportProgress(double fraction) override {
    EXPECT_GE(fraction, progress_);
    progress_ = fraction;
    if (fraction >= cancel_at_) cancelled_ = true;
  }
  void Warn(const std::string& sentence) override {
    absl::MutexLock lock(&mutex_);
    warnings_.push_back(sentence);
  }
  void ReportStep(uint64_t generation, uint64_t step, double loss) override {
    EXPECT_EQ(generation, generation_);
    losses_.push_back(loss);
    if (step == regroup_after_) regroup_ = true;  // seen during the next step, after which all leave
  }
  void ReportRegroup(RegroupCause cause, double seconds) override {
    EXPECT_EQ(cause, RegroupCause::kPlanned);
    EXPECT_GE(seconds, 0);
    ++regroups_;
  }
  bool regroup_requested() const override { return regroup_; }
  absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const TrainingPosition& position) override {
    EXPECT_EQ(position.last_generation, generation_);
    EXPECT_EQ(position.step, losses_.size());
    regroup_ = false;
    absl::MutexLock lock(&mutex_);
    if (!position.refused_checkpoints.empty() && position.refused_checkpoints.back() == checkpoint_) {
      checkpoint_ = std::exchange(earlier_checkpoint_, "");
      checkpoint_step_ = earlier_checkpoint_step_;
    }
    v1::JoinTrainingResponse response;
    response.set_formed(true);
    v1::GenerationRecord& generation = *response.mutable_generation();
    generation.set_generation(++generation_);
    generation.set_checkpoint(checkpoint_);
    generation.set_checkpoint_step(checkpoint_step_);
    v1::GenerationRecord::Member& member = *generation.add_members();
    member.set_step(position.step);
    member.set_has_state(position.has_state);
    member.set_store_address(position.store_address);
    return response;
  }
  absl::Status CommitCheckpoint(uint64_t generation, uint64_t step, const std::string& digest) override {
    absl::MutexLock lock(&mutex_);
    if (generation != generation_) return absl::AbortedError("FENCED: an old generation");
    commits_[step] = digest;
    return commit_status_;
  }

  absl::Mutex mutex_;  // checkpoints are committed on a thread of their own
  bool cancelled_ = false;
  std::vector<std::string> warnings_;
  double progress_ = 0.0;
  double cancel_at_ = 2.0;
  std::vector<double> losses_;
  uint64_t regroup_after_ = 0;
  bool regroup_ = false;
  uint64_t generation_ = 0;
  std::string checkpoint_;
  uint64_t checkpoint_step_ = 0;
  std::string earlier_checkpoint_;
  uint64_t earlier_checkpoint_step_ = 0;
  int regroups_ = 0;
  std::map<uint64_t, std::string> commits_;
  absl::Status commit_status_;
};

v1::RunSpec Spec() {
  v1::RunSpec spec;
  spec.set_name("test");
  spec.mutable_sampling()->set_steps(3);
  spec.mutable_sampling()->set_chunk(2);
  spec.mutable_sampling()->set_guidance_scale(3.0);
  spec.mutable_sampling()->set_scheduler(v1::SCHEDULER_TYPE_DDIM);
  v1::ScorerSpec& clip = *spec.add_scorers();
  clip.set_name("clip");
  clip.set_type(v1::SCORER_TYPE_CLIPSCORE);
  v1::TrainSpec& train = *spec.mutable_train();
  train.set_method(v1::TRAIN_METHOD_FULL);
  train.set_steps(4);
  train.set_global_batch(4);
  train.set_micro_batch(2);
  train.set_learning_rate(1e-3);
  train.set_beta1(0.9);
  train.set_beta2(0.999);
  train.set_epsilon(1e-8);
  train.set_weight_decay(0.01);
  train.set_max_grad_norm(1.0);
  train.set_caption_dropout(0.1);
  train.set_checkpoint_every(2);
  train.mutable_lora()->set_rank(2);
  spec.mutable_workers()->set_threads(1);
  return spec;
}

class PhaseRunnerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new fs::path(fs::path(::testing::TempDir()) / "phase_runner_test");
    fs::remove_all(*folder_);
    store_ = DirectoryStore::Open(*folder_ / "artifacts").value().release();
    inputs_ = new v1::RunInputs;
    inputs_->set_model(ImportFolder(*store_, kShapes / "base").value());
    v1::ScorerInputs& clip = (*inputs_->mutable_scorers())["clip"];
    clip.set_model(ImportFolder(*store_, kShapes / "clip").value());
    clip.set_tokenizer(ImportFolder(*store_, kShapes / "base/tokenizer").value());
  }
  static void TearDownTestSuite() {
    fs::remove_all(*folder_);
    delete inputs_;
    delete store_;
    delete folder_;
  }

  PhaseRunnerTest() {
    PhaseRunnerOptions options;
    options.folder = *folder_ / "work";
    runner_ = PhaseRunner::Create(options, *store_).value();
  }

  static v1::Grant GrantOf(v1::TaskKind kind) {
    v1::Grant grant;
    grant.mutable_task()->set_run_id(1);
    grant.mutable_task()->set_round(2);
    grant.mutable_task()->set_kind(kind);
    grant.mutable_task()->set_index(5);
    *grant.mutable_payload()->mutable_spec() = Spec();
    *grant.mutable_payload()->mutable_inputs() = *inputs_;
    return grant;
  }

  static v1::Grant GenerateGrant(const std::vector<std::pair<std::string, uint64_t>>& samples) {
    v1::Grant grant = GrantOf(v1::TASK_KIND_GENERATE);
    v1::GenerateWork& work = *grant.mutable_payload()->mutable_generate();
    for (const auto& [prompt, seed] : samples) {
      auto* item = work.add_items();
      item->set_index(static_cast<uint32_t>(work.items_size() - 1));
      item->set_prompt(prompt);
      item->set_seed(seed);
    }
    work.set_chunk(2);
    work.set_steps(3);
    work.set_guidance_scale(3.0);
    return grant;
  }

  v1::GenerateResult Generated(const v1::Grant& grant) {
    LoneControl control;
    auto result = runner_->Run(grant, control);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->generate() : v1::GenerateResult();
  }

  v1::Grant TrainGrant() {
    v1::Grant generate = GenerateGrant({{"a red circle", 1}, {"a blue square", 2}});
    v1::GenerateResult samples = Generated(generate);
    std::string manifest;
    for (int row = 0; row < 2; ++row) {
      manifest += absl::StrCat(R"({"prompt": ")", generate.payload().generate().items(row).prompt(),
                               R"(", "latents": ")", samples.latents(), R"(", "row": )", row,
                               R"(, "image": ")", samples.images(row), R"(", "weight": )", row + 0.5, "}\n");
    }
    v1::Grant grant = GrantOf(v1::TASK_KIND_TRAIN);
    grant.mutable_payload()->mutable_train()->add_manifest_parts(store_->Put(manifest).value());
    grant.mutable_payload()->mutable_train()->set_seed(9);
    return grant;
  }

  static fs::path* folder_;
  static DirectoryStore* store_;
  static v1::RunInputs* inputs_;
  std::unique_ptr<PhaseRunner> runner_;
};

fs::path* PhaseRunnerTest::folder_;
DirectoryStore* PhaseRunnerTest::store_;
v1::RunInputs* PhaseRunnerTest::inputs_;

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
  auto again = other->Run(grant, control);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->SerializeAsString(), result->SerializeAsString());
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
