#include "coordinator/state/tables.h"

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace rsidiff::coordinator {
namespace {

void Append(std::string& key, uint64_t value, int width) {
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) key.push_back(static_cast<char>(value >> shift));
}

}  // namespace

std::string RunKey(uint64_t run_id) {
  std::string key;
  Append(key, run_id, 8);
  return key;
}

std::string RoundKey(uint64_t run_id, uint32_t round) {
  std::string key = RunKey(run_id);
  Append(key, round, 4);
  return key;
}

std::string TaskRowKey(const TaskId& task) {
  std::string key = RoundKey(task.run_id, task.round);
  Append(key, task.kind, 1);
  Append(key, task.purpose, 1);
  Append(key, task.index, 4);
  return key;
}

std::string SamplePrefix(uint64_t run_id, uint32_t round, v1::Purpose purpose) {
  std::string key = RoundKey(run_id, round);
  Append(key, purpose, 1);
  return key;
}

std::string SampleKey(uint64_t run_id, uint32_t round, v1::Purpose purpose, uint32_t index) {
  std::string key = SamplePrefix(run_id, round, purpose);
  Append(key, index, 4);
  return key;
}

std::string JudgementKey(uint64_t run_id, uint32_t round, uint32_t block) {
  std::string key = RoundKey(run_id, round);
  Append(key, block, 4);
  return key;
}

std::string PromptKey(uint64_t run_id, PromptList list, uint32_t index) {
  std::string key = RunKey(run_id);
  Append(key, static_cast<uint64_t>(list), 1);
  Append(key, index, 4);
  return key;
}

std::string GenerationKey(uint64_t run_id, uint32_t round, uint64_t generation) {
  std::string key = RoundKey(run_id, round);
  Append(key, generation, 8);
  return key;
}

std::string EventKey(uint64_t sequence) {
  return RunKey(sequence);
}

uint64_t KeyReader::Take(size_t width) {
  if (rest_.size() < width) {
    short_ = true;
    return 0;
  }
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value = value << 8 | static_cast<unsigned char>(rest_[i]);
  rest_.remove_prefix(width);
  return value;
}

absl::string_view TableName(Table table) {
  switch (table) {
    case Table::kMeta:
      return "meta";
    case Table::kRuns:
      return "runs";
    case Table::kRounds:
      return "rounds";
    case Table::kTasks:
      return "tasks";
    case Table::kJudgements:
      return "judgements";
    case Table::kSamples:
      return "samples";
    case Table::kPrompts:
      return "prompts";
    case Table::kWorkers:
      return "workers";
    case Table::kGenerations:
      return "generations";
    case Table::kRequests:
      return "requests";
    case Table::kEvents:
      return "events";
  }
  return "unknown";
}

std::string DeterministicBytes(const google::protobuf::MessageLite& message) {
  std::string bytes(message.ByteSizeLong(), '\0');
  google::protobuf::io::ArrayOutputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeWithCachedSizes(&coded);
  return bytes;
}

bool HasEnded(const v1::RunRecord& run) {
  return run.state() == v1::RUN_STATE_SUCCEEDED || run.state() == v1::RUN_STATE_FAILED ||
         run.state() == v1::RUN_STATE_CANCELLED;
}

SamplesNeeded NeededSamples(const v1::RunRecord& run, v1::RoundPhase phase, v1::Purpose purpose) {
  if (HasEnded(run)) return SamplesNeeded::kNone;
  if (purpose == v1::PURPOSE_EVALUATION) {
    return phase == v1::ROUND_PHASE_EVALUATE ? SamplesNeeded::kAll : SamplesNeeded::kNone;
  }
  switch (phase) {
    case v1::ROUND_PHASE_SAMPLE:
    case v1::ROUND_PHASE_REFERENCE:
    case v1::ROUND_PHASE_SELECT:
    case v1::ROUND_PHASE_WEIGHT:
    case v1::ROUND_PHASE_TRAIN:
      return SamplesNeeded::kAll;
    case v1::ROUND_PHASE_EVALUATE:
    case v1::ROUND_PHASE_DONE:
      return run.spec().train().replay() > 0 ? SamplesNeeded::kSelected : SamplesNeeded::kNone;
    default:
      return SamplesNeeded::kNone;
  }
}

}  // namespace rsidiff::coordinator
