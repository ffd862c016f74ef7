#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/state/check_impl.h"
#include "coordinator/state/judgement_block.h"

namespace rsidiff::coordinator {

template <class Message>
bool DatabaseCheck::Parse(const Row& row, Message& message) {
  if (message.ParseFromString(row.value)) return true;
  Fault(row.table, row.key, absl::StrCat("value is not a ", message.GetTypeName()));
  return false;
}

void DatabaseCheck::Read(const Row& row) {
  ++report_.rows[row.table];
  switch (row.table) {
    case Table::kMeta: {
      v1::MetaRecord meta;
      if (row.key != kMetaKey) return Fault(row.table, row.key, "is not a known key");
      if (Parse(row, meta)) meta_ = std::move(meta);
      return;
    }
    case Table::kRuns:
      return ReadRun(row);
    case Table::kRounds:
      return ReadRound(row);
    case Table::kTasks:
      return ReadTask(row);
    case Table::kJudgements:
      return ReadJudgements(row);
    case Table::kSamples:
      return ReadSample(row);
    case Table::kPrompts:
      return ReadPrompt(row);
    case Table::kWorkers:
      return ReadWorker(row);
    case Table::kGenerations:
      return ReadGeneration(row);
    case Table::kRequests:
      return ReadRequest(row);
    case Table::kEvents:
      return ReadEvent(row);
  }
}

void DatabaseCheck::ReadRun(const Row& row) {
  v1::RunRecord run;
  if (!Parse(row, run)) return;
  if (row.key != RunKey(run.id())) return Fault(row.table, row.key, "key and value name different runs");
  runs_[run.id()] = std::move(run);
}

void DatabaseCheck::ReadRound(const Row& row) {
  v1::RoundRecord round;
  if (!Parse(row, round)) return;
  if (row.key != RoundKey(round.run_id(), round.round())) {
    return Fault(row.table, row.key, "key and value name different rounds");
  }
  rounds_[{round.run_id(), round.round()}] = std::move(round);
}

void DatabaseCheck::ReadTask(const Row& row) {
  v1::TaskRecord task;
  if (!Parse(row, task)) return;
  TaskId id = TaskId::From(task.key());
  if (row.key != TaskRowKey(id)) return Fault(row.table, row.key, "key and value name different tasks");
  tasks_[id] = std::move(task);
}

void DatabaseCheck::ReadJudgements(const Row& row) {
  KeyReader key(row.key);
  const uint64_t run_id = key.Take(8);
  const auto round = static_cast<uint32_t>(key.Take(4));
  const uint64_t block = key.Take(4);
  if (!key.Complete()) return Fault(row.table, row.key, "key has a wrong length");
  const absl::StatusOr<std::vector<Judgement>> judgements = ParseBlock(row.value);
  if (!judgements.ok()) return Fault(row.table, row.key, std::string(judgements.status().message()));
  std::vector<Judgement>& all = judgements_[{run_id, round}];
  if (block * kJudgementBlock != all.size()) {
    return Fault(row.table, row.key, "a row before it is missing or has too few samples");
  }
  all.insert(all.end(), judgements->begin(), judgements->end());
}

void DatabaseCheck::ReadSample(const Row& row) {
  KeyReader key(row.key);
  uint64_t run_id = key.Take(8);
  uint32_t round = static_cast<uint32_t>(key.Take(4));
  auto purpose = static_cast<v1::Purpose>(key.Take(1));
  uint32_t index = static_cast<uint32_t>(key.Take(4));
  if (!key.Complete()) return Fault(row.table, row.key, "key has a wrong length");
  if (purpose != v1::PURPOSE_TRAINING && purpose != v1::PURPOSE_EVALUATION) {
    return Fault(row.table, row.key, absl::StrCat("key has an unknown purpose: ", purpose));
  }
  v1::SampleRecord sample;
  if (!Parse(row, sample)) return;
  if (sample.index() != index) return Fault(row.table, row.key, "key and value name different samples");
  samples_[{run_id, round, purpose}][index] = std::move(sample);
}

void DatabaseCheck::ReadPrompt(const Row& row) {
  KeyReader key(row.key);
  uint64_t run_id = key.Take(8);
  auto list = static_cast<PromptList>(key.Take(1));
  uint32_t index = static_cast<uint32_t>(key.Take(4));
  if (!key.Complete()) return Fault(row.table, row.key, "key has a wrong length");
  if (list != PromptList::kTrain && list != PromptList::kEvaluation) {
    return Fault(row.table, row.key, absl::StrCat("key has an unknown list: ", static_cast<int>(list)));
  }
  v1::PromptRecord prompt;
  if (!Parse(row, prompt)) return;
  prompts_[{run_id, list}].insert(index);
  if (!prompt.rejected()) return;
  if (list != PromptList::kTrain) return Fault(row.table, row.key, "an evaluation prompt is rejected");
  rejected_[run_id].insert(index);
}

void DatabaseCheck::ReadWorker(const Row& row) {
  v1::WorkerRecord worker;
  if (!Parse(row, worker)) return;
  if (row.key != worker.name()) return Fault(row.table, row.key, "key and value name different workers");
  workers_[worker.name()] = std::move(worker);
}

void DatabaseCheck::ReadGeneration(const Row& row) {
  v1::GenerationRecord generation;
  if (!Parse(row, generation)) return;
  if (row.key != GenerationKey(generation.run_id(), generation.round(), generation.generation())) {
    return Fault(row.table, row.key, "key and value name different generations");
  }
  generations_[{generation.run_id(), generation.round()}].push_back(std::move(generation));
}

void DatabaseCheck::ReadRequest(const Row& row) {
  v1::RequestRecord request;
  if (Parse(row, request)) requests_[row.key] = std::move(request);
}

void DatabaseCheck::ReadEvent(const Row& row) {
  v1::EventRecord event;
  if (!Parse(row, event)) return;
  if (row.key != EventKey(event.sequence()))
    return Fault(row.table, row.key, "key and value name different events");
  newest_event_ = std::max(newest_event_, event.sequence());
}

}  // namespace rsidiff::coordinator
