#include "coordinator/cli/scheduler_calls.h"

#include <nlohmann/json.hpp>

#include "common/base/status_macros.h"
#include "coordinator/cli/model_config.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint64_t kRungeKuttaMoves = 3;
constexpr uint64_t kRungeKuttaCallsOfAMove = 4;

}  // namespace

absl::StatusOr<CallPattern> ReadCallPattern(v1::SchedulerType type, const std::filesystem::path& model) {
  if (type != v1::SCHEDULER_TYPE_UNSPECIFIED && type != v1::SCHEDULER_TYPE_PNDM)
    return CallPattern::kOneAStep;
  RSIDIFF_ASSIGN_OR_RETURN(const nlohmann::json config,
                           ReadModelConfig(model / "scheduler/scheduler_config.json"));
  const auto name = config.find("_class_name");
  const bool pndm = type == v1::SCHEDULER_TYPE_PNDM || (name != config.end() && *name == "PNDMScheduler");
  if (!pndm) return CallPattern::kOneAStep;
  const auto skip = config.find("skip_prk_steps");
  return skip != config.end() && *skip == true ? CallPattern::kPlms : CallPattern::kRungeKutta;
}

uint64_t CallsOf(CallPattern pattern, uint32_t steps) {
  switch (pattern) {
    case CallPattern::kOneAStep:
      return steps;
    case CallPattern::kPlms:
      return steps < 2 ? steps : uint64_t{steps} + 1;
    case CallPattern::kRungeKutta:
      // The worker refuses fewer than four steps.
      return steps <= kRungeKuttaMoves
                 ? steps
                 : steps - kRungeKuttaMoves + kRungeKuttaMoves * kRungeKuttaCallsOfAMove;
  }
  return steps;
}

}  // namespace rsidiff::coordinator
