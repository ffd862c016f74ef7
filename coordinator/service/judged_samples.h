#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/state/database.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// Reads a round's samples together with what the round found about them. Blocks on the disk; not
/// thread-safe.
class JudgedSamples {
 public:
  /// `database` is not owned and outlives the reader. `run` has the rows itself: it is not a fork of it.
  JudgedSamples(const Database* database, const v1::RunRecord& run, uint32_t round, v1::Purpose purpose);

  /// At most `limit` samples in index order, from index `start`. Their judgement is filled in as far as the
  /// round has come. DATA_LOSS names a bad row.
  absl::StatusOr<std::vector<v1::SampleRecord>> Read(uint32_t start, uint32_t limit);

 private:
  absl::Status ReadBlock(uint32_t block);

  const Database* database_;
  v1::RunSpec spec_;
  StatisticsMap statistics_;
  uint64_t run_id_;
  uint32_t round_;
  v1::Purpose purpose_;
  // The row of table judgements that was read last; empty when there is none.
  bool any_block_ = false;
  uint32_t block_ = 0;
  std::vector<Judgement> judgements_;
};

}  // namespace rsidiff::coordinator
