#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/judge/judge_answer.h"

namespace rocksdb {
class DB;
}

namespace rsidiff::coordinator {

/// Answers of judges on disk, so that no prompt is asked about twice and a run that is submitted again gets
/// the same prompts. One process at a time. Thread-safe.
class JudgeCache {
 public:
  /// Makes the folder where it is missing. FAILED_PRECONDITION: another process has it open. Errors name it.
  static absl::StatusOr<std::unique_ptr<JudgeCache>> Open(const std::filesystem::path& folder);
  ~JudgeCache();

  /// Nothing for a key that is not there or whose value is damaged.
  std::optional<Judgement> Find(const std::string& key) const;
  absl::Status Put(const std::string& key, const Judgement& judgement);

 private:
  JudgeCache(std::filesystem::path folder, std::unique_ptr<rocksdb::DB> db);

  const std::filesystem::path folder_;
  const std::unique_ptr<rocksdb::DB> db_;
};

/// Below CacheFolder().
std::filesystem::path DefaultJudgeCache();

}  // namespace rsidiff::coordinator
