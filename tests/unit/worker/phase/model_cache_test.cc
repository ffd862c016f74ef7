#include "worker/phase/model_cache.h"

#include <filesystem>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"

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
    v1::ScorerSpec& scorer = *payload.mutable_spec()->add_scorers();
    scorer.set_name(name);
    scorer.set_type(v1::SCORER_TYPE_CLIPSCORE);
    v1::ScorerInputs& inputs = (*payload.mutable_inputs()->mutable_scorers())[name];
    inputs.set_model(model_);
    inputs.set_tokenizer(tokenizer_);
    return payload;
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

TEST_F(ModelCacheTest, AScorerWithoutAFolderIsNamed) {
  v1::TaskPayload payload = Payload("first");
  payload.mutable_inputs()->clear_scorers();
  const absl::Status status = cache_.Scorers(payload).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("scorer first"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace rsidiff::worker
