// Scorers of one folder share its image tower, which runs once for a set of pictures.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include "tests/unit/worker/scorer/shapes_scorer.h"
#include "worker/scorer/scorer_parts.h"
#include "worker/scorer/scorer_set.h"

namespace rsidiff::worker {
namespace {

/// Layer norms that this thread computes while the object lives: a fixed number for each pass of a tower.
class LayerNormCount {
 public:
  LayerNormCount() {
    count_ = 0;
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&LayerNormCount::See).scopes({at::RecordScope::FUNCTION}));
  }
  ~LayerNormCount() { at::removeCallback(handle_); }
  LayerNormCount(const LayerNormCount&) = delete;
  LayerNormCount& operator=(const LayerNormCount&) = delete;

  int value() const { return count_; }

 private:
  static std::unique_ptr<at::ObserverContext> See(const at::RecordFunction& call) {
    if (std::string(call.name()) == "aten::layer_norm") ++count_;
    return nullptr;
  }

  static inline thread_local int count_ = 0;
  at::CallbackHandle handle_;
};

TEST(SharedTowerTest, OneFolderIsOneModelAndOneEncoderHoweverItIsSpelled) {
  ScorerParts parts{ScorerParts::Options()};
  const auto load = [&parts](const std::filesystem::path& model, const std::filesystem::path& tokenizer) {
    return parts.LoadClip(CheckClip({model, tokenizer}, ClipPin()).value()).value();
  };
  const ScorerParts::Clip first = load(kShapes / "hps", "");
  const ScorerParts::Clip again = load(kShapes / "clip/../hps", "");
  EXPECT_EQ(again.images, first.images);
  EXPECT_EQ(again.model, first.model);
  EXPECT_EQ(first.prompts, nullptr);
  const ScorerParts::Clip other = load(kShapes / "clip", "");
  EXPECT_NE(other.images, first.images);
  EXPECT_NE(other.model, first.model);

  const ScorerParts::Clip with_prompts = load(kShapes / "hps", kShapes / "base/tokenizer");
  EXPECT_NE(with_prompts.prompts, nullptr);
  EXPECT_EQ(load(kShapes / "hps", kShapes / "base/../base/tokenizer").prompts, with_prompts.prompts);
}

TEST(SharedTowerTest, TheTowerRunsOnceForTwoScorers) {
  const auto set = ScorerSet::Load({ShapesScorer("taste", ScorerType::kHps, "hps"),
                                    ShapesScorer("beauty", ScorerType::kAesthetic, "aesthetic"),
                                    ShapesScorer("clip", ScorerType::kClipScore, "clip")},
                                   ScorerSet::Options())
                       .value();
  const std::vector<Image> pictures = {MakeImage(64, 64), MakeImage(48, 80)};
  const std::vector<std::string> prompts = {"a red circle", "two blue squares"};
  const auto layer_norms = [&](const std::vector<std::string>& scorers, const std::string& features) {
    ScorerSet::Request request;
    request.images = pictures;
    request.prompts = prompts;
    request.scorers = scorers;
    request.features = features;
    const LayerNormCount count;
    EXPECT_TRUE(set->Score(request).ok());
    return count.value();
  };
  layer_norms({}, "");  // from here on the prompts' embeddings are remembered, so only images are computed
  const int one = layer_norms({"taste"}, "");
  EXPECT_GT(one, 0);
  EXPECT_EQ(layer_norms({"taste", "beauty"}, "beauty"), one);
  // Another folder is another tower.
  EXPECT_EQ(layer_norms({"taste", "clip"}, ""), one + layer_norms({"clip"}, ""));
}

}  // namespace
}  // namespace rsidiff::worker
