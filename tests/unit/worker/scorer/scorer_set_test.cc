#include "worker/scorer/scorer_set.h"
#include "tests/unit/worker/scorer/shapes_scorer.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/base/digest.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

absl::StatusOr<std::unique_ptr<ScorerSet>> LoadAll(int64_t batch_size) {
  ScorerSet::Options options;
  options.batch_size = batch_size;
  return ScorerSet::Load(
      {ShapesScorer("clip", ScorerType::kClipScore, "clip"), ShapesScorer("taste", ScorerType::kHps, "hps"),
       ShapesScorer("logit", ScorerType::kClipLogit, "clip"),
       ShapesScorer("beauty", ScorerType::kAesthetic, "aesthetic")},
      options);
}

std::vector<Image> MakePictures(int count) {
  std::vector<Image> pictures;
  for (int i = 0; i < count; ++i) {
    Image picture = MakeImage(40 + 7 * i, 64);
    for (size_t byte = 0; byte < picture.rgb.size(); ++byte) {
      picture.rgb[byte] = static_cast<uint8_t>((byte * (i + 3) * 2654435761u) >> 13);
    }
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

std::vector<std::string> MakePrompts(int count) {
  std::vector<std::string> prompts;
  for (int i = 0; i < count; ++i)
    prompts.push_back("a red circle and " + std::to_string(i / 2) + " blue squares");
  return prompts;
}

ScorerSet::Request MakeRequest(const std::vector<Image>& pictures, const std::vector<std::string>& prompts) {
  ScorerSet::Request request;
  request.images = pictures;
  request.prompts = prompts;
  return request;
}

TEST(ScorerSetTest, ColumnsInTheOrderAskedFor) {
  const auto set = LoadAll(4).value();
  EXPECT_THAT(set->names(), ElementsAre("clip", "taste", "logit", "beauty"));
  const auto pictures = MakePictures(5);
  const auto prompts = MakePrompts(5);
  ScorerSet::Request request = MakeRequest(pictures, prompts);
  EXPECT_THAT(set->Score(request)->columns, SizeIs(4));
  request.scorers = {"beauty", "clip"};
  const ScorerSet::Result result = set->Score(request).value();
  ASSERT_THAT(result.columns, SizeIs(2));
  EXPECT_EQ(result.columns[0].scorer, "beauty");
  EXPECT_EQ(result.columns[1].scorer, "clip");
  EXPECT_THAT(result.columns[1].scores, SizeIs(5));
  EXPECT_FALSE(result.features.defined());
}

TEST(ScorerSetTest, FeaturesAreNormalisedRowsOfTheNamedScorer) {
  const auto set = LoadAll(4).value();
  const auto pictures = MakePictures(6);
  const auto prompts = MakePrompts(6);
  ScorerSet::Request request = MakeRequest(pictures, prompts);
  request.scorers = {"clip"};
  request.features = "beauty";  // its embedding is that of hps
  const at::Tensor beauty = set->Score(request)->features;
  request.features = "taste";
  const at::Tensor taste = set->Score(request)->features;
  EXPECT_EQ(beauty.sizes(), at::IntArrayRef({6, 128}));
  EXPECT_TRUE(at::equal(beauty, taste));
  EXPECT_TRUE(at::allclose(beauty.norm(2, {1}), at::ones({6})));
}

TEST(ScorerSetTest, AScoreDependsOnNeitherItsCompanyNorWhatWasRememberedBefore) {
  const auto pictures = MakePictures(7);
  const auto prompts = MakePrompts(7);
  const auto together = LoadAll(4).value()->Score(MakeRequest(pictures, prompts)).value();
  const auto set = LoadAll(4).value();
  ASSERT_TRUE(set->Score(MakeRequest({pictures[6]}, {prompts[6]})).ok());
  // The same place in the batch, other pictures behind it.
  const std::vector<Image> first = {pictures[0], pictures[1]};
  const std::vector<std::string> first_prompts = {prompts[0], prompts[1]};
  const auto alone = set->Score(MakeRequest(first, first_prompts)).value();
  for (size_t column = 0; column < 4; ++column) {
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(alone.columns[column].scores[i], together.columns[column].scores[i]);
    }
  }
}

TEST(ScorerSetTest, ClipLogitIsTheScaledCosine) {
  const auto set = LoadAll(4).value();
  const auto pictures = MakePictures(3);
  const auto prompts = MakePrompts(3);
  const auto columns = set->Score(MakeRequest(pictures, prompts))->columns;
  const double factor = columns[2].scores[0] / columns[0].scores[0];
  EXPECT_GT(factor, 1);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(columns[2].scores[i], factor * columns[0].scores[i], 1e-9);
}

TEST(ScorerSetTest, NothingToScore) {
  const auto set = LoadAll(4).value();
  ScorerSet::Request request;
  request.features = "clip";
  const ScorerSet::Result result = set->Score(request).value();
  for (const ScorerSet::Column& column : result.columns) EXPECT_TRUE(column.scores.empty());
  EXPECT_EQ(result.features.sizes(), at::IntArrayRef({0, 128}));
}

TEST(ScorerSetTest, WrongRequests) {
  const auto set = LoadAll(4).value();
  const auto pictures = MakePictures(2);
  const auto prompts = MakePrompts(2);
  ScorerSet::Request request = MakeRequest(pictures, prompts);
  request.scorers = {"nobody"};
  EXPECT_EQ(set->Score(request).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(set->Score(request).status().message(), HasSubstr("nobody"));
  request.scorers = {};
  request.features = "none";
  EXPECT_EQ(set->Score(request).status().code(), absl::StatusCode::kNotFound);
  request.features = "";
  request.prompts = absl::MakeSpan(prompts).subspan(1);
  EXPECT_EQ(set->Score(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ScorerSetTest, EmptyPictureIsAnError) {
  const auto set = LoadAll(4).value();
  const std::vector<Image> pictures = {MakePictures(1)[0], Image()};
  const absl::Status status = set->Score(MakeRequest(pictures, MakePrompts(2))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("picture 1"));
}

// A scorer of the shapes example's clip/, whose projection of pictures is `value` everywhere.
ScorerSource WithVisualProjection(float value) {
  ScorerSource source = ShapesScorer("flat", ScorerType::kClipScore, "clip");
  source.folder = std::filesystem::path(::testing::TempDir()) / RandomId();
  std::filesystem::copy(kShapes / "clip", source.folder);
  NamedTensors tensors = SafetensorsFile::Open(kShapes / "clip/model.safetensors").value()->GetAll().value();
  for (auto& [name, tensor] : tensors) {
    if (name == "visual_projection.weight") tensor = at::full_like(tensor, value);
  }
  EXPECT_TRUE(WriteSafetensors(source.folder / "model.safetensors", tensors, {{"format", "pt"}}).ok());
  return source;
}

absl::Status FeaturesStatus(const ScorerSource& source) {
  const auto set =
      ScorerSet::Load({ShapesScorer("taste", ScorerType::kHps, "hps"), source}, ScorerSet::Options()).value();
  const auto pictures = MakePictures(3);
  const auto prompts = MakePrompts(3);
  const std::vector<std::string> labels = {"sample 7", "sample 8", "sample 9"};
  ScorerSet::Request request = MakeRequest(pictures, prompts);
  request.labels = labels;
  request.scorers = {"taste"};
  request.features = source.name;
  const absl::Status status = set->Score(request).status();
  std::filesystem::remove_all(source.folder);
  return status;
}

TEST(ScorerSetTest, FeaturesOfZeroLengthNameThePicture) {
  const absl::Status status = FeaturesStatus(WithVisualProjection(0));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(
      status.message(),
      "scorer flat: sample 7: the picture's embedding has zero length, prompt \"a red circle and 0 blue "
      "squares\"");
}

TEST(ScorerSetTest, FeaturesThatAreNoNumbersNameThePicture) {
  const absl::Status status = FeaturesStatus(WithVisualProjection(std::numeric_limits<float>::quiet_NaN()));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(
      status.message(),
      "scorer flat: sample 7: image features are not finite, prompt \"a red circle and 0 blue squares\"");
}

TEST(ScorerSetTest, LoadErrorsNameTheScorer) {
  ScorerSet::Options options;
  ScorerSource source = ShapesScorer("taste", ScorerType::kHps, "nowhere");
  EXPECT_THAT(ScorerSet::Load({source}, options).status().message(), HasSubstr("scorer taste"));
  source = ShapesScorer("taste", ScorerType::kHps, "hps");
  EXPECT_THAT(ScorerSet::Load({source, source}, options).status().message(), HasSubstr("another scorer"));
  source = ShapesScorer("beauty", ScorerType::kAesthetic, "aesthetic");
  source.clip = kShapes / "clip-heldout";  // 96 wide, the head wants 128
  EXPECT_THAT(ScorerSet::Load({source}, options).status().message(), HasSubstr("layers.0"));
}

TEST(ScorerTypeTest, UnknownNameListsTheKnown) {
  EXPECT_EQ(ParseScorerType("pickscore").value(), ScorerType::kPickScore);
  EXPECT_THAT(ParseScorerType("blip").status().message(), HasSubstr("aesthetic"));
}

}  // namespace
}  // namespace rsidiff::worker
