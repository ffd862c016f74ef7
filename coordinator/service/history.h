#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/service/judged_samples.h"
#include "coordinator/state/core.h"
#include "coordinator/state/database.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// Walks the samples of one round in index order, as they are on the disk: beside the core, which forgets
/// the samples of finished rounds. Blocks on the disk; not thread-safe.
class SampleReader {
 public:
  /// `database` is not owned and outlives the reader. NOT_FOUND: no such run, or it has no such round.
  static absl::StatusOr<SampleReader> Open(const Database* database, const v1::ListSamplesRequest& request);

  /// The next samples, at most 500, with their prompts; empty at the end. DATA_LOSS names a bad row.
  absl::StatusOr<v1::ListSamplesResponse> Next();

 private:
  SampleReader(const Database* database, const v1::ListSamplesRequest& request, const v1::RunRecord& holder);
  absl::StatusOr<std::string> Prompt(uint32_t prompt_id);

  const Database* database_;
  v1::ListSamplesRequest
      request_;  // run_id is the run that holds the rows: a fork's parent has the early ones
  uint32_t next_index_ = 0;
  bool ended_ = false;
  const uint64_t asked_run_id_;
  JudgedSamples samples_;
  std::map<uint32_t, std::string> prompts_;  // keyed by prompt_id; those seen so far
};

/// One sample and the GENERATE task of its chunk, made up again from what is stored of run, round and
/// samples. Blocks on the disk. NOT_FOUND names what is not there.
absl::StatusOr<v1::GetSampleResponse> GetSample(const Database& database,
                                                const v1::GetSampleRequest& request);

/// Stored events after `request.after`, oldest first; limit 0 stands for 1'000. INVALID_ARGUMENT: the
/// limit exceeds 1'000.
absl::StatusOr<v1::ListEventsResponse> ListEvents(const Database& database,
                                                  const v1::ListEventsRequest& request);

/// What the core needs for a fork of a run that has ended; nothing where the run has not, or is not there.
/// Blocks on the disk.
absl::StatusOr<ForkRun> ReadForkSource(const Database& database, const v1::ForkRunRequest& request);

}  // namespace rsidiff::coordinator
