#include "worker/sampler/scheduler.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/sampler/ddim_scheduler.h"
#include "worker/sampler/dpm_solver_scheduler.h"
#include "worker/sampler/euler_scheduler.h"
#include "worker/sampler/noise_schedule.h"
#include "worker/sampler/pndm_scheduler.h"

namespace rsidiff::worker {

absl::StatusOr<std::unique_ptr<Scheduler>> CreateScheduler(const SchedulerConfig& config, int steps) {
  if (steps < 1 || steps > config.num_train_timesteps) {
    return absl::InvalidArgumentError(
        absl::StrCat("the number of steps is not from 1 to ", config.num_train_timesteps, ": ", steps));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const NoiseSchedule noise, NoiseSchedule::Create(config));
  switch (config.type) {
    case SchedulerType::kDdim:
      return DdimScheduler::Create(config, noise, steps);
    case SchedulerType::kPndm:
      return PndmScheduler::Create(config, noise, steps);
    case SchedulerType::kEuler:
      return EulerScheduler::Create(config, noise, steps);
    case SchedulerType::kDpmSolverPlusPlus:
      return DpmSolverScheduler::Create(config, noise, steps);
  }
  return absl::InternalError("unknown scheduler type");
}

}  // namespace rsidiff::worker
