#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "coordinator/state/row.h"
#include "coordinator/state/task_id.h"
#include "google/protobuf/message_lite.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// Keys of the tables. Numbers are fixed-width big-endian, so that keys sort as the numbers do:
///
///   meta         "meta"                                              -> MetaRecord
///   runs         run:8                                               -> RunRecord
///   rounds       run:8 round:4                                       -> RoundRecord
///   tasks        run:8 round:4 kind:1 purpose:1 index:4              -> TaskRecord
///   judgements   run:8 round:4 block:4                               -> JudgementBlock
///   samples      run:8 round:4 purpose:1 index:4                     -> SampleRecord
///   prompts      run:8 list:1 index:4   (list 1 train, 2 evaluation) -> PromptRecord
///   workers      name                                                -> WorkerRecord
///   generations  run:8 round:4 generation:8                          -> GenerationRecord
///   requests     request_id                                          -> RequestRecord
///   events       sequence:8                                          -> EventRecord

inline constexpr uint32_t kSchemaVersion = 2;
inline constexpr absl::string_view kMetaKey = "meta";

/// Every table; parents come before children, and what tells which samples are needed before the samples.
inline constexpr Table kTables[] = {Table::kMeta,        Table::kRuns,     Table::kRounds,  Table::kTasks,
                                    Table::kJudgements,  Table::kSamples,  Table::kPrompts, Table::kWorkers,
                                    Table::kGenerations, Table::kRequests, Table::kEvents};

enum class PromptList : uint8_t { kTrain = 1, kEvaluation = 2 };

std::string RunKey(uint64_t run_id);
std::string RoundKey(uint64_t run_id, uint32_t round);
std::string TaskRowKey(const TaskId& task);
std::string SampleKey(uint64_t run_id, uint32_t round, v1::Purpose purpose, uint32_t index);
/// What the keys of a round's samples of `purpose` start with.
std::string SamplePrefix(uint64_t run_id, uint32_t round, v1::Purpose purpose);
std::string JudgementKey(uint64_t run_id, uint32_t round, uint32_t block);
std::string PromptKey(uint64_t run_id, PromptList list, uint32_t index);
std::string GenerationKey(uint64_t run_id, uint32_t round, uint64_t generation);
std::string EventKey(uint64_t sequence);

/// Reads fixed-width numbers off the front of a key.
class KeyReader {
 public:
  explicit KeyReader(absl::string_view key) : rest_(key) {}

  /// The next `width` bytes as a big-endian number; 0 past the end, which Complete() tells.
  uint64_t Take(size_t width);

  /// True if every byte was read and none was missing.
  bool Complete() const { return !short_ && rest_.empty(); }

 private:
  absl::string_view rest_;
  bool short_ = false;
};

/// "samples"; also the name of the column family.
absl::string_view TableName(Table table);

/// Serialized with map entries in key order, so that equal messages have equal bytes.
std::string DeterministicBytes(const google::protobuf::MessageLite& message);

/// True once the run has succeeded, failed or been cancelled. Of such a run neither the core nor a restart
/// needs more than its record and its rounds'.
bool HasEnded(const v1::RunRecord& run);

/// Which samples of a round and purpose a restart needs: those of rounds under way, and with replay those
/// that finished rounds selected; none of a run that has ended.
enum class SamplesNeeded { kNone, kSelected, kAll };
SamplesNeeded NeededSamples(const v1::RunRecord& run, v1::RoundPhase phase, v1::Purpose purpose);

}  // namespace rsidiff::coordinator
