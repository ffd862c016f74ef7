// The process group on a GPU: a group of one over NCCL, which is what one device can form. Skipped, with the
// reason, where there is no CUDA device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "absl/strings/str_cat.h"
#include "worker/tensor/device.h"
#include "worker/train/process_group.h"

namespace rsidiff::worker {
namespace {

using std::chrono::steady_clock;

constexpr absl::Duration kTimeout = absl::Seconds(30);

double SecondsSince(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

class NcclTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<c10::Device> device = ParseDevice("cuda:0");
    if (!device.ok()) GTEST_SKIP() << "NCCL needs a CUDA device: " << device.status().message();
    device_ = *device;
    auto store = StoreServer::Start();
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  /// A group of this process alone, under a prefix of its own.
  std::unique_ptr<ProcessGroup> Join(absl::Duration timeout = kTimeout) {
    ProcessGroupOptions options;
    options.store_host = "127.0.0.1";
    options.store_port = store_->port();
    options.prefix = absl::StrCat("group-", ++groups_);
    options.device = device_;
    options.timeout = timeout;
    auto group = ProcessGroup::Join(options);
    EXPECT_TRUE(group.ok()) << group.status();
    return group.ok() ? *std::move(group) : nullptr;
  }

  at::TensorOptions OnDevice() const { return at::TensorOptions().dtype(at::kFloat).device(device_); }

  /// Sums over `group`, and looks at the result on the host.
  void ExpectRightSum(ProcessGroup& group) {
    const at::Tensor given = at::arange(1 << 20, at::kFloat);
    at::Tensor tensor = given.to(device_);
    const absl::Status summed = group.Sum(tensor);
    ASSERT_TRUE(summed.ok()) << summed;
    EXPECT_TRUE(at::equal(tensor.cpu(), given));
  }

  /// Waits until the device has done everything.
  void Drain() { at::zeros({1}, OnDevice()).cpu(); }

  /// Gives the device matrix products to compute, about `seconds` of them, and does not wait.
  at::Tensor StartWork(double seconds) {
    at::Tensor matrix = at::full({8192, 8192}, 1.0 / 8192, OnDevice());
    at::Tensor product = at::matmul(matrix, matrix);
    Drain();
    const auto start = steady_clock::now();
    at::matmul_out(product, matrix, matrix);
    Drain();
    const int repeats = 1 + static_cast<int>(seconds / SecondsSince(start));
    for (int i = 0; i < repeats; ++i) at::matmul_out(product, matrix, matrix);
    return product;
  }

  /// Bytes of the device that nobody has allocated.
  int64_t FreeMemory() {
    c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device_.type());
    allocator->emptyCache();
    return static_cast<int64_t>(allocator->getMemoryInfo(device_.index()).first);
  }

  /// Bytes that this process' tensors hold.
  int64_t AllocatedByTensors() {
    const auto stats = c10::getDeviceAllocator(device_.type())->getDeviceStats(device_.index());
    return stats.allocated_bytes[0].current;
  }

  c10::Device device_ = c10::kCPU;
  std::unique_ptr<StoreServer> store_;
  int groups_ = 0;
};

int OpenDescriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) count += entry.exists();
  return count;
}

TEST_F(NcclTest, SumOfOneMemberIsItsOwn) {
  auto group = Join();
  ASSERT_NE(group, nullptr);
  EXPECT_EQ(group->world(), 1);
  ExpectRightSum(*group);
  at::Tensor received = at::ones({3}, OnDevice());
  EXPECT_TRUE(group->Broadcast(received, 0).ok());
  EXPECT_TRUE(at::equal(received.cpu(), at::ones({3})));
}

// The sum stands behind products of several seconds on the device, so it runs into the group's timeout; what
// follows is what a dead peer causes.
TEST_F(NcclTest, GroupIsAbortedDuringARunningOperation) {
  auto group = Join(absl::Milliseconds(500));
  ASSERT_NE(group, nullptr);
  at::Tensor product = StartWork(/*seconds=*/4);
  const absl::Status summed = group->Sum(product);
  EXPECT_EQ(summed.code(), absl::StatusCode::kUnavailable) << summed;
  const auto start = steady_clock::now();
  group.reset();
  const double seconds = SecondsSince(start);
  RecordProperty("abort_seconds", absl::StrCat(seconds));
  EXPECT_LT(seconds, 5.0);
  // Neither the device nor the process has taken harm.
  Drain();
  auto next = Join();
  ASSERT_NE(next, nullptr);
  ExpectRightSum(*next);
}

// A whole UNet's gradients are many sums; together they may take no longer to fail than one.
TEST_F(NcclTest, SumsUnderWayFailTogether) {
  constexpr int kSums = 8;
  auto group = Join(absl::Milliseconds(500));
  ASSERT_NE(group, nullptr);
  at::Tensor product = StartWork(/*seconds=*/10);
  std::vector<ProcessGroup::Pending> sums;
  for (int i = 0; i < kSums; ++i) {
    auto sum = group->StartSum(product);
    ASSERT_TRUE(sum.ok()) << sum.status();
    sums.push_back(*std::move(sum));
  }
  const auto start = steady_clock::now();
  for (const ProcessGroup::Pending& sum : sums) {
    EXPECT_EQ(group->Wait(sum).code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_LT(SecondsSince(start), 1.5);
}

TEST_F(NcclTest, FiftyGroupsAfterEachOtherLeaveNothingBehind) {
  constexpr int kWarmUp = 5;
  constexpr int kCycles = 50;
  // A leaked communicator holds several MiB; the driver moves less than that on its own.
  constexpr int64_t kSlack = int64_t{32} << 20;
  int64_t free_before = 0;
  int64_t allocated_before = 0;
  int descriptors_before = 0;
  for (int cycle = 0; cycle < kWarmUp + kCycles; ++cycle) {
    if (cycle == kWarmUp) {
      free_before = FreeMemory();
      allocated_before = AllocatedByTensors();
      descriptors_before = OpenDescriptors();
    }
    auto group = Join();
    ASSERT_NE(group, nullptr) << "cycle " << cycle;
    ExpectRightSum(*group);
  }
  EXPECT_EQ(AllocatedByTensors(), allocated_before);
  EXPECT_GT(FreeMemory(), free_before - kSlack);
  // The store closes the last connection when it sees that the other end did.
  for (int tries = 0; tries < 100 && OpenDescriptors() > descriptors_before; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_LE(OpenDescriptors(), descriptors_before);
}

}  // namespace
}  // namespace rsidiff::worker
