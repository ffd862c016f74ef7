#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/state/database.h"
#include "coordinator/state/row.h"
#include "rocksdb/db.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// OK, RESOURCE_EXHAUSTED (no space), DATA_LOSS (corruption) or INTERNAL; `what` begins the message.
absl::Status ToStatus(const rocksdb::Status& status, absl::string_view what);

/// A database that RocksDB has open: which options it gets, who may open it, and when it is closed.
/// Database's errors. Thread-safe.
class Storage {
 public:
  /// As Database::Open.
  static absl::StatusOr<std::unique_ptr<Storage>> OpenForWriting(const std::filesystem::path& folder,
                                                                 const DatabaseOptions& options);
  /// As Database::OpenReadOnly.
  static absl::StatusOr<std::unique_ptr<Storage>> OpenForReading(const std::filesystem::path& folder);
  ~Storage();

  rocksdb::DB& db() const { return *db_; }
  /// Null: a table that the earlier schema of a database which is only read does not have.
  rocksdb::ColumnFamilyHandle* family(Table table) const { return families_[static_cast<size_t>(table)]; }

 private:
  class FolderLock;
  Storage(rocksdb::DB* db, std::vector<rocksdb::ColumnFamilyHandle*> families,
          std::unique_ptr<FolderLock> lock);

  static absl::Status CheckBeforeWriting(const std::filesystem::path& folder, const DatabaseOptions& options);
  absl::StatusOr<std::optional<v1::MetaRecord>> ReadMeta(const std::filesystem::path& folder) const;
  absl::Status CheckOwner(const std::filesystem::path& folder, const std::string& cluster_id) const;
  absl::Status CheckOneSchema(const std::filesystem::path& folder) const;

  const std::unique_ptr<FolderLock> lock_;  // reading only; RocksDB itself locks what it writes
  const std::unique_ptr<rocksdb::DB> db_;
  const std::vector<rocksdb::ColumnFamilyHandle*> families_;  // the tables', then "default"
};

}  // namespace rsidiff::coordinator
