// What goes wrong around a task: a store that throws or is full, peers that cannot be reached, a model that
// gives nothing, a run of one sample.
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"
#include "tests/unit/worker/phase/phase_runner_fixture.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/phase/fruitless_generations.h"
#include "worker/tensor/safetensors.h"
#include "worker/train/process_group.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// A store that does what another one does, but for its faults.
class FaultyStore : public ArtifactStore {
 public:
  explicit FaultyStore(ArtifactStore& store) : store_(store) {}

  absl::StatusOr<std::string> Put(absl::string_view bytes) override { return store_.Put(bytes); }
  absl::StatusOr<std::string> PutFile(const fs::path& file) override {
    if (full_for_ == 0) return store_.PutFile(file);
    --full_for_;
    return absl::ResourceExhaustedError(absl::StrCat("no room for ", file.string()));
  }
  absl::StatusOr<std::string> Get(absl::string_view digest) override { return store_.Get(digest); }
  absl::StatusOr<fs::path> LocalPath(absl::string_view digest) override {
    if (digest == throws_for_) throw std::bad_alloc();
    return store_.LocalPath(digest);
  }
  absl::StatusOr<bool> Contains(absl::string_view digest) override { return store_.Contains(digest); }

  int full_for_ = 0;  // calls of PutFile
  std::string throws_for_;

 private:
  ArtifactStore& store_;
};

class PhaseFaultsTest : public PhaseRunnerTest {
 protected:
  std::unique_ptr<PhaseRunner> RunnerOn(ArtifactStore& store) {
    PhaseRunnerOptions options;
    options.folder = *folder_ / "faulty";
    return PhaseRunner::Create(options, store).value();
  }

  // A checkpoint of the whole UNet, other than the base model.
  static std::string OtherWeights() {
    auto unet = UNet2DConditionModel::Load(kShapes / "base/unet", ComputeOptions()).value();
    NamedTensors tensors;
    for (const auto& [name, tensor] : unet->parameters().tensors()) tensors.emplace_back(name, tensor * 1.01);
    return store_->Put(SerializeSafetensors(tensors, {{"format", "pt"}}).value()).value();
  }

  // One step, and no checkpoint before the end.
  v1::Grant ShortTraining() {
    v1::Grant grant = TrainGrant();
    grant.mutable_payload()->mutable_spec()->mutable_train()->set_steps(1);
    grant.mutable_payload()->mutable_spec()->mutable_train()->set_checkpoint_every(0);
    return grant;
  }
};

TEST_F(PhaseFaultsTest, AModelWhoseCheckpointWasInterruptedIsNotTakenForTheCheckpoint) {
  v1::Grant grant = GenerateGrant({{"a red circle", 77}});
  const std::string base = Generated(grant).latents();
  const std::string checkpoint = OtherWeights();
  FaultyStore store(*store_);
  auto runner = RunnerOn(store);
  LoneControl before;
  auto result = runner->Run(grant, before);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->generate().latents(), base);

  grant.mutable_payload()->set_checkpoint(checkpoint);
  store.throws_for_ = checkpoint;
  LoneControl during;
  EXPECT_EQ(runner->Run(grant, during).status().code(), absl::StatusCode::kInternal);

  store.throws_for_.clear();
  LoneControl after;
  result = runner->Run(grant, after);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NE(result->generate().latents(), base);
  EXPECT_EQ(result->generate().latents(), Generated(grant).latents());
}

TEST_F(PhaseFaultsTest, AFinishedTrainingWaitsForRoomInTheStore) {
  FaultyStore store(*store_);
  store.full_for_ = 1;
  LoneControl control;
  auto trained = RunnerOn(store)->Run(ShortTraining(), control);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_TRUE(store_->Contains(trained->train().checkpoint()).value());
  ASSERT_EQ(control.warnings_.size(), 1u);
  EXPECT_THAT(control.warnings_[0], AllOf(HasSubstr("wait to be stored"), HasSubstr("no room for")));
}

/// Gives up a training that waits.
class ImpatientControl : public LoneControl {
 public:
  void Warn(const std::string& sentence) override {
    LoneControl::Warn(sentence);
    cancelled_ = true;
  }
};

TEST_F(PhaseFaultsTest, AFinishedTrainingThatIsNotWantedAnyMoreDoesNotWait) {
  FaultyStore store(*store_);
  store.full_for_ = 1'000;
  ImpatientControl control;
  EXPECT_FALSE(RunnerOn(store)->Run(ShortTraining(), control).ok());
  EXPECT_EQ(control.warnings_.size(), 1u);
}

/// No file may grow from the first step on until somebody is warned.
class FullDiskControl : public LoneControl {
 public:
  FullDiskControl() {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
  }
  ~FullDiskControl() override { MakeRoom(); }
  void ReportStep(uint64_t generation, uint64_t step, double loss) override {
    LoneControl::ReportStep(generation, step, loss);
    rlimit small = before_;
    small.rlim_cur = 1'000;
    setrlimit(RLIMIT_FSIZE, &small);
  }
  void Warn(const std::string& sentence) override {
    MakeRoom();
    LoneControl::Warn(sentence);
  }

 private:
  void MakeRoom() { setrlimit(RLIMIT_FSIZE, &before_); }
  rlimit before_;
};

TEST_F(PhaseFaultsTest, AFinishedTrainingWaitsForRoomInItsScratchFolder) {
  const v1::Grant grant = ShortTraining();
  FullDiskControl control;
  auto trained = runner_->Run(grant, control);
  ASSERT_TRUE(trained.ok()) << trained.status();
  ASSERT_EQ(control.warnings_.size(), 1u);
  EXPECT_THAT(control.warnings_[0], HasSubstr("wait to be stored"));
}

