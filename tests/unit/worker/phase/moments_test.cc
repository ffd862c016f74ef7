#include "worker/phase/moments.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

void ExpectClose(const Moments& moments, const Moments& expected) {
  EXPECT_EQ(moments.count, expected.count);
  EXPECT_TRUE(at::allclose(moments.mean, expected.mean, 1e-12, 1e-14));
  EXPECT_TRUE(at::allclose(moments.scatter, expected.scatter, 1e-11, 1e-14));
  EXPECT_TRUE(at::allclose(moments.third, expected.third, 1e-10, 1e-14));
  EXPECT_NEAR(moments.fourth, expected.fourth, 1e-11 * expected.fourth);
}

TEST(MomentsTest, SetsAddUpInAnyGrouping) {
  at::manual_seed(1);
  // Far from the origin, where sums of the rows themselves would cancel.
  const at::Tensor rows = at::randn({60, 5}, at::kDouble) * 1e-3 + 1.0;
  const Moments whole = *ComputeMoments(rows);
  std::vector<Moments> parts;
  for (auto [begin, count] : {std::pair{0, 1}, {1, 30}, {31, 29}}) {
    parts.push_back(*ComputeMoments(rows.narrow(0, begin, count)));
  }
  ExpectClose(*MergeMoments(parts), whole);
  const Moments first = *MergeMoments({parts[0], parts[1]});
  ExpectClose(*MergeMoments({first, parts[2]}), whole);
  ExpectClose(*MergeMoments({parts[2], first}), whole);
}

TEST(MomentsTest, SurviveTheirFile) {
  at::manual_seed(2);
  const Moments moments = *ComputeMoments(at::randn({9, 4}));
  auto tensors = ParseSafetensors(*SerializeSafetensors(MomentsTensors(moments), {}), "moments");
  ASSERT_TRUE(tensors.ok());
  auto read = ParseMoments(*tensors, "moments");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal(read->scatter, moments.scatter) && at::equal(read->third, moments.third));
  EXPECT_EQ(read->fourth, moments.fourth);
  EXPECT_EQ(read->count, 9);
}

TEST(MomentsTest, RefusesRowsThatAreNone) {
  EXPECT_THAT(std::string(ComputeMoments(at::ones({0, 3})).status().message()), HasSubstr("0 rows"));
  EXPECT_THAT(std::string(ComputeMoments(at::ones({3})).status().message()), HasSubstr("1 dimensions"));
  at::Tensor bad = at::ones({2, 3});
  bad[1][2] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(std::string(ComputeMoments(bad).status().message()), HasSubstr("not finite"));
  EXPECT_THAT(std::string(MergeMoments({}).status().message()), HasSubstr("no moments"));
  EXPECT_THAT(std::string(MergeMoments({*ComputeMoments(at::ones({2, 3})), *ComputeMoments(at::ones({2, 4}))})
                              .status()
                              .message()),
              HasSubstr("moments 1 have row length 4"));
}

TEST(MomentsTest, ParseRefusesTensorsThatDoNotFit) {
  NamedTensors tensors = MomentsTensors(*ComputeMoments(at::randn({9, 4})));
  for (size_t i = 0; i < tensors.size(); ++i) {
    NamedTensors missing = tensors;
    missing.erase(missing.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_THAT(std::string(ParseMoments(missing, "artifact x").status().message()),
                HasSubstr("artifact x is no moments"));
    NamedTensors other = tensors;
    other[i].second = at::zeros({7, 7, 7}, at::kDouble);
    EXPECT_FALSE(ParseMoments(other, "x").ok());
    NamedTensors infinite = tensors;
    infinite[i].second = at::full_like(tensors[i].second, std::numeric_limits<double>::infinity());
    EXPECT_FALSE(ParseMoments(infinite, "x").ok()) << tensors[i].first;
  }
}

}  // namespace
}  // namespace rsidiff::worker
