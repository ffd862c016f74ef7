#include "worker/tensor/file_pages.h"

#include <unistd.h>

#include <ATen/ATen.h>

#include "gtest/gtest.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

// A tensor of a mapped file, of a number of pages and a bit.
class FilePagesTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = testing::TempDir() + "/file_pages.safetensors";
    before_ = at::randn({3, 5000});
    ASSERT_TRUE(WriteSafetensors(path, {{"before", at::randn({100})}, {"weight", before_}}, {}).ok());
    absl::StatusOr<std::shared_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    tensor_ = (*file)->Get("weight").value();
    if (access("/proc/self/pagemap", R_OK) != 0) GTEST_SKIP() << "this kernel has no /proc/self/pagemap";
  }

  const int64_t page_ = sysconf(_SC_PAGESIZE);
  at::Tensor before_, tensor_;
};

TEST_F(FilePagesTest, WhatIsLetGoIsReadAgain) {
  ASSERT_TRUE(tensor_.equal(before_));
  const int64_t bytes = ReleaseFilePages(tensor_);
  EXPECT_GT(bytes, static_cast<int64_t>(tensor_.nbytes()) - 2 * page_);
  EXPECT_LE(bytes, static_cast<int64_t>(tensor_.nbytes()));
  EXPECT_TRUE(tensor_.equal(before_));
  EXPECT_EQ(ReleaseFilePages(tensor_.t()), bytes) << "the same bytes in another order";
}

TEST_F(FilePagesTest, WhatWasWrittenToStays) {
  tensor_[1][2500] = 7;
  EXPECT_EQ(ReleaseFilePages(tensor_), 0);
  before_[1][2500] = 7;
  EXPECT_TRUE(tensor_.equal(before_));
}

TEST_F(FilePagesTest, AllocatedMemoryAndLessThanAPageStay) {
  const at::Tensor allocated = before_.clone();
  EXPECT_EQ(ReleaseFilePages(allocated), 0);
  EXPECT_TRUE(allocated.equal(before_));
  EXPECT_EQ(ReleaseFilePages(tensor_[0].narrow(0, 0, 10)), 0);
  EXPECT_EQ(ReleaseFilePages(tensor_.narrow(1, 0, 4000)), 0) << "rows with gaps between them";
  EXPECT_EQ(ReleaseFilePages(at::empty({0})), 0);
  EXPECT_TRUE(tensor_.equal(before_));
}

}  // namespace
}  // namespace rsidiff::worker
