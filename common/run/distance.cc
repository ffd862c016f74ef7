#include "common/run/distance.h"

#include "absl/strings/str_cat.h"

namespace rsidiff {

bool MeasuresDistances(const v1::WeightSpec& weights) {
  switch (weights.method()) {
    case v1::WEIGHT_METHOD_GAUSSIAN:
    case v1::WEIGHT_METHOD_KNN:
    case v1::WEIGHT_METHOD_UNSPECIFIED:
      return true;
    default:
      return false;
  }
}

absl::Status CheckNeighbours(const v1::WeightSpec& weights, uint64_t samples) {
  const bool enough = samples < 2 || samples > weights.neighbours();
  if (weights.method() != v1::WEIGHT_METHOD_KNN || enough) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("weights.neighbours is ", weights.neighbours(),
                                                 ", and round 1 has only ", samples,
                                                 " samples: more samples are needed than neighbours"));
}

}  // namespace rsidiff
