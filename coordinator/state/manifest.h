#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

enum class Replay { kNo, kYes };

/// The line of a training manifest (TrainWork in work.proto) for `sample`, with its line break.
std::string ManifestLine(absl::string_view prompt, const v1::SampleRecord& sample, double weight,
                         Replay replay);

/// A training manifest in the making, in parts that are small enough to be stored without holding up other
/// writes.
class ManifestParts {
 public:
  /// The last one may have fewer.
  static constexpr uint32_t kLines = 16'384;

  void Add(absl::string_view line);
  /// The manifest is at its end.
  void Finish();
  /// The parts that became complete since the last call, in order.
  std::vector<std::string> TakeComplete();
  /// Of all complete parts.
  const std::vector<std::string>& digests() const { return digests_; }

 private:
  std::string part_;
  uint32_t lines_ = 0;
  std::vector<std::string> complete_;
  std::vector<std::string> digests_;
};

}  // namespace rsidiff::coordinator
