#include "common/artifact/directory_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "absl/strings/match.h"
#include "common/artifact/artifact_writer.h"
#include "common/base/digest.h"
#include "common/base/file.h"

namespace rsidiff {
namespace {
namespace fs = std::filesystem;

// Another one when a file was written anew.
ino_t Inode(const fs::path& file) {
  struct stat found = {};
  EXPECT_EQ(stat(file.c_str(), &found), 0) << file;
  return found.st_ino;
}

void MakeOlder(const fs::path& file, std::chrono::hours age) {
  fs::last_write_time(file, fs::file_time_type::clock::now() - age);
}

bool IsYoung(const fs::path& file) {
  return fs::last_write_time(file) > fs::file_time_type::clock::now() - std::chrono::hours(1);
}

class DirectoryStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    auto store = DirectoryStore::Open(folder_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::ptrdiff_t TemporaryFiles() const { return std::distance(fs::directory_iterator(folder_ / "tmp"), {}); }

  const fs::path folder_ = fs::path(testing::TempDir()) / RandomId();
  std::unique_ptr<DirectoryStore> store_;
};

TEST_F(DirectoryStoreTest, GivesBackWhatWasPut) {
  for (const std::string& bytes : {std::string(), std::string("x"), std::string(3 << 20, 'y')}) {
    auto digest = store_->Put(bytes);
    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_EQ(*digest, Sha256Hex(bytes));
    EXPECT_EQ(*store_->Get(*digest), bytes);
    EXPECT_EQ(*ReadFile(*store_->LocalPath(*digest)), bytes);
    EXPECT_TRUE(*store_->Contains(*digest));
  }
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(DirectoryStoreTest, PutFileCopiesOnceAndAgreesWithPut) {
  std::string bytes((1 << 20) + 17, 'z');
  ASSERT_TRUE(WriteFileAtomically(folder_ / "source", bytes).ok());
  EXPECT_EQ(*store_->PutFile(folder_ / "source"), Sha256Hex(bytes));
  const ino_t stored = Inode(*store_->LocalPath(Sha256Hex(bytes)));
  EXPECT_EQ(*store_->PutFile(folder_ / "source"), *store_->Put(bytes));
  EXPECT_EQ(Inode(*store_->LocalPath(Sha256Hex(bytes))), stored);
  EXPECT_TRUE(absl::IsNotFound(store_->PutFile(folder_ / "none").status()));
}

TEST_F(DirectoryStoreTest, HostileDigestsNeverBecomePaths) {
  for (const std::string& digest : {std::string("../../etc/passwd"), std::string(), std::string("probe"),
                                    std::string(64, '.'), std::string(63, 'a') + "/"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(store_->Get(digest).status())) << digest;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->LocalPath(digest).status())) << digest;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->Contains(digest).status())) << digest;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->Remove(digest))) << digest;
    EXPECT_FALSE(store_->IsSound(digest)) << digest;
  }
}

TEST_F(DirectoryStoreTest, MissingAndDamagedArtifactsAreToldApart) {
  std::string digest = Sha256Hex("missing");
  absl::Status missing = store_->Get(digest).status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_TRUE(absl::StrContains(missing.message(), digest));

  std::string damaged = *store_->Put("good bytes");
  ASSERT_TRUE(WriteFileAtomically(*store_->LocalPath(damaged), "bad bytes").ok());
  EXPECT_TRUE(absl::IsDataLoss(store_->Get(damaged).status()));
  ASSERT_TRUE(store_->Remove(damaged).ok());
  EXPECT_FALSE(*store_->Contains(damaged));
  EXPECT_TRUE(store_->Remove(damaged).ok());
  EXPECT_EQ(*store_->Get(*store_->Put("good bytes")), "good bytes");
}

