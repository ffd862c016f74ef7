#include "coordinator/judge/judge_cache.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/cache_folder.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "rocksdb/db.h"

namespace rsidiff::coordinator {

namespace {

// And not that the lock's file cannot be made: RocksDB calls all of it an IO error.
bool IsInUse(const rocksdb::Status& status) {
  const std::string text = status.ToString();
  const bool elsewhere =
      absl::StrContains(text, "While lock file: ") && absl::EndsWith(text, strerror(EAGAIN));
  const bool here = absl::StrContains(text, "lock hold by current process");
  return status.IsIOError() && (elsewhere || here);
}

}  // namespace

absl::StatusOr<std::unique_ptr<JudgeCache>> JudgeCache::Open(const std::filesystem::path& folder) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder));
  rocksdb::Options options;
  options.create_if_missing = true;
  options.keep_log_file_num = 1;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, folder.string(), &db);
  if (IsInUse(status)) {
    return absl::FailedPreconditionError(absl::StrCat("another rsidiff uses the judge's answers in ",
                                                      folder.string(),
                                                      "; wait for it, or give another --judge-cache"));
  }
  if (!status.ok()) {
    return absl::InternalError(absl::StrCat("judge's answers in ", folder.string(), ": ", status.ToString()));
  }
  return absl::WrapUnique(new JudgeCache(folder, std::unique_ptr<rocksdb::DB>(db)));
}

JudgeCache::JudgeCache(std::filesystem::path folder, std::unique_ptr<rocksdb::DB> db)
    : folder_(std::move(folder)), db_(std::move(db)) {}

JudgeCache::~JudgeCache() = default;

std::optional<Judgement> JudgeCache::Find(const std::string& key) const {
  std::string text;
  if (!db_->Get(rocksdb::ReadOptions(), key, &text).ok()) return std::nullopt;
  absl::StatusOr<Judgement> judgement = ParseJudgement(text);
  if (!judgement.ok()) return std::nullopt;
  return *std::move(judgement);
}

absl::Status JudgeCache::Put(const std::string& key, const Judgement& judgement) {
  const rocksdb::Status status = db_->Put(rocksdb::WriteOptions(), key, JudgementText(judgement));
  if (status.ok()) return absl::OkStatus();
  const std::string message =
      absl::StrCat("cannot keep a judge's answer in ", folder_.string(), ": ", status.ToString());
  return status.IsNoSpace() ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

std::filesystem::path DefaultJudgeCache() {
  return CacheFolder() / "judge";
}

}  // namespace rsidiff::coordinator
