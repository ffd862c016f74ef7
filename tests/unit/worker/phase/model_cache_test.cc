#include "worker/phase/model_cache.h"

#include <filesystem>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "tests/unit/worker/scorer/tiny_reward.h"

namespace rsidiff::worker {
namespace {

const std::filesystem::path kExample = std::filesystem::path(RSIDIFF_SOURCE_DIR) / "deploy/examples/shapes";

class ModelCacheTest : public ::testing::Test {
 protected:
  ModelCacheTest()
      : folder_(std::filesystem::path(::testing::TempDir()) / RandomId()),
        store_(DirectoryStore::Open(folder_ / "artifacts").value()),
        cache_(*store_, c10::Device(c10::kCPU), folder_ / "models"),
        model_(ImportFolder(*store_, kExample / "clip").value()),
        tokenizer_(ImportFolder(*store_, kExample / "base/tokenizer").value()) {}
  ~ModelCacheTest() override { std::filesystem::remove_all(folder_); }

  // A run whose only scorer is `name`; each name is another set of scorers.
  v1::TaskPayload Payload(const std::string& name) const {
    v1::TaskPayload payload;
    Add(payload, name, model_);
    return payload;
  }

  void Add(v1::TaskPayload& payload, const std::string& name, const std::string& model) const {
    v1::ScorerSpec& scorer = *payload.mutable_spec()->add_scorers();
    scorer.set_name(name);
    scorer.set_type(v1::SCORER_TYPE_CLIPSCORE);
    v1::ScorerInputs& inputs = (*payload.mutable_inputs()->mutable_scorers())[name];
    inputs.set_model(model);
    inputs.set_tokenizer(tokenizer_);
  }

  // From here on whoever reads the weights of `model` finds something else in their place; who has mapped
  // them already keeps them.
  void ReplaceWeights(const std::string& model) {
    const v1::FolderManifest manifest = ReadFolderManifest(*store_, model).value();
    for (const v1::FolderManifest::File& file : manifest.files()) {
      if (file.path() != "model.safetensors") continue;
      ASSERT_TRUE(WriteFileAtomically(store_->LocalPath(file.digest()).value(), "no weights").ok());
    }
  }

  const std::filesystem::path folder_;
  const std::unique_ptr<DirectoryStore> store_;
  ModelCache cache_;
  const std::string model_, tokenizer_;
};

TEST_F(ModelCacheTest, ScorersAreLoadedOnceForAllTasksOfTheTwoLatestRuns) {
  ScorerSet* const first = cache_.Scorers(Payload("first")).value();
  EXPECT_EQ(cache_.Scorers(Payload("first")).value(), first);
  ScorerSet* const second = cache_.Scorers(Payload("second")).value();
  EXPECT_NE(second, first);
  EXPECT_EQ(cache_.Scorers(Payload("first")).value(), first);
  EXPECT_EQ(cache_.Scorers(Payload("second")).value(), second);
}

TEST_F(ModelCacheTest, RunsWithOtherListsShareTheWeightsThatAreEqual) {
  ASSERT_TRUE(cache_.Scorers(Payload("first")).ok());
  ReplaceWeights(model_);

  // Another name, another order, a scorer more, and the same weights in a folder with a file more.
  std::filesystem::copy(kExample / "clip", folder_ / "copy");
  ASSERT_TRUE(WriteFileAtomically(folder_ / "copy/README.md", "a model").ok());
  const std::string copy = ImportFolder(*store_, folder_ / "copy").value();
  ASSERT_NE(copy, model_);
  ReplaceWeights(copy);
  v1::TaskPayload payload;
  Add(payload, "other", ImportFolder(*store_, kExample / "hps").value());
  Add(payload, "second", copy);
  const absl::Status status = cache_.Scorers(payload).status();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ModelCacheTest, ARewardNetworkIsSharedToo) {
  ASSERT_TRUE(WriteTinyReward(folder_ / "reward").ok());
  const std::string reward = ImportFolder(*store_, folder_ / "reward").value();
  const auto run = [&](const std::string& name) {
    v1::TaskPayload payload;
    Add(payload, name, reward);
    payload.mutable_spec()->mutable_scorers(0)->set_type(v1::SCORER_TYPE_BLIP_REWARD);
    payload.mutable_inputs()->mutable_scorers()->at(name).set_tokenizer(reward);
    return cache_.Scorers(payload).status();
  };
  ASSERT_TRUE(run("first").ok()) << run("first");
  ReplaceWeights(reward);
  EXPECT_TRUE(run("second").ok()) << run("second");
}

TEST_F(ModelCacheTest, WhatNoRunNeedsIsFreed) {
  const std::string other = ImportFolder(*store_, kExample / "hps").value();
  const auto run = [&](const std::string& name, const std::string& model) {
    v1::TaskPayload payload;
    Add(payload, name, model);
    return cache_.Scorers(payload).status();
  };
  ASSERT_TRUE(run("first", model_).ok());
  ReplaceWeights(model_);
  ASSERT_TRUE(run("second", other).ok());
  EXPECT_TRUE(run("third", model_).ok()) << "the first run leaves, its weights are still needed";
  ASSERT_TRUE(run("fourth", other).ok());
  ASSERT_TRUE(run("fifth", other).ok());
  EXPECT_EQ(run("sixth", model_).code(), absl::StatusCode::kDataLoss) << "the two runs before need others";
}

TEST_F(ModelCacheTest, AScorerWithoutAFolderIsNamed) {
  v1::TaskPayload payload = Payload("first");
  payload.mutable_inputs()->clear_scorers();
  const absl::Status status = cache_.Scorers(payload).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("scorer first"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace rsidiff::worker