TEST_F(DirectoryStoreTest, PuttingAgainMendsADamagedArtifact) {
  const std::string bytes(100'000, 'b');
  const std::string digest = *store_->Put(bytes);
  const fs::path file = *store_->LocalPath(digest);
  ASSERT_TRUE(WriteFileAtomically(folder_ / "source", bytes).ok());
  std::string flipped = bytes;
  flipped.back() ^= 1;
  for (const std::string& damage : {std::string(), bytes.substr(0, 50'000), bytes + "more", flipped}) {
    ASSERT_TRUE(WriteFileAtomically(file, damage).ok());
    EXPECT_FALSE(store_->IsSound(digest));
    EXPECT_EQ(*store_->Put(bytes), digest);
    EXPECT_EQ(*store_->Get(digest), bytes);
    ASSERT_TRUE(WriteFileAtomically(file, damage).ok());
    EXPECT_EQ(*store_->PutFile(folder_ / "source"), digest);
    EXPECT_EQ(*store_->Get(digest), bytes);
    EXPECT_TRUE(store_->IsSound(digest));
  }
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(DirectoryStoreTest, PuttingAgainMakesYoung) {
  const std::string digest = *store_->Put("bytes");
  const fs::path file = *store_->LocalPath(digest);
  ASSERT_TRUE(WriteFileAtomically(folder_ / "source", "bytes").ok());
  MakeOlder(file, std::chrono::hours(30));
  EXPECT_TRUE(store_->IsSound(digest));
  EXPECT_EQ(*store_->Get(digest), "bytes");
  EXPECT_FALSE(IsYoung(file));
  EXPECT_EQ(*store_->Put("bytes"), digest);
  EXPECT_TRUE(IsYoung(file));
  MakeOlder(file, std::chrono::hours(30));
  EXPECT_EQ(*store_->PutFile(folder_ / "source"), digest);
  EXPECT_TRUE(IsYoung(file));
  MakeOlder(file, std::chrono::hours(30));
  EXPECT_TRUE(store_->Renew(digest));
  EXPECT_TRUE(IsYoung(file));
}

TEST_F(DirectoryStoreTest, AFolderThatWasClearedTakesArtifacts) {
  fs::remove_all(folder_);
  EXPECT_EQ(*store_->Get(*store_->Put("bytes")), "bytes");
}

TEST_F(DirectoryStoreTest, OnlyWhatIsThereAndSoundIsRenewed) {
  EXPECT_FALSE(store_->Renew(Sha256Hex("missing")));
  EXPECT_FALSE(store_->Renew("../probe"));
  const std::string digest = *store_->Put("bytes");
  ASSERT_TRUE(WriteFileAtomically(*store_->LocalPath(digest), "other").ok());
  EXPECT_FALSE(store_->Renew(digest));
}

TEST_F(DirectoryStoreTest, VisitTellsOfAFolderThatItCannotList) {
  const std::string digest = *store_->Put("bytes");
  size_t found = 0;
  auto count = [&found](const StoredArtifact& artifact) {
    found += artifact.bytes == 5;
    return absl::OkStatus();
  };
  EXPECT_TRUE(store_->Visit(count).ok());
  EXPECT_EQ(found, 1u);
  // One descriptor is left: for the store's own folder, and none for a folder in it.
  const int next = open("/dev/null", O_RDONLY);
  ASSERT_GE(next, 0);
  close(next);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = next + 1;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const absl::Status visited = store_->Visit(count);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_FALSE(visited.ok());
  EXPECT_TRUE(absl::StrContains(visited.message(), (folder_ / digest.substr(0, 2)).string())) << visited;
  EXPECT_EQ(found, 1u);
}

TEST_F(DirectoryStoreTest, WriterStoresOnlyTheRightDigest) {
  auto writer = ArtifactWriter::Open(store_.get());
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->Append("ab").ok());
  ASSERT_TRUE(writer->Append("c").ok());
  EXPECT_EQ(writer->size(), 3u);
  EXPECT_TRUE(writer->CommitAs(Sha256Hex("abc")).ok());
  EXPECT_EQ(*store_->Get(Sha256Hex("abc")), "abc");

  auto wrong = ArtifactWriter::Open(store_.get());
  ASSERT_TRUE(wrong->Append("abd").ok());
  EXPECT_TRUE(absl::IsDataLoss(wrong->CommitAs(Sha256Hex("something else"))));
  EXPECT_FALSE(*store_->Contains(Sha256Hex("abd")));
  EXPECT_FALSE(*store_->Contains(Sha256Hex("something else")));
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(DirectoryStoreTest, AbandonedWriterLeavesNothing) {
  {
    auto writer = ArtifactWriter::Open(store_.get());
    ASSERT_TRUE(writer->Append("half").ok());
    EXPECT_EQ(TemporaryFiles(), 1);
  }
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(DirectoryStoreTest, FullDiskIsAnErrorAndLeavesNothing) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  absl::Status put = store_->Put(std::string(5000, 'x')).status();
  EXPECT_EQ(TemporaryFiles(), 0);
  auto writer = ArtifactWriter::Open(store_.get());
  absl::Status append = writer->Append(std::string(5000, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_FALSE(put.ok());
  EXPECT_FALSE(append.ok());
  EXPECT_FALSE(*store_->Contains(Sha256Hex(std::string(5000, 'x'))));
}

TEST_F(DirectoryStoreTest, OpenRemovesOnlyOldTemporaryFiles) {
  fs::path old = store_->TemporaryPath();
  fs::path fresh = store_->TemporaryPath();
  ASSERT_TRUE(WriteFileAtomically(old, "").ok());
  ASSERT_TRUE(WriteFileAtomically(fresh, "").ok());
  MakeOlder(old, std::chrono::hours(25));
  ASSERT_TRUE(DirectoryStore::Open(folder_).ok());
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(fresh));
}

TEST_F(DirectoryStoreTest, OpenExistingRemovesAndMakesNothing) {
  const std::string digest = *store_->Put("bytes");
  const fs::path old = store_->TemporaryPath();
  ASSERT_TRUE(WriteFileAtomically(old, "").ok());
  MakeOlder(old, std::chrono::hours(25));
  auto existing = DirectoryStore::OpenExisting(folder_);
  ASSERT_TRUE(existing.ok()) << existing.status();
  EXPECT_EQ(*(*existing)->Get(digest), "bytes");
  EXPECT_TRUE((*existing)->Remove(digest).ok());
  EXPECT_FALSE(*store_->Contains(digest));
  EXPECT_TRUE(fs::exists(old));

  fs::create_directory(folder_ / "empty");
  EXPECT_TRUE(DirectoryStore::OpenExisting(folder_ / "empty").ok());
  EXPECT_TRUE(fs::is_empty(folder_ / "empty"));
  EXPECT_TRUE(absl::IsNotFound(DirectoryStore::OpenExisting(folder_ / "none").status()));
  EXPECT_FALSE(fs::exists(folder_ / "none"));
}

TEST_F(DirectoryStoreTest, ConcurrentPutsOfOneArtifactAgree) {
  std::string bytes(1 << 18, 'c');
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(*store_->Put(bytes), Sha256Hex(bytes)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*store_->Get(Sha256Hex(bytes)), bytes);
}

// GoogleTest runs it first: the list of faults is read at the first fault point that a process passes.
TEST(DirectoryStoreDeathTest, WhatAKillWithinPutLeavesIsRemovedLater) {
  const fs::path folder = fs::path(testing::TempDir()) / RandomId();
  auto store = *DirectoryStore::Open(folder);
  auto put = [&store] {
    setenv("RSIDIFF_FAULT", "artifact.received:1:kill", /*replace=*/1);
    store->Put("bytes").IgnoreError();
  };
  EXPECT_EXIT(put(), testing::KilledBySignal(SIGKILL), "");
  std::vector<fs::path> left;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) left.push_back(entry.path());
  }
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left.front().parent_path(), folder / "tmp");
  MakeOlder(left.front(), std::chrono::hours(25));
  ASSERT_TRUE(DirectoryStore::Open(folder).ok());
  EXPECT_FALSE(fs::exists(left.front()));
  fs::remove_all(folder);
}

TEST(DirectoryStore, UnusableFolderIsNamed) {
  absl::Status status = DirectoryStore::Open("/proc/rsidiff-no-such").status();
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(absl::StrContains(status.message(), "/proc/rsidiff-no-such")) << status;
}

}  // namespace
}  // namespace rsidiff
