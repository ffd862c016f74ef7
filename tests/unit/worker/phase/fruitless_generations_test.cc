#include "worker/phase/fruitless_generations.h"

#include <utility>

#include <gtest/gtest.h>

namespace rsidiff::worker {
namespace {

constexpr int kLimit = FruitlessGenerations::kLimit;

TEST(FruitlessGenerationsTest, OnlySoManyInARowAreTooMany) {
  FruitlessGenerations generations;
  for (int i = 1; i < kLimit; ++i) {
    generations.Ended(/*steps=*/0, /*gone=*/0);
    EXPECT_EQ(generations.count(), i);
    EXPECT_FALSE(generations.too_many());
  }
  generations.Ended(0, 0);
  EXPECT_TRUE(generations.too_many());
}

TEST(FruitlessGenerationsTest, AStepOrADeadMemberBeginsTheCountAgain) {
  for (const auto& [steps, gone] : {std::pair{1, 0}, {0, 1}, {3, 2}}) {
    FruitlessGenerations generations;
    for (int i = 1; i < kLimit; ++i) generations.Ended(0, 0);
    generations.Ended(static_cast<uint64_t>(steps), static_cast<size_t>(gone));
    EXPECT_EQ(generations.count(), 0);
    for (int i = 1; i < kLimit; ++i) generations.Ended(0, 0);
    EXPECT_FALSE(generations.too_many());
  }
}

}  // namespace
}  // namespace rsidiff::worker
