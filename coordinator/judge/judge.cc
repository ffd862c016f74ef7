#include "coordinator/judge/judge.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace rsidiff::coordinator {
namespace {

// A judge that has never given a usable answer is not asked about the other thousands.
constexpr size_t kHopeless = 20;

// Everything that an answer depends on. The lengths keep the parts apart.
std::string CacheKey(const JudgeOptions& options, const std::string& prompt) {
  std::string text;
  for (const std::string* part : {&options.endpoint, &options.model, &options.rubric, &prompt}) {
    absl::StrAppend(&text, part->size(), ":", *part);
  }
  return Sha256Hex(text);
}

absl::StatusOr<std::string> ReadRubric(const std::string& file) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  RSIDIFF_RETURN_IF_ERROR(CheckUtf8(text, file));
  return text;
}

// Questions handed out to threads, and their answers.
class Questions {
 public:
  Questions(const JudgeOptions& options, const std::vector<std::string>& prompts, JudgeCache& cache,
            const std::function<void(size_t, size_t)>& progress)
      : options_(options), prompts_(prompts), cache_(cache), progress_(progress) {
    pool_.judgements.resize(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      pool_.judgements[i] = cache.Find(CacheKey(options, prompts[i]));
      if (!pool_.judgements[i]) open_.push_back(i);
    }
  }

  absl::StatusOr<JudgedPool> AskAll() {
    std::vector<std::thread> threads;
    const size_t parallel = std::min<size_t>(std::max(options_.parallel, 1), open_.size());
    for (size_t i = 0; i < parallel; ++i) threads.emplace_back([this] { Work(); });
    for (std::thread& thread : threads) thread.join();
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) {
      return absl::Status(error_.code(), absl::StrCat(error_.message(), "; ", done_ - pool_.unusable, " of ",
                                                      open_.size(), " answers are kept for the next time"));
    }
    pool_.asked = open_.size();
    return std::move(pool_);
  }

 private:
  void Work() {
    absl::StatusOr<std::unique_ptr<JudgeClient>> client = JudgeClient::Create(options_);
    if (!client.ok()) return Fail(client.status());
    for (size_t next = next_++; next < open_.size() && !failed_; next = next_++) {
      const absl::Status status = Answer(**client, open_[next]);
      if (!status.ok()) return Fail(status);
    }
  }

  absl::Status Answer(JudgeClient& client, size_t index) {
    RSIDIFF_ASSIGN_OR_RETURN(std::optional<Judgement> judgement, client.Ask(prompts_[index]));
    if (judgement) RSIDIFF_RETURN_IF_ERROR(cache_.Put(CacheKey(options_, prompts_[index]), *judgement));
    absl::MutexLock lock(&mutex_);
    ++done_;
    if (!judgement) {
      ++pool_.unusable;
      if (pool_.first_unusable.empty()) pool_.first_unusable = client.why_unusable();
      const bool none = pool_.unusable == done_ && open_.size() == prompts_.size();
      if (none && (done_ == kHopeless || done_ == open_.size())) {
        return absl::FailedPreconditionError(absl::StrCat("judge ", options_.model, " at ", options_.endpoint,
                                                          ": not one of ", done_, " answers is usable; one ",
                                                          pool_.first_unusable));
      }
    }
    pool_.judgements[index] = std::move(judgement);
    progress_(done_, open_.size());
    return absl::OkStatus();
  }

  void Fail(const absl::Status& status) {
    failed_ = true;
    absl::MutexLock lock(&mutex_);
    error_.Update(status);
  }

  const JudgeOptions& options_;
  const std::vector<std::string>& prompts_;
  JudgeCache& cache_;
  const std::function<void(size_t, size_t)>& progress_;
  std::vector<size_t> open_;  // prompts to ask about
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  absl::Mutex mutex_;
  JudgedPool pool_ ABSL_GUARDED_BY(mutex_);
  size_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<JudgeOptions> MakeJudgeOptions(const v1::PromptJudgeSpec& spec) {
  JudgeOptions options;
  options.endpoint = spec.endpoint();
  options.model = spec.model();
  if (FirstInvalidUtf8(options.model)) {
    return absl::InvalidArgumentError("the name of the judge's model is not valid UTF-8");
  }
  options.rubric = kDefaultRubric;
  if (!spec.rubric().empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(options.rubric, ReadRubric(spec.rubric()));
  }
  options.timeout = absl::Seconds(spec.timeout());
  options.retries = static_cast<int>(spec.retries());
  options.parallel = static_cast<int>(spec.parallel());
  const char* key = std::getenv(spec.api_key_variable().c_str());
  if (key != nullptr) options.api_key = key;
  RSIDIFF_RETURN_IF_ERROR(JudgeClient::Create(options).status());  // checks the endpoint, connects to nothing
  return options;
}

absl::StatusOr<JudgedPool> JudgePool(const JudgeOptions& options, const std::vector<std::string>& prompts,
                                     JudgeCache& cache,
                                     const std::function<void(size_t done, size_t all)>& progress) {
  return Questions(options, prompts, cache, progress).AskAll();
}

}  // namespace rsidiff::coordinator
