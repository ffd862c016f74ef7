#include "coordinator/state/judgement_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

std::vector<Judgement> SomeJudgements(size_t count) {
  std::vector<Judgement> judgements(count);
  for (size_t i = 0; i < count; ++i) {
    judgements[i].reward = std::sin(static_cast<double>(i));
    judgements[i].rank = static_cast<uint32_t>(i % 4);
    judgements[i].selected = i % 4 == 0;
    if (judgements[i].selected) judgements[i].distance = -0.5 * static_cast<double>(i);
    if (judgements[i].selected) judgements[i].weight = 1.0 / static_cast<double>(i + 1);
  }
  return judgements;
}

std::string ErrorOf(const v1::JudgementBlock& block) {
  return std::string(FromBlock(block).status().message());
}

TEST(JudgementBlockTest, ComesBackAsItWas) {
  for (size_t count : {size_t{1}, size_t{7}, size_t{kJudgementBlock}}) {
    const std::vector<Judgement> judgements = SomeJudgements(count);
    const auto back = FromBlock(ToBlock(judgements));
    ASSERT_TRUE(back.ok()) << back.status();
    ASSERT_EQ(back->size(), count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ((*back)[i].reward, judgements[i].reward);
      EXPECT_EQ((*back)[i].rank, judgements[i].rank);
      EXPECT_EQ((*back)[i].selected, judgements[i].selected);
      EXPECT_EQ((*back)[i].distance, judgements[i].distance);
      EXPECT_EQ((*back)[i].weight, judgements[i].weight);
    }
  }
}

TEST(JudgementBlockTest, LastBlockOfARoundIsShort) {
  const std::vector<Judgement> judgements = SomeJudgements(kJudgementBlock + 5);
  EXPECT_EQ(BlockOf(judgements, 0).size(), kJudgementBlock);
  EXPECT_EQ(BlockOf(judgements, 1).size(), 5u);
  EXPECT_EQ(BlockOf(judgements, 1)[0].reward, judgements[kJudgementBlock].reward);
  EXPECT_TRUE(BlockOf(judgements, 2).empty());
}

TEST(JudgementBlockTest, TornAndHostileBlocksAreRefused) {
  const v1::JudgementBlock sound = ToBlock(SomeJudgements(3));
  v1::JudgementBlock block = sound;
  block.add_rank(0);
  EXPECT_THAT(ErrorOf(block), HasSubstr("different lengths"));
  EXPECT_THAT(ErrorOf(v1::JudgementBlock()), HasSubstr("0 samples"));
  EXPECT_THAT(ErrorOf(ToBlock(SomeJudgements(kJudgementBlock + 1))), HasSubstr("1025 samples"));
  for (double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    block = sound;
    block.set_reward(1, bad);
    EXPECT_THAT(ErrorOf(block), HasSubstr("entry 1 is not finite"));
    block = sound;
    block.set_weight(2, bad);
    EXPECT_THAT(ErrorOf(block), HasSubstr("entry 2 is not finite"));
  }
  block = sound;
  block.set_distance(0, -std::numeric_limits<double>::infinity());
  EXPECT_THAT(ErrorOf(block), HasSubstr("entry 0 is not finite"));
}

}  // namespace
}  // namespace rsidiff::coordinator
