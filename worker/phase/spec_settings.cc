#include "worker/phase/spec_settings.h"

namespace rsidiff::worker {

c10::ScalarType DtypeOf(v1::Precision precision) {
  switch (precision) {
    case v1::PRECISION_BF16:
      return c10::ScalarType::BFloat16;
    case v1::PRECISION_FP16:
      return c10::ScalarType::Half;
    default:
      return c10::ScalarType::Float;
  }
}

std::optional<SchedulerType> SchedulerOf(v1::SchedulerType type) {
  switch (type) {
    case v1::SCHEDULER_TYPE_DDIM:
      return SchedulerType::kDdim;
    case v1::SCHEDULER_TYPE_PNDM:
      return SchedulerType::kPndm;
    case v1::SCHEDULER_TYPE_EULER:
      return SchedulerType::kEuler;
    case v1::SCHEDULER_TYPE_DPMSOLVERPP:
      return SchedulerType::kDpmSolverPlusPlus;
    default:
      return std::nullopt;
  }
}

ScorerType ScorerTypeOf(v1::ScorerType type) {
  switch (type) {
    case v1::SCORER_TYPE_HPS:
      return ScorerType::kHps;
    case v1::SCORER_TYPE_PICKSCORE:
      return ScorerType::kPickScore;
    case v1::SCORER_TYPE_AESTHETIC:
      return ScorerType::kAesthetic;
    default:
      return ScorerType::kClipScore;
  }
}

}  // namespace rsidiff::worker
