#include "tests/unit/service/faulty_file_system.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>

#include "common/base/file.h"

namespace rsidiff::coordinator {
namespace fs = std::filesystem;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultyFileSystem::File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(FaultyFileSystem& system, std::string path, std::unique_ptr<rocksdb::FSWritableFile> target)
      : FSWritableFileOwnerWrapper(std::move(target)), system_(system), path_(std::move(path)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = system_.Begin(Change::kGrow, path_);
    if (status.ok()) return target()->Append(data, options, debug);
    if (system_.Tears()) (void)target()->Append(Slice(data.data(), data.size() / 2), options, debug);
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = system_.Begin(Change::kOther, path_);
    return status.ok() ? target()->Truncate(size, options, debug) : status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override { return SyncAll(options, debug); }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return SyncAll(options, debug); }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();  // promises nothing
  }

 private:
  IOStatus SyncAll(const IOOptions& options, IODebugContext* debug) {
    IOStatus status = system_.Begin(Change::kSync, path_);
    if (status.ok()) status = target()->Flush(options, debug);
    status.ok() ? system_.Synced(path_) : system_.NotSynced(path_);
    return status;
  }

  FaultyFileSystem& system_;
  const std::string path_;
};

class FaultyFileSystem::Folder : public rocksdb::FSDirectoryWrapper {
 public:
  Folder(FaultyFileSystem& system, std::string path, std::unique_ptr<rocksdb::FSDirectory> target)
      : FSDirectoryWrapper(std::move(target)), system_(system), path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    IOStatus status = system_.Begin(Change::kSync, path_);
    if (status.ok()) system_.FolderSynced(path_);
    return status;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  FaultyFileSystem& system_;
  const std::string path_;
};

FaultyFileSystem::FaultyFileSystem(Plan plan)
    : FileSystemWrapper(rocksdb::FileSystem::Default()), plan_(plan) {}

void FaultyFileSystem::EndFaults() {
  absl::MutexLock lock(&mutex_);
  plan_.fault = Fault::kNone;
}

uint64_t FaultyFileSystem::changes() const {
  absl::MutexLock lock(&mutex_);
  return changes_;
}

uint64_t FaultyFileSystem::failures() const {
  absl::MutexLock lock(&mutex_);
  return failures_;
}

IOStatus FaultyFileSystem::Begin(Change change, const std::string& path) {
  absl::MutexLock lock(&mutex_);
  const uint64_t number = ++changes_;
  if (plan_.fault == Fault::kNone || number < plan_.at) return IOStatus::OK();
  if (plan_.fault == Fault::kOneError && number > plan_.at) return IOStatus::OK();
  if (plan_.fault == Fault::kSyncError && change != Change::kSync) return IOStatus::OK();
  if (plan_.fault == Fault::kOneSyncError && (change != Change::kSync || failures_ > 0)) {
    return IOStatus::OK();
  }
  if (plan_.fault == Fault::kNoSpace && change != Change::kGrow) return IOStatus::OK();
  ++failures_;
  if (plan_.fault == Fault::kNoSpace) return IOStatus::NoSpace("injected: no space left", path);
  return IOStatus::IOError("injected fault", path);
}

bool FaultyFileSystem::Tears() const {
  absl::MutexLock lock(&mutex_);
  return plan_.fault == Fault::kTornAppend && failures_ == 1;
}

void FaultyFileSystem::NameChanges(const std::string& path) {
  absl::StatusOr<std::string> before = ReadFile(path);
  names_.push_back({path, before.ok() ? std::optional<std::string>(*std::move(before)) : std::nullopt});
}

void FaultyFileSystem::Synced(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  if (unsyncable_.count(path) == 0) synced_[path] = fs::file_size(path);
}

void FaultyFileSystem::NotSynced(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  unsyncable_.insert(path);
}

void FaultyFileSystem::FolderSynced(const std::string& folder) {
  absl::MutexLock lock(&mutex_);
  ForgetNames([&folder](const std::string& path) {
    return fs::path(path).parent_path() == fs::path(folder + "/").parent_path();
  });
}

void FaultyFileSystem::ForgetNames(const std::function<bool(const std::string&)>& forget) {
  names_.erase(std::remove_if(names_.begin(), names_.end(),
                              [&forget](const NameChange& change) { return forget(change.path); }),
               names_.end());
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                                           IODebugContext* debug) {
  IOStatus status = Begin(Change::kGrow, path);
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mutex_);
    NameChanges(path);
    synced_[path] = 0;
    unsyncable_.erase(path);
  }
  std::unique_ptr<rocksdb::FSWritableFile> made;
  status = target()->NewWritableFile(path, options, &made, debug);
  if (status.ok()) *file = std::make_unique<File>(*this, path, std::move(made));
  return status;
}

// RocksDB asks for these two with options that are not set here.
IOStatus FaultyFileSystem::ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                              std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("ReopenWritableFile");
}

IOStatus FaultyFileSystem::ReuseWritableFile(const std::string&, const std::string&,
                                             const rocksdb::FileOptions&,
                                             std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("ReuseWritableFile");
}

IOStatus FaultyFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                        std::unique_ptr<rocksdb::FSDirectory>* folder,
                                        IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> opened;
  IOStatus status = target()->NewDirectory(path, options, &opened, debug);
  if (status.ok()) *folder = std::make_unique<Folder>(*this, path, std::move(opened));
  return status;
}

IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to,
                                      const IOOptions& options, IODebugContext* debug) {
  IOStatus status = Begin(Change::kOther, to);
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  NameChanges(to);
  status = target()->RenameFile(from, to, options, debug);
  ForgetNames([&from](const std::string& path) { return path == from; });
  auto synced = synced_.extract(from);
  synced_.erase(to);
  if (!synced.empty()) synced_[to] = synced.mapped();
  unsyncable_.erase(to);
  if (unsyncable_.erase(from) > 0) unsyncable_.insert(to);
  return status;
}

IOStatus FaultyFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                      IODebugContext* debug) {
  IOStatus status = Begin(Change::kOther, path);
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  NameChanges(path);
  // Should the file come back, then without what was not synced.
  auto synced = synced_.find(path);
  if (synced != synced_.end() && names_.back().before.has_value()) {
    names_.back().before->resize(std::min<size_t>(names_.back().before->size(), synced->second));
  }
  synced_.erase(path);
  unsyncable_.erase(path);
  return target()->DeleteFile(path, options, debug);
}

void FaultyFileSystem::LosePower(Loss loss, uint32_t seed) {
  absl::MutexLock lock(&mutex_);
  std::mt19937 random(seed);
  std::error_code ignored;
  for (const auto& [path, synced] : synced_) {
    const uint64_t size = fs::file_size(path, ignored);
    if (ignored || size <= synced) continue;
    fs::resize_file(path, loss == Loss::kAll ? synced : synced + random() % (size - synced + 1), ignored);
  }
  const size_t kept = loss == Loss::kAll ? 0 : random() % (names_.size() + 1);
  for (; names_.size() > kept; names_.pop_back()) {
    const NameChange& last = names_.back();
    if (last.before.has_value()) {
      std::ofstream(last.path, std::ios::binary | std::ios::trunc) << *last.before;
    } else {
      fs::remove(last.path, ignored);
    }
  }
  synced_.clear();
  unsyncable_.clear();
  names_.clear();
}

}  // namespace rsidiff::coordinator
