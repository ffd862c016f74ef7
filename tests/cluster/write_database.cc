// Makes databases that a coordinator must not open.
//
//   write_database newer DATABASE           gives one of ours the schema version after this program's
//   write_database foreign DATABASE TABLE   makes one of another program, with a row in TABLE
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
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

absl::Status Run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "newer" && argc == 3) return MakeNewer(argv[2]);
  if (what == "foreign" && argc == 4) return MakeForeign(argv[2], argv[3]);
  return absl::InvalidArgumentError("usage: write_database newer DATABASE | foreign DATABASE TABLE");
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  const absl::Status status = rsidiff::coordinator::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
