#include "coordinator/service/history.h"

#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/state/payload.h"
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

absl::StatusOr<v1::RunRecord> ReadRun(const Database& database, uint64_t run_id) {
  return ReadMessage<v1::RunRecord>(database, Table::kRuns, RunKey(run_id), absl::StrCat("run ", run_id));
}

absl::StatusOr<v1::RoundRecord> ReadRound(const Database& database, uint64_t run_id, uint32_t round) {
  return ReadMessage<v1::RoundRecord>(database, Table::kRounds, RoundKey(run_id, round),
                                      absl::StrCat("round ", round, " in run ", run_id));
}

absl::StatusOr<std::string> ReadPrompt(const Database& database, uint64_t run_id, v1::Purpose purpose,
                                       uint32_t prompt_id) {
  const PromptList list = purpose == v1::PURPOSE_EVALUATION ? PromptList::kEvaluation : PromptList::kTrain;
  RSIDIFF_ASSIGN_OR_RETURN(
      const v1::PromptRecord prompt,
      ReadMessage<v1::PromptRecord>(database, Table::kPrompts, PromptKey(run_id, list, prompt_id),
                                    absl::StrCat("prompt ", prompt_id, " in run ", run_id)));
  return prompt.text();
}

std::string SampleId(uint64_t run_id, uint32_t round, v1::Purpose purpose, uint32_t index) {
  return absl::StrCat(run_id, "/", round, purpose == v1::PURPOSE_EVALUATION ? "/eval/" : "/", index);
}

// An evaluation is drawn with its own round's weights, training samples with those that the round starts
// from.
absl::StatusOr<std::string> SamplingCheckpoint(const Database& database, uint64_t run_id, uint32_t round,
                                               v1::Purpose purpose) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RoundRecord own, ReadRound(database, run_id, round));
  if (purpose == v1::PURPOSE_EVALUATION) return own.checkpoint();
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RoundRecord start, ReadRound(database, run_id, own.starts_from()));
  return start.checkpoint();
}

v1::Purpose PurposeOf(v1::Purpose asked) {
  return asked == v1::PURPOSE_EVALUATION ? v1::PURPOSE_EVALUATION : v1::PURPOSE_TRAINING;
}

// The run that has the round's samples: a fork shows its parent's rounds, which are older than itself.
absl::StatusOr<v1::RunRecord> Holder(const Database& database, uint64_t run_id, uint32_t round) {
  RSIDIFF_ASSIGN_OR_RETURN(v1::RunRecord run, ReadRun(database, run_id));
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RoundRecord record, ReadRound(database, run_id, round));
  bool inherited =
      run.forked_from() != 0 && run.forked_from() < run_id && record.started_us() < run.submitted_us();
  if (inherited) return Holder(database, run.forked_from(), round);
  return run;
}

}  // namespace

absl::StatusOr<SampleReader> SampleReader::Open(const Database* database,
                                                const v1::ListSamplesRequest& request) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunRecord holder, Holder(*database, request.run_id(), request.round()));
  return SampleReader(database, request, holder);
}

SampleReader::SampleReader(const Database* database, const v1::ListSamplesRequest& request,
                           const v1::RunRecord& holder)
    : database_(database),
      request_(request),
      asked_run_id_(request.run_id()),
      samples_(database, holder, request.round(), PurposeOf(request.purpose())) {
  request_.set_run_id(holder.id());
  request_.set_purpose(PurposeOf(request.purpose()));
}

absl::StatusOr<v1::ListSamplesResponse> SampleReader::Next() {
  v1::ListSamplesResponse page;
  while (!ended_ && page.samples().empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<v1::SampleRecord> samples, samples_.Read(next_index_, kPage));
    ended_ = samples.size() < kPage;
    for (v1::SampleRecord& sample : samples) {
      next_index_ = sample.index() + 1;
      if (request_.selected_only() && !sample.selected()) continue;
      RSIDIFF_ASSIGN_OR_RETURN(*sample.mutable_prompt(), Prompt(sample.prompt_id()));
      sample.set_id(SampleId(asked_run_id_, request_.round(), request_.purpose(), sample.index()));
      *page.add_samples() = std::move(sample);
    }
  }
  return page;
}

