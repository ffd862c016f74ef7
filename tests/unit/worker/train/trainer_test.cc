#include "worker/train/trainer.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/file.h"
#include "tests/unit/worker/train/toy_denoiser.h"
#include "worker/train/checkpoint.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Trained {
  std::unique_ptr<Trainer> trainer;
  std::vector<StepReport> reports;
};

Trained Train(const TrainerOptions& options, TrainableModel model = ToyDenoiser()) {
  Trained trained{*ToyTrainer(options, std::move(model)), {}};
  TrainerCallbacks callbacks;
  callbacks.on_step = [&](const StepReport& report) { trained.reports.push_back(report); };
  const absl::StatusOr<RunOutcome> outcome = trained.trainer->Run(Membership{}, callbacks);
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->end, RunEnd::kFinished);
  return trained;
}

double LargestDifference(const NamedTensors& a, const NamedTensors& b) {
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    const at::Tensor first = a[i].second.to(at::kFloat);
    const at::Tensor second = b[i].second.to(at::kFloat);
    largest = std::max(largest, ((first - second).abs().max() / second.abs().max()).item<double>());
  }
  return largest;
}

class TemporaryFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/trainer_test.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

using CheckpointTest = TemporaryFolder;

TEST(TrainerTest, AccumulationDoesNotChangeTheStep) {
  TrainerOptions whole = ToyOptions(5);
  whole.micro_batch = 10;
  TrainerOptions pieces = ToyOptions(5);
  pieces.micro_batch = 3;  // does not divide the batch
  const Trained a = Train(whole);
  const Trained b = Train(pieces);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(a.reports[i].loss, b.reports[i].loss, 1e-6 * a.reports[i].loss);
  EXPECT_LT(LargestDifference(a.trainer->Product(), b.trainer->Product()), 1e-4);
}

TEST(TrainerTest, LearnsAndReports) {
  TrainerOptions options = ToyOptions(60);
  options.ema_decay = 0.0;
  options.learning_rate.peak = 1e-2;
  const Trained trained = Train(options);
  ASSERT_EQ(trained.reports.size(), 60u);
  double first = 0.0, last = 0.0;
  for (int i = 0; i < 15; ++i) {
    first += trained.reports[i].loss;
    last += trained.reports[45 + i].loss;
  }
  EXPECT_LT(last, 0.9 * first);
  EXPECT_EQ(trained.reports[0].learning_rate, 0.0);
  EXPECT_EQ(trained.reports[59].step, 60u);
}

TEST(TrainerTest, TheModelItselfIsTrained) {
  TrainableModel model = ToyDenoiser();
  TrainerOptions options = ToyOptions(4);
  options.ema_decay = 0.0;
  const Trained trained = Train(options, model);
  EXPECT_EQ(LargestDifference(model.parameters, trained.trainer->Product()), 0.0);
  EXPECT_GT(LargestDifference(model.parameters, ToyDenoiser().parameters), 0.0);
}

TEST(TrainerTest, HalfPrecisionKeepsMasterWeights) {
  TrainableModel model = ToyDenoiser();
  for (auto& [name, tensor] : model.parameters) model.masters.emplace_back(name, tensor.clone());
  for (auto& [name, tensor] : model.parameters) tensor.set_data(tensor.to(at::kBFloat16));
  TrainerOptions options = ToyOptions(20);
  options.learning_rate.peak = 1e-5;  // far below bf16's resolution of most weights
  options.ema_decay = 0.0;
  const Trained trained = Train(options, model);
  EXPECT_EQ(model.parameters.front().second.scalar_type(), at::kBFloat16);
  EXPECT_LT(LargestDifference(model.parameters, trained.trainer->Product()), 1e-2);
  const Trained full = Train(options);
  // The masters moved as far as in fp32, though no bf16 weight could have.
  EXPECT_LT(LargestDifference(trained.trainer->Product(), full.trainer->Product()), 1e-3);
  EXPECT_GT(LargestDifference(trained.trainer->Product(), ToyDenoiser().parameters), 1e-5);
}

