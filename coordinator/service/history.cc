#include "coordinator/service/history.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint32_t kPage = 500;
constexpr uint32_t kMaxEvents = 1'000;

// The row's message. NOT_FOUND and DATA_LOSS call it `what`.
template <typename Message>
absl::StatusOr<Message> ReadMessage(const Database& database, Table table, const std::string& key,
                                    const std::string& what) {
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<std::string> value, database.Read(table, key));
  if (!value) return absl::NotFoundError(absl::StrCat("no ", what));
  Message message;
  if (!message.ParseFromString(*value))
    return absl::DataLossError(absl::StrCat("stored ", what, " cannot be read"));
  return message;
}

// The run that has the round's samples: a fork shows its parent's rounds, which are older than itself.
absl::StatusOr<uint64_t> Holder(const Database& database, uint64_t run_id, uint32_t round) {
  std::string run_name = absl::StrCat("run ", run_id);
  RSIDIFF_ASSIGN_OR_RETURN(v1::RunRecord run,
                           ReadMessage<v1::RunRecord>(database, Table::kRuns, RunKey(run_id), run_name));
  RSIDIFF_ASSIGN_OR_RETURN(v1::RoundRecord record,
                           ReadMessage<v1::RoundRecord>(database, Table::kRounds, RoundKey(run_id, round),
                                                        absl::StrCat("round ", round, " in ", run_name)));
  bool inherited =
      run.forked_from() != 0 && run.forked_from() < run_id && record.started_us() < run.submitted_us();
  return inherited ? Holder(database, run.forked_from(), round) : run_id;
}

}  // namespace

absl::StatusOr<SampleReader> SampleReader::Open(const Database* database,
                                                const v1::ListSamplesRequest& request) {
  SampleReader reader(database, request);
  RSIDIFF_ASSIGN_OR_RETURN(uint64_t holder, Holder(*database, request.run_id(), request.round()));
  reader.request_.set_run_id(holder);
  return reader;
}

SampleReader::SampleReader(const Database* database, const v1::ListSamplesRequest& request)
    : database_(database), request_(request) {
  if (request_.purpose() == v1::PURPOSE_UNSPECIFIED) request_.set_purpose(v1::PURPOSE_TRAINING);
}

absl::StatusOr<v1::ListSamplesResponse> SampleReader::Next() {
  v1::ListSamplesResponse page;
  while (!ended_ && page.samples().empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(
        std::vector<v1::SampleRecord> samples,
        database_->ReadSamples(request_.run_id(), request_.round(), request_.purpose(), next_index_, kPage));
    ended_ = samples.size() < kPage;
    for (v1::SampleRecord& sample : samples) {
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
  RSIDIFF_ASSIGN_OR_RETURN(v1::PromptRecord prompt,
                           ReadMessage<v1::PromptRecord>(
                               *database_, Table::kPrompts, PromptKey(request_.run_id(), list, prompt_id),
                               absl::StrCat("prompt ", prompt_id, " in run ", request_.run_id())));
  return prompts_.emplace(prompt_id, prompt.text()).first->second;
}

absl::StatusOr<v1::ListEventsResponse> ListEvents(const Database& database,
                                                  const v1::ListEventsRequest& request) {
  if (request.limit() > kMaxEvents) {
    return absl::InvalidArgumentError(absl::StrCat("limit is at most ", kMaxEvents, ": ", request.limit()));
  }
  uint32_t limit = request.limit() == 0 ? kMaxEvents : request.limit();
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<v1::EventRecord> events,
                           database.ReadEvents(request.run_id(), request.after(), limit));
  v1::ListEventsResponse response;
  for (v1::EventRecord& event : events) *response.add_events() = std::move(event);
  return response;
}

}  // namespace rsidiff::coordinator
