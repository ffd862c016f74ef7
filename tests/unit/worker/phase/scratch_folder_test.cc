#include "worker/phase/scratch_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>

#include <gtest/gtest.h>

#include "common/base/digest.h"
#include "common/base/file.h"

namespace rsidiff::worker {
namespace {

class ScratchFolderTest : public ::testing::Test {
 protected:
  ~ScratchFolderTest() override { std::filesystem::remove_all(parent_); }

  std::ptrdiff_t Folders() const {
    std::ptrdiff_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(parent_)) count += entry.is_directory();
    return count;
  }

  const std::filesystem::path parent_ = std::filesystem::path(::testing::TempDir()) / RandomId();
};

TEST_F(ScratchFolderTest, EachHasItsOwnAndItGoesWithIt) {
  auto one = ScratchFolder::Create(parent_);
  auto two = ScratchFolder::Create(parent_);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE((*one)->path(), (*two)->path());
  ASSERT_TRUE(WriteFileAtomically((*one)->path() / "state", "values").ok());
  one->reset();
  EXPECT_EQ(Folders(), 1);
  EXPECT_TRUE(std::filesystem::is_directory((*two)->path()));
}

TEST_F(ScratchFolderTest, WhatAKilledProcessLeftIsRemovedAndWhatALivingOneHasIsNot) {
  auto living = ScratchFolder::Create(parent_);
  ASSERT_TRUE(living.ok()) << living.status();
  ASSERT_TRUE(WriteFileAtomically((*living)->path() / "state", "values").ok());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto killed = ScratchFolder::Create(parent_);
    if (killed.ok() && WriteFileAtomically((*killed)->path() / "state", "values").ok()) raise(SIGKILL);
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(Folders(), 2);

  auto next = ScratchFolder::Create(parent_);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(Folders(), 2);
  EXPECT_EQ(ReadFile((*living)->path() / "state").value(), "values");
  EXPECT_TRUE(std::filesystem::is_empty((*next)->path()));
}

TEST_F(ScratchFolderTest, ScratchFilesGoWithTheirObjects) {
  auto folder = ScratchFolder::Create(parent_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  {
    const ScratchFile file((*folder)->path());
    ASSERT_TRUE(WriteFileAtomically(file.path(), "values").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty((*folder)->path()));
}

TEST_F(ScratchFolderTest, AParentThatIsAFileIsNamed) {
  ASSERT_TRUE(WriteFileAtomically(parent_, "a file").ok());
  const absl::Status status = ScratchFolder::Create(parent_).status();
  EXPECT_NE(status.message().find(parent_.string()), std::string::npos) << status;
}

}  // namespace
}  // namespace rsidiff::worker
