// Makes databases that no coordinator here would write.
//
//   write_database newer DATABASE           gives one of ours the schema version after this program's
//   write_database foreign DATABASE TABLE   makes one of another program, with a row in TABLE
//   write_database age DATABASE HOURS       has every task of one of ours given out so much earlier
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/state/core.h"
#include "coordinator/state/database.h"
#include "coordinator/state/tables.h"
#include "rocksdb/db.h"

namespace rsidiff::coordinator {
namespace {

absl::Status MakeNewer(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(folder));
  const std::string key(kMetaKey);
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<std::string> value, database->Read(Table::kMeta, key));
  v1::MetaRecord meta;
  if (!value.has_value() || !meta.ParseFromString(*value)) return absl::NotFoundError("no row in table meta");
  meta.set_schema_version(kSchemaVersion + 1);
  return database->Write({{Table::kMeta, key, meta.SerializeAsString()}}, Database::Durability::kSync);
}

absl::Status ToStatus(const rocksdb::Status& status) {
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.ToString());
}

absl::Status MakeForeign(const std::filesystem::path& folder, const std::string& table) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder));
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  RSIDIFF_RETURN_IF_ERROR(ToStatus(rocksdb::DB::Open(options, folder.string(), &opened)));
  const std::unique_ptr<rocksdb::DB> db(opened);
  if (table == rocksdb::kDefaultColumnFamilyName) return ToStatus(db->Put({}, "key", "value"));
  rocksdb::ColumnFamilyHandle* family = nullptr;
  RSIDIFF_RETURN_IF_ERROR(ToStatus(db->CreateColumnFamily({}, table, &family)));
  const rocksdb::Status put = db->Put({}, family, "key", "value");
  RSIDIFF_RETURN_IF_ERROR(ToStatus(db->DestroyColumnFamilyHandle(family)));
  return ToStatus(put);
}

absl::Status AgeTasks(const std::filesystem::path& folder, absl::Duration age) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(folder));
  const int64_t earlier = absl::ToInt64Microseconds(age);
  std::vector<RowWrite> rows;
  RSIDIFF_RETURN_IF_ERROR(database->VisitRows(
      Table::kTasks, [&](const std::string& key, const std::string& value) -> absl::Status {
        v1::TaskRecord task;
        if (!task.ParseFromString(value)) return absl::DataLossError("a row of table tasks cannot be read");
        if (task.granted_us() != 0) task.set_granted_us(task.granted_us() - earlier);
        for (v1::TaskLease& member : *task.mutable_gang())
          member.set_granted_us(member.granted_us() - earlier);
        rows.push_back({Table::kTasks, key, task.SerializeAsString()});
        return absl::OkStatus();
      }));
  return database->Write(rows, Database::Durability::kSync);
}

absl::Status Run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "newer" && argc == 3) return MakeNewer(argv[2]);
  if (what == "foreign" && argc == 4) return MakeForeign(argv[2], argv[3]);
  int hours = 0;
  if (what == "age" && argc == 4 && absl::SimpleAtoi(argv[3], &hours)) {
    return AgeTasks(argv[2], absl::Hours(hours));
  }
  return absl::InvalidArgumentError(
      "usage: write_database newer DATABASE | foreign DATABASE TABLE | age DATABASE HOURS");
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  const absl::Status status = rsidiff::coordinator::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
