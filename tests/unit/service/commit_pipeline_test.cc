#include "coordinator/service/commit_pipeline.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"

namespace rsidiff::coordinator {
namespace {

StepResult StepOf(uint64_t id) {
  StepResult step;
  step.rows = {{Table::kTasks, "key", std::to_string(id)}};
  step.replies.push_back({id, Response(v1::CompleteResponse())});
  return step;
}

// Records what the pipeline does; the first write waits for `open`.
struct Recorder {
  absl::Notification open;
  absl::Notification writing;
  std::vector<std::vector<RowWrite>> writes;
  std::vector<Durability> durabilities;
  std::vector<uint64_t> released;
  std::vector<absl::Status> failures;
  absl::Status answer;

  CommitOptions Options() {
    CommitOptions options;
    options.write = [this](const std::vector<RowWrite>& rows, Durability durability) {
      if (!writing.HasBeenNotified()) writing.Notify();
      open.WaitForNotification();
      writes.push_back(rows);
      durabilities.push_back(durability);
      return answer;
    };
    options.release = [this](std::vector<Reply> replies) {
      for (const Reply& reply : replies) released.push_back(reply.id);
    };
    options.fail = [this](const absl::Status& status) { failures.push_back(status); };
    return options;
  }
};

TEST(CommitPipeline, MergesWhatWaitsAndKeepsTheOrder) {
  Recorder recorder;
  CommitPipeline pipeline(recorder.Options());
  pipeline.Submit(StepOf(1));
  recorder.writing.WaitForNotification();
  for (uint64_t id = 2; id <= 20; ++id) pipeline.Submit(StepOf(id));
  EXPECT_TRUE(recorder.released.empty());
  recorder.open.Notify();
  pipeline.Finish();
  ASSERT_EQ(recorder.writes.size(), 2u);
  ASSERT_EQ(recorder.writes[1].size(), 19u);
  EXPECT_EQ(*recorder.writes[1].back().value, "20");
  ASSERT_EQ(recorder.released.size(), 20u);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(recorder.released[i], i + 1);
}

TEST(CommitPipeline, FewRowsWaitForTheDisk) {
  Recorder recorder;
  CommitOptions options = recorder.Options();
  options.max_pending_rows = 3;
  CommitPipeline pipeline(std::move(options));
  pipeline.Submit(StepOf(1));
  recorder.writing.WaitForNotification();
  absl::Notification submitted;
  std::thread steps([&] {
    for (uint64_t id = 2; id <= 9; ++id) {
      StepResult step = StepOf(id);
      step.rows.push_back(step.rows.front());
      pipeline.Submit(std::move(step));
    }
    submitted.Notify();
  });
  EXPECT_FALSE(submitted.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
  recorder.open.Notify();
  steps.join();
  pipeline.Finish();
  for (const auto& rows : recorder.writes) EXPECT_LE(rows.size(), 4u);
  ASSERT_EQ(recorder.released.size(), 9u);
  for (uint64_t i = 0; i < 9; ++i) EXPECT_EQ(recorder.released[i], i + 1);
}

TEST(CommitPipeline, SyncsIfAnyStepAsksForIt) {
  Recorder recorder;
  CommitPipeline pipeline(recorder.Options());
  pipeline.Submit(StepOf(1));
  recorder.writing.WaitForNotification();
  StepResult synced = StepOf(3);
  synced.sync = true;
  pipeline.Submit(StepOf(2));
  pipeline.Submit(std::move(synced));
  pipeline.Submit(StepOf(4));
  recorder.open.Notify();
  pipeline.Finish();
  EXPECT_EQ(recorder.durabilities,
            (std::vector<Durability>{Durability::kProcessCrash, Durability::kPowerLoss}));
}

TEST(CommitPipeline, FailedWriteReleasesNothingEverAgain) {
  Recorder recorder;
  recorder.answer = absl::ResourceExhaustedError("disk full");
  CommitPipeline pipeline(recorder.Options());
  pipeline.Submit(StepOf(1));
  recorder.writing.WaitForNotification();
  pipeline.Submit(StepOf(2));
  recorder.open.Notify();
  pipeline.Finish();
  pipeline.Submit(StepOf(3));
  pipeline.Finish();
  EXPECT_EQ(recorder.writes.size(), 1u);
  EXPECT_TRUE(recorder.released.empty());
  ASSERT_EQ(recorder.failures.size(), 1u);
  EXPECT_TRUE(absl::IsResourceExhausted(recorder.failures[0]));
}

TEST(CommitPipeline, RepliesWithoutRowsNeedNoWriteButKeepTheirTurn) {
  Recorder recorder;
  CommitPipeline pipeline(recorder.Options());
  pipeline.Submit(StepOf(1));
  recorder.writing.WaitForNotification();
  StepResult read;
  read.replies.push_back({2, Response(v1::ListRunsResponse())});
  pipeline.Submit(std::move(read));
  EXPECT_TRUE(recorder.released.empty());
  recorder.open.Notify();
  pipeline.Finish();
  EXPECT_EQ(recorder.writes.size(), 1u);
  EXPECT_EQ(recorder.released, (std::vector<uint64_t>{1, 2}));
}

TEST(CommitPipeline, StoresArtifactsBeforeTheRowsThatNameThem) {
  std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / RandomId();
  auto store = *DirectoryStore::Open(folder);
  bool stored_first = false;
  CommitOptions options;
  options.artifacts = store.get();
  options.write = [&](const std::vector<RowWrite>&, Durability) {
    stored_first = *store->Contains(Sha256Hex("manifest"));
    return absl::OkStatus();
  };
  options.release = [](std::vector<Reply>) {};
  options.fail = [](const absl::Status&) {};
  {
    CommitPipeline pipeline(options);
    StepResult step = StepOf(1);
    step.artifacts = {"manifest"};
    step.name_artifacts = true;
    pipeline.Submit(std::move(step));
  }
  EXPECT_TRUE(stored_first);
  std::filesystem::remove_all(folder);
}

/// A store whose Put waits for `open`.
class SlowStore : public ArtifactStore {
 public:
  absl::StatusOr<std::string> Put(absl::string_view bytes) override {
    open.WaitForNotification();
    absl::MutexLock lock(&mutex_);
    stored_.emplace_back(bytes);
    return Sha256Hex(bytes);
  }
  absl::StatusOr<std::string> PutFile(const std::filesystem::path&) override { return Unused(); }
  absl::StatusOr<std::string> Get(absl::string_view) override { return Unused(); }
  absl::StatusOr<std::filesystem::path> LocalPath(absl::string_view) override { return Unused(); }
  absl::StatusOr<bool> Contains(absl::string_view) override { return Unused(); }
  std::vector<std::string> stored() const {
    absl::MutexLock lock(&mutex_);
    return stored_;
  }

  absl::Notification open;

 private:
  static absl::Status Unused() { return absl::UnimplementedError("not called by the pipeline"); }
  mutable absl::Mutex mutex_;
  std::vector<std::string> stored_ ABSL_GUARDED_BY(mutex_);
};

TEST(CommitPipeline, OnlyRowsThatNameArtifactsWaitForThem) {
  SlowStore store;
  absl::Notification answered;
  std::vector<uint64_t> released;
  std::vector<size_t> stored;  // artifacts, at each release
  CommitOptions options;
  options.artifacts = &store;
  options.write = [](const std::vector<RowWrite>&, Durability) { return absl::OkStatus(); };
  options.release = [&](std::vector<Reply> replies) {
    released.push_back(replies[0].id);
    stored.push_back(store.stored().size());
    if (replies[0].id == 2) answered.Notify();
  };
  options.fail = [](const absl::Status&) {};
  CommitPipeline pipeline(options);
  StepResult early = StepOf(1);
  early.artifacts = {"one", "two"};
  pipeline.Submit(std::move(early));
  pipeline.Submit(StepOf(2));
  answered.WaitForNotification();
  EXPECT_EQ(pipeline.artifacts_waiting(), 2u);
  StepResult naming = StepOf(3);
  naming.artifacts = {"three"};
  naming.name_artifacts = true;
  pipeline.Submit(std::move(naming));
  pipeline.Submit(StepOf(4));
  store.open.Notify();
  pipeline.Finish();
  EXPECT_EQ(pipeline.artifacts_waiting(), 0u);
  EXPECT_EQ(store.stored(), (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_EQ(released, (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(stored, (std::vector<size_t>{0, 0, 3, 3}));
}

TEST(CommitPipeline, ArtifactThatNoRowNamesYetFailsTheCommitToo) {
  std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / RandomId();
  auto store = *DirectoryStore::Open(folder);
  std::filesystem::remove_all(folder);
  std::ofstream(folder).put('x');  // a file where the folder was
  absl::Notification failed;
  CommitOptions options;
  options.artifacts = store.get();
  options.write = [](const std::vector<RowWrite>&, Durability) { return absl::OkStatus(); };
  options.release = [](std::vector<Reply>) {};
  options.fail = [&failed](const absl::Status&) { failed.Notify(); };
  CommitPipeline pipeline(options);
  StepResult step;
  step.artifacts = {"manifest"};
  pipeline.Submit(std::move(step));
  failed.WaitForNotification();
  pipeline.Submit(StepOf(2));
  pipeline.Finish();
  std::filesystem::remove(folder);
}

TEST(CommitPipeline, ArtifactThatCannotBeStoredFailsTheCommit) {
  std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / RandomId();
  auto store = *DirectoryStore::Open(folder);
  std::filesystem::remove_all(folder);
  std::ofstream(folder).put('x');  // a file where the folder was
  Recorder recorder;
  recorder.open.Notify();
  CommitOptions options = recorder.Options();
  options.artifacts = store.get();
  CommitPipeline pipeline(options);
  StepResult step = StepOf(1);
  step.artifacts = {"manifest"};
  step.name_artifacts = true;
  pipeline.Submit(std::move(step));
  pipeline.Finish();
  EXPECT_TRUE(recorder.writes.empty());
  EXPECT_TRUE(recorder.released.empty());
  EXPECT_EQ(recorder.failures.size(), 1u);
  std::filesystem::remove(folder);
}

}  // namespace
}  // namespace rsidiff::coordinator