absl::StatusOr<std::string> SampleReader::Prompt(uint32_t prompt_id) {
  auto found = prompts_.find(prompt_id);
  if (found != prompts_.end()) return found->second;
  RSIDIFF_ASSIGN_OR_RETURN(std::string text,
                           ReadPrompt(*database_, request_.run_id(), request_.purpose(), prompt_id));
  return prompts_.emplace(prompt_id, std::move(text)).first->second;
}

absl::StatusOr<v1::GetSampleResponse> GetSample(const Database& database,
                                                const v1::GetSampleRequest& request) {
  const v1::Purpose purpose = PurposeOf(request.purpose());
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunRecord run, Holder(database, request.run_id(), request.round()));
  const uint64_t run_id = run.id();
  RSIDIFF_ASSIGN_OR_RETURN(const std::string checkpoint,
                           SamplingCheckpoint(database, run_id, request.round(), purpose));
  v1::GetSampleResponse response;
  v1::Grant& task = *response.mutable_task();
  *task.mutable_payload() = RunPayload(run, checkpoint);
  v1::GenerateWork& work = *task.mutable_payload()->mutable_generate();
  work = GenerateSettings(run.spec(), purpose);
  const uint32_t chunk = request.index() / work.chunk();
  task.mutable_task()->set_run_id(run_id);
  task.mutable_task()->set_round(request.round());
  task.mutable_task()->set_kind(v1::TASK_KIND_GENERATE);
  task.mutable_task()->set_purpose(purpose);
  task.mutable_task()->set_index(chunk);

  const uint32_t first = chunk * work.chunk();
  JudgedSamples judged(&database, run, request.round(), purpose);
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<v1::SampleRecord> samples, judged.Read(first, work.chunk()));
  for (v1::SampleRecord& sample : samples) {
    if (sample.index() - first >= work.chunk()) break;  // rows of a later chunk
    RSIDIFF_ASSIGN_OR_RETURN(const std::string prompt,
                             ReadPrompt(database, run_id, purpose, sample.prompt_id()));
    v1::GenerateWork::Item& item = *work.add_items();
    item.set_index(sample.index());
    item.set_prompt(prompt);
    item.set_seed(sample.seed());
    if (sample.index() != request.index()) continue;
    sample.set_prompt(prompt);
    sample.set_id(SampleId(request.run_id(), request.round(), purpose, sample.index()));
    *response.mutable_sample() = std::move(sample);
  }
  if (!response.has_sample() || response.sample().image().empty()) {
    return absl::NotFoundError(
        absl::StrCat("no sample ", SampleId(request.run_id(), request.round(), purpose, request.index())));
  }
  return response;
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

absl::StatusOr<ForkRun> ReadForkSource(const Database& database, const v1::ForkRunRequest& request) {
  ForkRun fork{request, {}};
  absl::StatusOr<v1::RunRecord> run = ReadRun(database, request.run_id());
  if (absl::IsNotFound(run.status())) return fork;
  RSIDIFF_RETURN_IF_ERROR(run.status());
  if (!HasEnded(*run)) return fork;
  RSIDIFF_ASSIGN_OR_RETURN(fork.parent, database.ReadRows(Table::kPrompts, RunKey(run->id())));
  if (run->spec().train().replay() <= 0) return fork;
  for (uint32_t round = 1; round <= request.from_round() && round <= run->newest_round(); ++round) {
    for (const auto& [table, prefix] :
         {std::make_pair(Table::kJudgements, RoundKey(run->id(), round)),
          std::make_pair(Table::kSamples, SamplePrefix(run->id(), round, v1::PURPOSE_TRAINING))}) {
      RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows, database.ReadRows(table, prefix));
      fork.parent.insert(fork.parent.end(), std::make_move_iterator(rows.begin()),
                         std::make_move_iterator(rows.end()));
    }
  }
  return fork;
}

}  // namespace rsidiff::coordinator
