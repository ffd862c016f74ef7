#include "coordinator/schedule/fork_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;
using Change = std::function<void(v1::RunSpec&)>;

v1::RunSpec Parent() {
  v1::RunSpec spec;
  spec.set_seed(7);
  spec.set_rounds(4);
  spec.mutable_model()->set_path("/base");
  spec.add_scorers()->set_name("clip");
  spec.mutable_sampling()->set_steps(20);
  spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_GAUSSIAN);
  spec.mutable_weights()->set_features("clip");
  spec.mutable_train()->set_method(v1::TRAIN_METHOD_FULL);
  spec.mutable_train()->set_replay(0);
  return spec;
}

absl::StatusOr<v1::RunSpec> Fork(const v1::RunSpec& parent, uint32_t from_round, const Change& change) {
  v1::ForkRunRequest request;
  request.set_from_round(from_round);
  *request.mutable_spec() = parent;
  change(*request.mutable_spec());
  return ForkSpec(parent, request);
}

TEST(ForkSpecTest, IsTheParentsWithTheNumberOfRoundsAsked) {
  v1::ForkRunRequest request;
  request.set_from_round(2);
  EXPECT_EQ(ForkSpec(Parent(), request)->rounds(), 4u);
  EXPECT_EQ(ForkSpec(Parent(), request)->seed(), 7u);
  request.set_rounds(9);
  EXPECT_EQ(ForkSpec(Parent(), request)->rounds(), 9u);
  request.set_rounds(2);
  EXPECT_EQ(ForkSpec(Parent(), request).status().message(),
            "rounds has to be greater than from_round, which is 2: 2");
}

TEST(ForkSpecTest, WhatNoSharedRoundDependsOnMayChange) {
  const Change changes[] = {
      [](v1::RunSpec& spec) { spec.set_name("other"); },
      [](v1::RunSpec& spec) { spec.set_seed(8); },
      [](v1::RunSpec& spec) { spec.set_rounds(12); },
      [](v1::RunSpec& spec) { spec.mutable_sampling()->set_steps(50); },
      [](v1::RunSpec& spec) { spec.mutable_sampling()->set_guidance_scale(3); },
      [](v1::RunSpec& spec) { spec.mutable_sampling()->set_samples_per_prompt(9); },
      [](v1::RunSpec& spec) { spec.mutable_selection()->set_keep(2); },
      [](v1::RunSpec& spec) { spec.mutable_weights()->set_penalty(2); },
      [](v1::RunSpec& spec) { spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_UNIFORM); },
      [](v1::RunSpec& spec) { spec.mutable_train()->set_learning_rate(1e-3); },
      [](v1::RunSpec& spec) { spec.mutable_stop()->set_patience(2); },
      [](v1::RunSpec& spec) { spec.mutable_stop()->set_roll_back_after(1); },
  };
  for (const Change& change : changes) {
    v1::RunSpec expected = Parent();
    change(expected);
    const absl::StatusOr<v1::RunSpec> spec = Fork(Parent(), 2, change);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->DebugString(), expected.DebugString());
  }
}

TEST(ForkSpecTest, WhatSharedRoundsWereMadeWithMayNot) {
  const std::pair<const char*, Change> changes[] = {
      {"model.path", [](v1::RunSpec& spec) { spec.mutable_model()->set_path("/other"); }},
      {"scorers", [](v1::RunSpec& spec) { spec.add_scorers()->set_name("hps"); }},
      {"scorers[0].role",
       [](v1::RunSpec& spec) { spec.mutable_scorers(0)->set_role(v1::SCORER_ROLE_HELD_OUT); }},
      {"prompts.train", [](v1::RunSpec& spec) { spec.mutable_prompts()->add_train("x.txt"); }},
      {"evaluation.steps", [](v1::RunSpec& spec) { spec.mutable_evaluation()->set_steps(3); }},
      {"sampling.width", [](v1::RunSpec& spec) { spec.mutable_sampling()->set_width(64); }},
      {"workers.threads", [](v1::RunSpec& spec) { spec.mutable_workers()->set_threads(8); }},
  };
  for (uint32_t from_round : {0, 2}) {
    for (const auto& [key, change] : changes) {
      const absl::Status status = Fork(Parent(), from_round, change).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
      const absl::string_view section = absl::string_view(key).substr(0, absl::string_view(key).find('.'));
      EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(section))) << key;
    }
  }
}

TEST(ForkSpecTest, AKeyThatTheParentsSpecLacksMayBeOff) {
  v1::RunSpec parent = Parent();
  parent.mutable_prompts()->mutable_filter()->set_clarity(0.7);
  const auto with_distance = [](double distance) {
    return [distance](v1::RunSpec& spec) {
      spec.mutable_prompts()->mutable_filter()->set_embedding_distance(distance);
    };
  };
  EXPECT_TRUE(Fork(parent, 2, with_distance(0)).ok());
  EXPECT_FALSE(Fork(parent, 2, with_distance(0.1)).ok());
}

TEST(ForkSpecTest, CheckpointAndReferenceOfASharedRoundOneStay) {
  v1::RunSpec uniform = Parent();
  uniform.mutable_weights()->set_method(v1::WEIGHT_METHOD_UNIFORM);
  v1::RunSpec knn = Parent();
  knn.mutable_weights()->set_method(v1::WEIGHT_METHOD_KNN);
  struct Case {
    const char* key;
    v1::RunSpec parent;
    Change change;
  };
  const Case cases[] = {
      {"train.method", Parent(),
       [](v1::RunSpec& spec) { spec.mutable_train()->set_method(v1::TRAIN_METHOD_LORA); }},
      {"train.lora", Parent(), [](v1::RunSpec& spec) { spec.mutable_train()->mutable_lora()->set_rank(8); }},
      {"train.replay", Parent(), [](v1::RunSpec& spec) { spec.mutable_train()->set_replay(0.5); }},
      {"weights.method", Parent(),
       [](v1::RunSpec& spec) { spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_KNN); }},
      {"weights.method", uniform,
       [](v1::RunSpec& spec) { spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_GAUSSIAN); }},
      {"weights.features", Parent(),
       [](v1::RunSpec& spec) { spec.mutable_weights()->set_features("other"); }},
      {"weights.neighbours", knn, [](v1::RunSpec& spec) { spec.mutable_weights()->set_neighbours(9); }},
  };
  for (const Case& tried : cases) {
    const absl::Status status = Fork(tried.parent, 1, tried.change).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(tried.key));
    EXPECT_TRUE(Fork(tried.parent, 0, tried.change).ok()) << "round 1 is the fork's own: " << tried.key;
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
