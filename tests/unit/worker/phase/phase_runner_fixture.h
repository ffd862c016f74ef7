#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"
#include "tests/unit/worker/phase/lone_control.h"
#include "worker/phase/phase_runner.h"

namespace rsidiff::worker {

namespace fs = std::filesystem;

inline const fs::path kShapes = fs::path(RSIDIFF_SOURCE_DIR) / "deploy/examples/shapes";

inline v1::RunSpec SmallSpec() {
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

/// A worker without a coordinator: the shapes model and a scorer in a store, and a runner for tasks of round
/// 2 of run 1.
class PhaseRunnerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new fs::path(fs::path(::testing::TempDir()) / RandomId());
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
    *grant.mutable_payload()->mutable_spec() = SmallSpec();
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

  static inline fs::path* folder_ = nullptr;
  static inline DirectoryStore* store_ = nullptr;
  static inline v1::RunInputs* inputs_ = nullptr;
  std::unique_ptr<PhaseRunner> runner_;
};

}  // namespace rsidiff::worker
