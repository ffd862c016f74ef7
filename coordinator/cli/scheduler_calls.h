#pragma once

#include <cstdint>
#include <filesystem>

#include "absl/status/statusor.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// How a scheduler's steps become calls of the UNet; worker/sampler makes them.
enum class CallPattern {
  kOneAStep,    // DDIM, Euler, DPM-Solver++ of every order
  kPlms,        // PNDM with skip_prk_steps: the second timestep is evaluated twice
  kRungeKutta,  // PNDM without: each of the first three moves takes four calls
};

/// Of a run's scheduler. What `type` leaves open is read from the pipeline folder `model`; INVALID_ARGUMENT
/// and NOT_FOUND name its scheduler_config.json.
absl::StatusOr<CallPattern> ReadCallPattern(v1::SchedulerType type, const std::filesystem::path& model);

/// UNet calls of one trajectory; guidance makes two passes of each.
uint64_t CallsOf(CallPattern pattern, uint32_t steps);

}  // namespace rsidiff::coordinator
