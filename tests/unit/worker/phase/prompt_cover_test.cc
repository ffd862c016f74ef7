#include "worker/phase/prompt_cover.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "common/artifact/directory_store.h"
#include "worker/phase/unwatched_control.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

class CheckedControl : public UnwatchedControl {
 public:
  void ReportProgress(double fraction) override { EXPECT_TRUE(fraction >= 0 && fraction <= 1); }
};

class PromptCoverTest : public ::testing::Test {
 protected:
  PromptCoverTest() {
    fs::remove_all(folder_);
    store_ = DirectoryStore::Open(folder_ / "artifacts").value();
    models_ = std::make_unique<ModelCache>(*store_, c10::Device(at::kCPU), folder_ / "models");
  }
  ~PromptCoverTest() override { fs::remove_all(folder_); }

  /// A file of an EMBED task; the empty prompt points along the first axis.
  std::string File(const at::Tensor& rows) {
    at::Tensor empty = at::zeros({rows.size(1)});
    empty[0] = 1;
    return store_
        ->Put(SerializeSafetensors({{"embeddings", rows.contiguous()}, {"empty", empty}}, {}).value())
        .value();
  }

  absl::StatusOr<v1::FilterResult> Cover(const v1::FilterWork& work) {
    ImageCache images(1 << 20);
    PhaseContext context{*store_, at::kCPU, *models_, images, folder_, ""};
    CheckedControl control;
    return CoverPrompts(work, context, control);
  }

  const fs::path folder_ = fs::path(::testing::TempDir()) / "prompt_cover_test";
  std::unique_ptr<DirectoryStore> store_;
  std::unique_ptr<ModelCache> models_;
};

at::Tensor Angles(const std::vector<double>& degrees) {
  at::Tensor rows = at::empty({static_cast<int64_t>(degrees.size()), 2});
  for (size_t i = 0; i < degrees.size(); ++i) {
    rows[static_cast<int64_t>(i)][0] = std::cos(degrees[i] * M_PI / 180);
    rows[static_cast<int64_t>(i)][1] = std::sin(degrees[i] * M_PI / 180);
  }
  return rows;
}

// 1 - cos 10 degrees = 0.0152, 1 - cos 20 degrees = 0.0603.
TEST_F(PromptCoverTest, RejectsWhatIsNearToAKeptOneAndNamesTheNearest) {
  v1::FilterWork work;
  work.set_distance(0.03);
  work.set_prompts(6);
  work.add_embeddings(File(Angles({90, 100, 110})));
  work.add_embeddings(File(Angles({95, 115, 180})));
  const auto result = Cover(work);
  ASSERT_TRUE(result.ok()) << result.status();
  // 100 is near to 90. 110 is near to 100, which is gone, and not to 90. 115 is near to 110.
  EXPECT_THAT(result->rejected(), ElementsAre(1, 3, 4));
  EXPECT_THAT(result->nearest(), ElementsAre(0, 0, 2));
  EXPECT_NEAR(result->distances(0), 1 - std::cos(10 * M_PI / 180), 1e-6);
}

TEST_F(PromptCoverTest, RejectsWhatIsNearToTheEmptyPrompt) {
  v1::FilterWork work;
  work.set_specificity(0.03);
  work.set_prompts(4);
  work.add_embeddings(File(Angles({5, 90, 91, 340})));
  const auto result = Cover(work);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->rejected(), ElementsAre(0)) << "diversity is off, and 340 is 20 degrees away";
  EXPECT_THAT(result->nearest(), ElementsAre(0));
}

TEST_F(PromptCoverTest, ManyPromptsGoAsOneByOneInAnyFiles) {
  constexpr int64_t kPrompts = 300;
  at::Tensor rows = at::randn({kPrompts, 4}, at::make_generator<at::CPUGeneratorImpl>(3));
  rows = rows / rows.norm(2, {1}, true);
  std::vector<int64_t> kept;
  std::vector<uint32_t> rejected;
  for (int64_t i = 0; i < kPrompts; ++i) {
    double nearest = 3;
    for (int64_t j : kept) nearest = std::min(nearest, 1 - rows[i].dot(rows[j]).item<double>());
    if (nearest < 0.05) rejected.push_back(static_cast<uint32_t>(i));
    if (nearest >= 0.05) kept.push_back(i);
  }
  ASSERT_GT(rejected.size(), 50u);
  for (int64_t block : {1, 7, 128, 300}) {
    v1::FilterWork work;
    work.set_distance(0.05);
    work.set_prompts(kPrompts);
    for (int64_t begin = 0; begin < kPrompts; begin += block) {
      work.add_embeddings(File(rows.slice(0, begin, std::min(begin + block, kPrompts))));
    }
    const auto result = Cover(work);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(std::vector<uint32_t>(result->rejected().begin(), result->rejected().end()), rejected)
        << "files of " << block;
  }
}

// They lie in more than one tensor, and a file of embeddings goes into two of them.
TEST_F(PromptCoverTest, FindsTheNearestOfMoreThanAreComparedAtOnce) {
  constexpr int64_t kPrompts = 18'000;
  constexpr int64_t kFile = 1'000;
  at::Tensor rows = at::randn({kPrompts, 64}, at::make_generator<at::CPUGeneratorImpl>(5));
  rows = rows / rows.norm(2, {1}, true);
  const std::map<uint32_t, uint32_t> again = {{16'450, 16'440}, {17'100, 3},      {17'200, 16'383},
                                              {17'300, 16'384}, {17'400, 16'999}, {17'500, 17'050}};
  v1::FilterWork work;
  work.set_distance(0.01);
  work.set_prompts(kPrompts);
  for (const auto& [prompt, earlier] : again) {
    rows[static_cast<int64_t>(prompt)].copy_(rows[static_cast<int64_t>(earlier)]);
  }
  for (int64_t begin = 0; begin < kPrompts; begin += kFile) {
    work.add_embeddings(File(rows.slice(0, begin, begin + kFile)));
  }
  const auto result = Cover(work);
  ASSERT_TRUE(result.ok()) << result.status();
  std::map<uint32_t, uint32_t> found;
  for (int i = 0; i < result->rejected_size(); ++i) found[result->rejected(i)] = result->nearest(i);
  EXPECT_EQ(found, again);
}

TEST_F(PromptCoverTest, FilesThatDoNotFitAreRefusedByName) {
  v1::FilterWork work;
  work.set_distance(0.1);
  work.set_prompts(3);
  work.add_embeddings(File(Angles({0, 90})));
  EXPECT_THAT(std::string(Cover(work).status().message()), HasSubstr("hold 2 prompts, not 3"));
  work.add_embeddings(File(at::ones({1, 3})));
  EXPECT_THAT(std::string(Cover(work).status().message()), HasSubstr(work.embeddings(1)));
  work.set_embeddings(1, store_->Put("torn").value());
  EXPECT_FALSE(Cover(work).ok());
  work.set_embeddings(1, std::string(64, 'a'));
  EXPECT_THAT(std::string(Cover(work).status().message()), HasSubstr(work.embeddings(1)));
}

}  // namespace
}  // namespace rsidiff::worker
