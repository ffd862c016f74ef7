#include "coordinator/service/history.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kPage = 500;
constexpr uint32_t kMaxEvents = 1'000;

// The key right after `key`.
std::string After(std::string key) {
  key.push_back('\0');
  return key;
}

absl::StatusOr<bool> Exists(const ReadRows& read, Table table, const std::string& key) {
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows, read(table, key, After(key), 1));
  return !rows.empty();
}

template <typename Message>
absl::StatusOr<Message> Parse(const Row& row, absl::string_view what) {
  Message message;
  if (message.ParseFromString(row.value)) return message;
  return absl::DataLossError(absl::StrCat("stored ", what, " cannot be read"));
}

}  // namespace

absl::StatusOr<SampleReader> SampleReader::Open(ReadRows read, const v1::ListSamplesRequest& request) {
  RSIDIFF_ASSIGN_OR_RETURN(bool run, Exists(read, Table::kRuns, RunKey(request.run_id())));
  if (!run) return absl::NotFoundError(absl::StrCat("no run ", request.run_id()));
  RSIDIFF_ASSIGN_OR_RETURN(bool round,
                           Exists(read, Table::kRounds, RoundKey(request.run_id(), request.round())));
  if (!round) {
    return absl::NotFoundError(absl::StrCat("run ", request.run_id(), " has no round ", request.round()));
  }
  return SampleReader(std::move(read), request);
}

SampleReader::SampleReader(ReadRows read, const v1::ListSamplesRequest& request)
    : read_(std::move(read)), request_(request) {
  if (request_.purpose() == v1::PURPOSE_UNSPECIFIED) request_.set_purpose(v1::PURPOSE_TRAINING);
}

absl::StatusOr<v1::ListSamplesResponse> SampleReader::Next() {
  v1::ListSamplesResponse page;
  auto key = [&](uint32_t index) {
    return SampleKey(request_.run_id(), request_.round(), request_.purpose(), index);
  };
  while (!ended_ && page.samples().empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows,
                             read_(Table::kSamples, key(next_index_), After(key(UINT32_MAX)), kPage));
    ended_ = rows.size() < kPage;
    for (const Row& row : rows) {
      RSIDIFF_ASSIGN_OR_RETURN(v1::SampleRecord sample, Parse<v1::SampleRecord>(row, "sample"));
      next_index_ = sample.index() + 1;
      if (request_.selected_only() && !sample.selected()) continue;
      RSIDIFF_ASSIGN_OR_RETURN(*sample.mutable_prompt(), Prompt(sample.prompt_id()));
      *page.add_samples() = std::move(sample);
    }
  }
  return page;
}

absl::StatusOr<std::string> SampleReader::Prompt(uint32_t prompt_id) {
  auto found = prompts_.find(prompt_id);
  if (found != prompts_.end()) return found->second;
  PromptList list =
      request_.purpose() == v1::PURPOSE_EVALUATION ? PromptList::kEvaluation : PromptList::kTrain;
  std::string key = PromptKey(request_.run_id(), list, prompt_id);
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows, read_(Table::kPrompts, key, After(key), 1));
  if (rows.empty()) {
    return absl::DataLossError(absl::StrCat("run ", request_.run_id(), " has a sample of prompt ", prompt_id,
                                            ", which is not stored"));
  }
  RSIDIFF_ASSIGN_OR_RETURN(v1::PromptRecord prompt, Parse<v1::PromptRecord>(rows.front(), "prompt"));
  return prompts_.emplace(prompt_id, prompt.text()).first->second;
}

absl::StatusOr<v1::ListEventsResponse> ListEvents(const ReadRows& read,
                                                  const v1::ListEventsRequest& request) {
  if (request.limit() > kMaxEvents) {
    return absl::InvalidArgumentError(absl::StrCat("limit is at most ", kMaxEvents, ": ", request.limit()));
  }
  int limit = static_cast<int>(request.limit() == 0 ? kMaxEvents : request.limit());
  v1::ListEventsResponse response;
  std::string begin = After(EventKey(request.after()));
  while (true) {
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows, read(Table::kEvents, begin, "", kPage));
    for (const Row& row : rows) {
      RSIDIFF_ASSIGN_OR_RETURN(v1::EventRecord event, Parse<v1::EventRecord>(row, "event"));
      if (request.run_id() != 0 && event.run_id() != request.run_id()) continue;
      *response.add_events() = std::move(event);
      if (response.events_size() == limit) return response;
    }
    if (rows.size() < kPage) return response;
    begin = After(rows.back().key);
  }
}

}  // namespace rsidiff::coordinator
