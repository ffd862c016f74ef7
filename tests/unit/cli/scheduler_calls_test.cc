#include "coordinator/cli/scheduler_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/file.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SchedulerCallsTest : public ::testing::Test {
 protected:
  SchedulerCallsTest() { fs::remove_all(model_); }
  ~SchedulerCallsTest() override { fs::remove_all(model_); }

  // UNet calls in 50 steps with this scheduler_config.json.
  uint64_t Calls(v1::SchedulerType type, const std::string& config) {
    EXPECT_TRUE(CreateFolders(model_ / "scheduler").ok());
    EXPECT_TRUE(WriteFileAtomically(model_ / "scheduler/scheduler_config.json", config).ok());
    const auto pattern = ReadCallPattern(type, model_);
    EXPECT_TRUE(pattern.ok()) << pattern.status();
    return pattern.ok() ? CallsOf(*pattern, 50) : 0;
  }

  const fs::path model_ = fs::path(::testing::TempDir()) / "scheduler_calls_test";
};

constexpr char kPlmsConfig[] = R"({"_class_name": "PNDMScheduler", "skip_prk_steps": true})";
constexpr char kPrkConfig[] = R"({"_class_name": "PNDMScheduler", "skip_prk_steps": null})";

TEST_F(SchedulerCallsTest, OneAStepButForPndm) {
  for (const v1::SchedulerType type :
       {v1::SCHEDULER_TYPE_DDIM, v1::SCHEDULER_TYPE_EULER, v1::SCHEDULER_TYPE_DPMSOLVERPP}) {
    EXPECT_EQ(Calls(type, kPlmsConfig), 50) << type;
  }
  EXPECT_EQ(Calls(v1::SCHEDULER_TYPE_PNDM, kPlmsConfig), 51);
  EXPECT_EQ(Calls(v1::SCHEDULER_TYPE_PNDM, kPrkConfig), 59);
}

TEST_F(SchedulerCallsTest, TheModelsOwnSchedulerIsReadFromItsFolder) {
  constexpr v1::SchedulerType kOwn = v1::SCHEDULER_TYPE_UNSPECIFIED;
  EXPECT_EQ(Calls(kOwn, kPlmsConfig), 51);
  EXPECT_EQ(Calls(kOwn, kPrkConfig), 59);
  EXPECT_EQ(Calls(kOwn, R"({"_class_name": "DDIMScheduler", "skip_prk_steps": true})"), 50);
  EXPECT_EQ(Calls(kOwn, R"({"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity})"),
            50);
}

TEST_F(SchedulerCallsTest, ATrajectoryOfOneStepRepeatsNothing) {
  EXPECT_EQ(CallsOf(CallPattern::kPlms, 1), 1);
  EXPECT_EQ(CallsOf(CallPattern::kPlms, 2), 3);
  EXPECT_EQ(CallsOf(CallPattern::kRungeKutta, 4), 13);
}

TEST_F(SchedulerCallsTest, NamesTheFileThatIsNoConfiguration) {
  const auto missing = ReadCallPattern(v1::SCHEDULER_TYPE_PNDM, model_);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(CreateFolders(model_ / "scheduler").ok());
  ASSERT_TRUE(WriteFileAtomically(model_ / "scheduler/scheduler_config.json", "[]").ok());
  const auto wrong = ReadCallPattern(v1::SCHEDULER_TYPE_UNSPECIFIED, model_);
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("scheduler/scheduler_config.json"));
}

}  // namespace
}  // namespace rsidiff::coordinator