/// In every generation there is another member, whose store answers and who never joins a group.
class AbsentPeerControl : public LoneControl {
 public:
  absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const TrainingPosition& position) override {
    absl::StatusOr<v1::JoinTrainingResponse> response = LoneControl::JoinTraining(position);
    v1::GenerationRecord::Member& peer = *response->mutable_generation()->add_members();
    peer.set_token(7);
    peer.set_has_state(true);
    peer.set_store_address(address_);
    return response;
  }

  const std::unique_ptr<StoreServer> store_ = StoreServer::Start().value();
  const std::string address_ = absl::StrCat("127.0.0.1:", store_->port());
};

TEST_F(PhaseFaultsTest, MembersThatCannotReachEachOtherDoNotRegroupForEver) {
  v1::Grant grant = ShortTraining();
  grant.mutable_payload()->mutable_spec()->mutable_train()->set_operation_timeout(0.1);
  AbsentPeerControl control;
  const absl::Status status = runner_->Run(grant, control).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("10 training generations in a row broke before a step was done"),
                    HasSubstr(control.address_ + " accepts connections"), HasSubstr("firewall"),
                    HasSubstr("--host")));
  EXPECT_EQ(control.generation_, static_cast<uint64_t>(FruitlessGenerations::kLimit));
}

TEST_F(PhaseFaultsTest, ScoringReportsProgressAndStopsWhenCancelled) {
  const v1::GenerateResult samples = Generated(GenerateGrant({{"a red circle", 1}, {"a blue square", 2}}));
  v1::Grant grant = GrantOf(v1::TASK_KIND_SCORE);
  v1::ScoreWork& work = *grant.mutable_payload()->mutable_score();
  for (int i = 0; i < 2; ++i) {
    work.add_indices(static_cast<uint32_t>(i));
    work.add_images(samples.images(i));
    work.add_prompts("a red circle");
  }
  work.add_scorers("clip");
  LoneControl control;
  ASSERT_TRUE(runner_->Run(grant, control).ok());
  const double loaded = control.progress_;  // before the only scorer
  EXPECT_GT(loaded, 0);
  for (const double at : {0.0, loaded}) {
    LoneControl cancelled;
    cancelled.cancel_at_ = at;
    EXPECT_EQ(runner_->Run(grant, cancelled).status().code(), absl::StatusCode::kCancelled) << at;
  }
}

TEST_F(PhaseFaultsTest, AnEmbeddingOfZeroLengthNamesItsPrompt) {
  const fs::path model = *folder_ / "mute_model";
  fs::copy(kShapes / "base", model, fs::copy_options::recursive);
  const fs::path weights = model / "text_encoder/model.safetensors";
  NamedTensors tensors = SafetensorsFile::Open(weights).value()->GetAll().value();
  int silenced = 0;
  for (auto& [name, tensor] : tensors) {
    const bool last_norm = name.find("final_layer_norm") != std::string::npos;
    silenced += last_norm ? 1 : 0;
    tensor = last_norm ? at::zeros_like(tensor) : tensor.clone();
  }
  ASSERT_EQ(silenced, 2);
  ASSERT_TRUE(WriteSafetensors(weights, tensors, {{"format", "pt"}}).ok());
  v1::Grant grant = GrantOf(v1::TASK_KIND_EMBED);
  grant.mutable_payload()->mutable_inputs()->set_model(ImportFolder(*store_, model).value());
  grant.mutable_payload()->mutable_embed()->add_prompts("a red circle");
  LoneControl control;
  const absl::Status status = runner_->Run(grant, control).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"a red circle\" has zero length"));
  std::string accents = "a";
  for (int i = 0; i < 200; ++i) accents += "\u00e9";
  grant.mutable_payload()->mutable_embed()->set_prompts(0, accents);
  EXPECT_THAT(std::string(runner_->Run(grant, control).status().message()),
              HasSubstr("\u00e9...\" has zero length"));
}

TEST_F(PhaseFaultsTest, OnePromptAndOneSampleHaveNoGaussianAndTheErrorSaysWhatToDo) {
  const v1::GenerateResult sample = Generated(GenerateGrant({{"a red circle", 1}}));
  v1::Grant score = GrantOf(v1::TASK_KIND_SCORE);
  v1::ScoreWork& work = *score.mutable_payload()->mutable_score();
  work.add_indices(0);
  work.add_images(sample.images(0));
  work.add_prompts("a red circle");
  work.add_scorers("clip");
  work.set_features("clip");
  LoneControl scoring;
  auto scored = runner_->Run(score, scoring);
  ASSERT_TRUE(scored.ok()) << scored.status();

  v1::Grant fit = GrantOf(v1::TASK_KIND_FIT_REFERENCE);
  fit.mutable_payload()->mutable_spec()->mutable_weights()->set_method(v1::WEIGHT_METHOD_GAUSSIAN);
  fit.mutable_payload()->mutable_fit_reference()->add_features(scored->score().features());
  LoneControl fitting;
  const absl::Status status = runner_->Run(fit, fitting).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("fit_reference task 5 of run 1, round 2"),
                    HasSubstr("a Gaussian needs at least two samples, not 1"), HasSubstr("more prompts"),
                    HasSubstr("sampling.samples_per_prompt"), HasSubstr("set weights.method to uniform")));
}

}  // namespace
}  // namespace rsidiff::worker
