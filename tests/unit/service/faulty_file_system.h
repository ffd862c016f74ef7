#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/file_system.h"

namespace rsidiff::coordinator {

/// The machine's file system, whose changes are counted and fail from one of them on, and which knows what
/// a loss of power would leave: of a file what was synced, of a folder the names as of its last sync.
/// Nothing is really synced. Thread-safe.
class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  enum class Fault {
    kNone,
    kError,       // nothing can be changed any more
    kOneError,    // one change fails
    kNoSpace,     // nothing can be created or made longer any more
    kTornAppend,  // as kError, but the first append writes half of its bytes
    kSyncError,   // as kError, but for syncs alone
    /// One sync fails. Those after it succeed without saving what it was to save, as on Linux, where the
    /// pages that could not be written count as written.
    kOneSyncError,
  };
  struct Plan {
    Fault fault = Fault::kNone;
    uint64_t at = 0;  // the number, from 1, of the first change that fails
  };

  explicit FaultyFileSystem(Plan plan);

  /// Nothing fails from now on, as when the disk has room again.
  void EndFaults() ABSL_LOCKS_EXCLUDED(mutex_);

  /// Changes so far, the failed ones among them.
  uint64_t changes() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// Changes that failed.
  uint64_t failures() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// What of the unsynced is lost: all of it, or each file's end from a random place on and the changes of
  /// names from a random one on (file systems with a journal keep the order of those).
  enum class Loss { kAll, kPart };
  /// Leaves on the disk what a loss of power now would. Nothing may be open.
  void LosePower(Loss loss, uint32_t seed) ABSL_LOCKS_EXCLUDED(mutex_);

  const char* Name() const override { return "FaultyFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* folder,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  class File;
  class Folder;
  enum class Change { kGrow, kSync, kOther };

  /// Counts a change and says whether it happens.
  rocksdb::IOStatus Begin(Change change, const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Whether the change that just failed is to write half of its bytes.
  bool Tears() const ABSL_LOCKS_EXCLUDED(mutex_);
  void NameChanges(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Of the names for which `forget` is true.
  void ForgetNames(const std::function<bool(const std::string&)>& forget)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Synced(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  /// A sync of the file has failed.
  void NotSynced(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  void FolderSynced(const std::string& folder) ABSL_LOCKS_EXCLUDED(mutex_);

  mutable absl::Mutex mutex_;
  Plan plan_ ABSL_GUARDED_BY(mutex_);
  uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failures_ ABSL_GUARDED_BY(mutex_) = 0;
  /// How many bytes of each file that was written are synced.
  std::map<std::string, uint64_t> synced_ ABSL_GUARDED_BY(mutex_);
  /// Files of which no later sync saves anything more.
  std::set<std::string> unsyncable_ ABSL_GUARDED_BY(mutex_);
  /// A name that came, went or changed, and the contents that it had before, if any.
  struct NameChange {
    std::string path;
    std::optional<std::string> before;
  };
  /// Those since their folder was synced, oldest first.
  std::vector<NameChange> names_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rsidiff::coordinator