TEST(TrainerTest, LossThatIsNotFiniteNamesStepAndSampleAndChangesNothing) {
  TrainableModel model = ToyDenoiser();
  int calls = 0;
  model.forward = [&calls, forward = model.forward](const at::Tensor& noisy, const at::Tensor& timesteps,
                                                    const at::Tensor& context) {
    at::Tensor prediction = forward(noisy, timesteps, context);
    // The second sample of step 1's third micro batch: position 5.
    return ++calls == 8
               ? prediction * at::tensor({1.0f, std::numeric_limits<float>::quiet_NaN()}).view({2, 1, 1, 1})
               : prediction;
  };
  absl::StatusOr<std::unique_ptr<Trainer>> trainer = ToyTrainer(ToyOptions(6), model);
  const absl::Status status = (*trainer)->Run(Membership{}, {}).status();
  auto batches = PlannedBatches::Create(ToySet(), ToyPlan());
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("step 1, "), HasSubstr((*batches)->Describe(1, 5) + ":"), HasSubstr("not finite")));
  EXPECT_EQ((*trainer)->step(), 1u);
  EXPECT_TRUE((*trainer)->has_state());
  EXPECT_LT(LargestDifference((*trainer)->Product(), Train(ToyOptions(1)).trainer->Product()), 1e-6);
}

TEST(TrainerTest, RefusesSamplesThatCannotBeTrainedOn) {
  TrainingSet set = ToySet();
  set.weights[4] = -1.0f;
  EXPECT_THAT(std::string(ToyTrainer(ToyOptions(1), ToyDenoiser(), set).status().message()),
              AllOf(HasSubstr("sample 4"), HasSubstr("weight")));
  set = ToySet();
  set.latents[2][0][0][0] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(std::string(ToyTrainer(ToyOptions(1), ToyDenoiser(), set).status().message()),
              AllOf(HasSubstr("sample 2"), HasSubstr("not finite")));
}

TEST_F(CheckpointTest, ResumedTrainingIsTheSameTraining) {
  const std::filesystem::path path = folder_ / "state.safetensors";
  TrainerOptions options = ToyOptions(10);
  options.checkpoint_every = 4;
  std::unique_ptr<Trainer> first = *ToyTrainer(options);
  TrainerCallbacks callbacks;
  std::vector<uint64_t> checkpoints;
  callbacks.on_checkpoint = [&](uint64_t step) {
    checkpoints.push_back(step);
    return step == 4 ? first->WriteCheckpoint(path) : absl::OkStatus();
  };
  ASSERT_TRUE(first->Run(Membership{}, callbacks).ok());
  EXPECT_THAT(checkpoints, ::testing::ElementsAre(4, 8));

  std::unique_ptr<Trainer> second = *ToyTrainer(options);
  ASSERT_TRUE(second->Restore(path).ok());
  EXPECT_EQ(second->step(), 4u);
  ASSERT_TRUE(second->Run(Membership{}, {}).ok());
  EXPECT_EQ(second->state().Fingerprint(), first->state().Fingerprint());
}

TEST_F(CheckpointTest, TornTamperedAndForeignFilesAreRefused) {
  const std::filesystem::path path = folder_ / "state.safetensors";
  ASSERT_TRUE(Train(ToyOptions(3)).trainer->WriteCheckpoint(path).ok());
  const std::string bytes = *ReadFile(path);
  std::unique_ptr<Trainer> trainer = *ToyTrainer(ToyOptions(3));
  const uint64_t before = trainer->state().Fingerprint();

  ASSERT_TRUE(WriteFileAtomically(path, bytes.substr(0, bytes.size() - 100)).ok());
  EXPECT_EQ(trainer->Restore(path).code(), absl::StatusCode::kDataLoss);

  std::string tampered = bytes;
  tampered[tampered.size() - 5] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, tampered).ok());
  const absl::Status status = trainer->Restore(path);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path.string()), HasSubstr("digest")));

  TrainerOptions without_ema = ToyOptions(3);
  without_ema.ema_decay = 0.0;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_THAT(std::string((*ToyTrainer(without_ema))->Restore(path).message()), HasSubstr("other options"));

  ASSERT_TRUE(WriteSafetensors(path, ToyDenoiser().parameters, {}).ok());
  EXPECT_THAT(std::string(trainer->Restore(path).message()), HasSubstr("not a training state"));
  EXPECT_EQ(trainer->state().Fingerprint(), before);
  EXPECT_EQ(trainer->step(), 0u);
}

TEST(TrainingStateTest, FingerprintSeesEveryValueAndTheStep) {
  std::unique_ptr<Trainer> trainer = *ToyTrainer(ToyOptions(2));
  TrainingState state = trainer->state();
  const uint64_t before = state.Fingerprint();
  EXPECT_EQ(state.Fingerprint(), before);
  for (const at::Tensor& bucket : state.Buckets()) {
    const at::Tensor element = bucket[bucket.numel() / 2];
    element.add_(1e-3);
    EXPECT_NE(state.Fingerprint(), before);
    element.zero_();
  }
  ++state.step;
  EXPECT_NE(state.Fingerprint(), before);
}

}  // namespace
}  // namespace rsidiff::worker
