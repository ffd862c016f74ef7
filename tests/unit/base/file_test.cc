#include "common/base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"

namespace rsidiff {
namespace {
namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(CreateFolders(folder_).ok()); }
  void TearDown() override { fs::remove_all(folder_); }

  std::ptrdiff_t FileCount() const { return std::distance(fs::directory_iterator(folder_), {}); }

  const fs::path folder_ = fs::path(testing::TempDir()) / RandomId();
};

TEST_F(FileTest, WritesAndReadsBytes) {
  std::string bytes("a\0b\n", 4);
  ASSERT_TRUE(WriteFileAtomically(folder_ / "f", bytes).ok());
  EXPECT_EQ(*ReadFile(folder_ / "f"), bytes);
}

TEST_F(FileTest, ReplacesTheWholeFileAndLeavesNothingBeside) {
  ASSERT_TRUE(WriteFileAtomically(folder_ / "f", std::string(100'000, 'x')).ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ / "f", "short").ok());
  EXPECT_EQ(*ReadFile(folder_ / "f"), "short");
  EXPECT_EQ(FileCount(), 1);
}

TEST_F(FileTest, WhatAKilledProcessOfTheSameIdLeftIsNotInTheWay) {
  for (int i = 0; i < 1000; ++i) std::ofstream(folder_ / absl::StrCat("f.tmp-", getpid(), "-", i)).put('x');
  const absl::Status written = WriteFileAtomically(folder_ / "f", "new");
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_EQ(*ReadFile(folder_ / "f"), "new");
}

TEST_F(FileTest, MissingFileIsNotFoundAndNamesThePath) {
  absl::Status status = ReadFile(folder_ / "nothing").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_TRUE(absl::StrContains(status.message(), (folder_ / "nothing").string())) << status;
}

TEST_F(FileTest, FailedWriteKeepsTheOldContents) {
  ASSERT_TRUE(WriteFileAtomically(folder_ / "f", "old").ok());
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  absl::Status status = WriteFileAtomically(folder_ / "f", std::string(5000, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(*ReadFile(folder_ / "f"), "old");
  EXPECT_EQ(FileCount(), 1);
}

TEST_F(FileTest, ErrnoBecomesACode) {
  EXPECT_TRUE(absl::IsResourceExhausted(ErrnoStatus(ENOSPC, "x")));
  EXPECT_TRUE(absl::IsResourceExhausted(ErrnoStatus(EDQUOT, "x")));
  EXPECT_TRUE(absl::IsResourceExhausted(ErrnoStatus(EFBIG, "x")));
  EXPECT_TRUE(absl::IsNotFound(ErrnoStatus(ENOENT, "x")));
  EXPECT_TRUE(absl::IsPermissionDenied(ErrnoStatus(EACCES, "x")));
  EXPECT_EQ(ErrnoStatus(ENOENT, "cannot open f").message(), "cannot open f: No such file or directory");
}

TEST_F(FileTest, FolderUnderAFileIsAnError) {
  ASSERT_TRUE(WriteFileAtomically(folder_ / "f", "").ok());
  EXPECT_FALSE(CreateFolders(folder_ / "f" / "sub").ok());
}

}  // namespace
}  // namespace rsidiff
