#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/state/row.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// Reads at most `limit` committed rows with begin <= key < end, in key order; an empty `end` is the
/// table's end. Any thread; blocks on the disk.
using ReadRows = std::function<absl::StatusOr<std::vector<Row>>(Table table, const std::string& begin,
                                                                const std::string& end, size_t limit)>;

/// Walks the samples of one round in index order. Not thread-safe.
class SampleReader {
 public:
  /// NOT_FOUND: no such run, or it has no such round.
  static absl::StatusOr<SampleReader> Open(ReadRows read, const v1::ListSamplesRequest& request);

  /// The next samples, at most 500, with their prompts; empty at the end. DATA_LOSS names a bad row.
  absl::StatusOr<v1::ListSamplesResponse> Next();

 private:
  SampleReader(ReadRows read, const v1::ListSamplesRequest& request);
  absl::StatusOr<std::string> Prompt(uint32_t prompt_id);

  ReadRows read_;
  v1::ListSamplesRequest request_;
  uint32_t next_index_ = 0;
  bool ended_ = false;
  std::map<uint32_t, std::string> prompts_;  // keyed by prompt_id; those seen so far
};

/// Events after `request.after`, oldest first. INVALID_ARGUMENT: the limit exceeds 1'000.
absl::StatusOr<v1::ListEventsResponse> ListEvents(const ReadRows& read, const v1::ListEventsRequest& request);

}  // namespace rsidiff::coordinator
