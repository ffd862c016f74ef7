#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

enum class SchedulerType { kDdim, kPndm, kEuler, kDpmSolverPlusPlus };

/// "ddim", "pndm", "euler" or "dpmsolver++", as the command line and run files spell them.
absl::StatusOr<SchedulerType> ParseSchedulerType(absl::string_view name);
absl::string_view SchedulerTypeName(SchedulerType type);

/// What the model predicts.
enum class PredictionType { kEpsilon, kSample, kVPrediction };
enum class BetaSchedule { kLinear, kScaledLinear, kSquaredCosine };
enum class TimestepSpacing { kLeading, kTrailing, kLinspace };
/// What takes the place of the noise level after the last step.
enum class FinalSigma { kZero, kSigmaMin };
enum class SigmaSpacing { kTimesteps, kKarras, kExponential, kLu };
enum class SolverType { kMidpoint, kHeun };

/// scheduler_config.json as one scheduler class of diffusers reads it. The members' values here are those
/// common to the classes; LoadSchedulerConfig puts in a class's own where the file is silent.
struct SchedulerConfig {
  SchedulerType type = SchedulerType::kPndm;
  int num_train_timesteps = 1000;
  double beta_start = 0.0001;
  double beta_end = 0.02;
  BetaSchedule beta_schedule = BetaSchedule::kLinear;
  std::vector<double> trained_betas;  // empty: from the three above
  PredictionType prediction_type = PredictionType::kEpsilon;
  TimestepSpacing timestep_spacing = TimestepSpacing::kLeading;
  int steps_offset = 0;
  bool rescale_betas_zero_snr = false;

  bool set_alpha_to_one = false;                                         // DDIM, PNDM
  std::optional<double> clip_sample_range;                               // DDIM; none: clip_sample is false
  bool skip_prk_steps = false;                                           // PNDM
  SigmaSpacing sigma_spacing = SigmaSpacing::kTimesteps;                 // Euler, DPM-Solver++
  FinalSigma final_sigma = FinalSigma::kZero;                            // Euler, DPM-Solver++
  std::optional<double> sigma_min, sigma_max;                            // Euler
  bool log_linear_interpolation = false;                                 // Euler
  bool continuous_timesteps = false;                                     // Euler
  int solver_order = 2;                                                  // DPM-Solver++
  SolverType solver_type = SolverType::kMidpoint;                        // DPM-Solver++
  bool lower_order_final = true;                                         // DPM-Solver++
  bool euler_at_final = false;                                           // DPM-Solver++
  double lambda_min_clipped = -std::numeric_limits<double>::infinity();  // DPM-Solver++
};

/// Reads `folder`/scheduler_config.json. With `type`, as diffusers' `X.from_config(other.config)` does: the
/// keys that X knows are taken from the file and the others have X's defaults. A value that is not supported,
/// a key of no known scheduler and a value of the wrong kind are errors that name file and key.
absl::StatusOr<SchedulerConfig> LoadSchedulerConfig(const std::filesystem::path& folder,
                                                    std::optional<SchedulerType> type = std::nullopt);

}  // namespace rsidiff::worker
