#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/state/row.h"
#include "rsidiff/v1/round.pb.h"

namespace rocksdb {
class Env;
}

namespace rsidiff::coordinator {

class Storage;

struct DatabaseOptions {
  std::string cluster_id;       // empty: any
  rocksdb::Env* env = nullptr;  // not owned, outlives the database; null: the machine's own file system
  /// Called by threads of the database with each of its warnings; may be empty.
  std::function<void(const std::string&)> report = nullptr;
};

/// The tables on disk: a RocksDB database with a column family a table. Thread-safe.
class Database {
 public:
  /// Opens the database in `folder`, made if it is not there, and brings one of an earlier schema to this
  /// program's. FAILED_PRECONDITION: another coordinator holds it, it belongs to a cluster other than
  /// `options.cluster_id`, it is of a newer schema, or it is not one of ours; nothing in it was changed then.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& folder,
                                                        const DatabaseOptions& options = {});

  /// Opens it for reading and changes nothing in it. No coordinator can start on it meanwhile. One of an
  /// earlier schema is read as it is: a table that it does not have is empty. NOT_FOUND: there is no database
  /// in `folder`; others as Open, and FAILED_PRECONDITION: Open began to bring it to this program's schema
  /// and was cut off, so that it holds rows of both.
  static absl::StatusOr<std::unique_ptr<Database>> OpenReadOnly(const std::filesystem::path& folder);
  ~Database();

  /// Writes the rows as one batch: after a crash all of them are there or none. kWal survives the death
  /// of the process, kSync that of the machine. RESOURCE_EXHAUSTED: the disk is full. After an error the
  /// database has to be closed.
  enum class Durability { kWal, kSync };
  absl::Status Write(const std::vector<RowWrite>& rows, Durability durability);

  /// Every row that Core::Recover needs: all but the events and the samples of finished rounds.
  absl::StatusOr<std::vector<Row>> ScanForRecovery() const;

  /// Every row of every table.
  absl::StatusOr<std::vector<Row>> ReadAll() const;

  /// Calls `visit(key, value)` for every row of the table in key order, until it returns an error.
  absl::Status VisitRows(
      Table table, const std::function<absl::Status(const std::string&, const std::string&)>& visit) const;

  /// Makes a copy of the database, as it is at one moment, in `folder`, which must not exist. Files are
  /// linked where the file system allows it. Writes go on meanwhile.
  absl::Status WriteCheckpoint(const std::filesystem::path& folder) const;

  /// The value of one row; absent when there is no such row.
  absl::StatusOr<std::optional<std::string>> Read(Table table, const std::string& key) const;

  /// The rows whose keys start with `prefix`, in key order.
  absl::StatusOr<std::vector<Row>> ReadRows(Table table, const std::string& prefix) const;

  /// At most `limit` samples of a round in index order, from index `start`, as they are stored: what the
  /// round found about them is in table judgements. Rounds before a fork are the parent's: read them there.
  absl::StatusOr<std::vector<v1::SampleRecord>> ReadSamples(uint64_t run_id, uint32_t round,
                                                            v1::Purpose purpose, uint32_t start,
                                                            uint32_t limit) const;

  /// At most `limit` events after sequence number `after`, of `run_id` (0: all).
  absl::StatusOr<std::vector<v1::EventRecord>> ReadEvents(uint64_t run_id, uint64_t after,
                                                          uint32_t limit) const;

 private:
  explicit Database(std::unique_ptr<Storage> storage);
  const std::unique_ptr<Storage> storage_;
};

}  // namespace rsidiff::coordinator
