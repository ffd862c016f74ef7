#include "worker/tensor/device.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

TEST(DeviceTest, ParsesDevices) {
  EXPECT_EQ(ParseDevice("cpu").value(), c10::Device(c10::kCPU));
  EXPECT_TRUE(ParseDevice("auto").ok());
  EXPECT_EQ(ParseDevice("cuda:127").status().code(), absl::StatusCode::kUnavailable);
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:128", "cuda0", "cpu:0"}) {
    EXPECT_EQ(ParseDevice(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(DeviceTest, ParsesPrecisions) {
  for (const char* text : {"fp32", "bf16", "fp16"})
    EXPECT_EQ(PrecisionName(ParsePrecision(text).value()), text);
  EXPECT_THAT(ParsePrecision("fp64").status().message(), HasSubstr("fp64"));
}

TEST(DeviceTest, DescriptionNamesThreadsAndLibrary) {
  ConfigureProcess(2);
  EXPECT_THAT(EnvironmentDescription(), HasSubstr("torch 2."));
  EXPECT_THAT(EnvironmentDescription(), HasSubstr("2 threads"));
  ConfigureProcess(1);
  EXPECT_THAT(EnvironmentDescription(), HasSubstr("1 thread"));
}

}  // namespace
}  // namespace rsidiff::worker
