#include "worker/phase/spec_settings.h"

#include <string>

#include <gtest/gtest.h>

#include "common/config/spec_reader.h"
#include "common/scorer/scorer_family.h"

namespace rsidiff::worker {
namespace {

rsidiff::ScorerFamily InTheRunFile(ScorerFamily family) {
  switch (family) {
    case ScorerFamily::kClip:
      return rsidiff::ScorerFamily::kClip;
    case ScorerFamily::kAesthetic:
      return rsidiff::ScorerFamily::kAesthetic;
    case ScorerFamily::kBlipReward:
      return rsidiff::ScorerFamily::kBlipReward;
  }
  return rsidiff::ScorerFamily::kUnknown;
}

TEST(SpecSettingsTest, AScorerTypeIsTheSameToTheRunFileAndToTheWorker) {
  const google::protobuf::EnumDescriptor& types = *v1::ScorerType_descriptor();
  for (int i = 0; i < types.value_count(); ++i) {
    const auto type = static_cast<v1::ScorerType>(types.value(i)->number());
    if (type == v1::SCORER_TYPE_UNSPECIFIED) continue;
    const std::string name = EnumName(*types.value(i));
    const absl::StatusOr<ScorerType> ours = ScorerTypeOf(type);
    ASSERT_TRUE(ours.ok()) << name << ": " << ours.status();
    EXPECT_EQ(ScorerTypeName(*ours), name);
    EXPECT_EQ(InTheRunFile(FamilyOf(*ours)), rsidiff::FamilyOf(type)) << name;
  }
}

TEST(SpecSettingsTest, ATypeOfANewerCoordinatorIsAnError) {
  const auto newer = static_cast<v1::ScorerType>(v1::ScorerType_MAX + 1);
  EXPECT_EQ(ScorerTypeOf(newer).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace rsidiff::worker
