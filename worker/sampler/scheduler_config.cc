#include "worker/sampler/scheduler_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {
namespace {

struct TypeName {
  SchedulerType type;
  absl::string_view name;
  absl::string_view diffusers_class;
};

constexpr TypeName kTypeNames[] = {
    {SchedulerType::kDdim, "ddim", "DDIMScheduler"},
    {SchedulerType::kPndm, "pndm", "PNDMScheduler"},
    {SchedulerType::kEuler, "euler", "EulerDiscreteScheduler"},
    {SchedulerType::kDpmSolverPlusPlus, "dpmsolver++", "DPMSolverMultistepScheduler"}};

// diffusers writes this for a DPM-Solver without clipping; it is no JSON. The stand-in reads as "none".
constexpr char kMinusInfinity[] = "-Infinity";
constexpr double kNoClipping = -1e300;

// Keys of diffusers' interchangeable schedulers. Those that the class at hand does not have are left out
// there too, as `X.from_config` does.
constexpr std::initializer_list<absl::string_view> kKeysOfOtherClasses = {"algorithm_type",
                                                                          "clip_sample",
                                                                          "clip_sample_range",
                                                                          "dynamic_thresholding_ratio",
                                                                          "euler_at_final",
                                                                          "final_sigmas_type",
                                                                          "flow_shift",
                                                                          "interpolation_type",
                                                                          "lambda_min_clipped",
                                                                          "lower_order_final",
                                                                          "predict_x0",
                                                                          "rescale_betas_zero_snr",
                                                                          "sample_max_value",
                                                                          "set_alpha_to_one",
                                                                          "sigma_max",
                                                                          "sigma_min",
                                                                          "skip_prk_steps",
                                                                          "solver_order",
                                                                          "solver_p",
                                                                          "solver_type",
                                                                          "disable_corrector",
                                                                          "thresholding",
                                                                          "time_shift_type",
                                                                          "timestep_type",
                                                                          "use_beta_sigmas",
                                                                          "use_dynamic_shifting",
                                                                          "use_exponential_sigmas",
                                                                          "use_flow_sigmas",
                                                                          "use_karras_sigmas",
                                                                          "use_lu_lambdas",
                                                                          "variance_type"};

// The value of `key` out of named choices; anything else is a problem.
template <typename T, size_t N>
T Choice(JsonConfig& json, const std::string& key, const std::pair<const char*, T> (&choices)[N],
         T fallback) {
  if (!json.Has(key)) return fallback;
  const std::string value = json.String(key, "");
  for (const auto& [name, choice] : choices) {
    if (value == name) return choice;
  }
  json.AddProblem(absl::StrCat("unsupported value for ", key, ": \"", value, "\""));
  return fallback;
}

void RefuseTrue(JsonConfig& json, const std::string& key) {
  if (json.Bool(key, false)) json.AddProblem(absl::StrCat("unsupported value for ", key, ": true"));
}

void ReadBetas(JsonConfig& json, SchedulerConfig& config) {
  static constexpr std::pair<const char*, BetaSchedule> kSchedules[] = {
      {"linear", BetaSchedule::kLinear},
      {"scaled_linear", BetaSchedule::kScaledLinear},
      {"squaredcos_cap_v2", BetaSchedule::kSquaredCosine}};
  config.num_train_timesteps = static_cast<int>(json.Int("num_train_timesteps", 1000));
  config.beta_start = json.Number("beta_start", 0.0001);
  config.beta_end = json.Number("beta_end", 0.02);
  config.beta_schedule = Choice(json, "beta_schedule", kSchedules, BetaSchedule::kLinear);
  config.trained_betas = json.Numbers("trained_betas", {});
  if (config.num_train_timesteps < 2 || config.num_train_timesteps > 1000000) {
    json.AddProblem(
        absl::StrCat("num_train_timesteps is not from 2 to 1000000: ", config.num_train_timesteps));
  }
  if (!config.trained_betas.empty() && config.trained_betas.size() != config.num_train_timesteps) {
    json.AddProblem(absl::StrCat("trained_betas has ", config.trained_betas.size(),
                                 " entries, num_train_timesteps is ", config.num_train_timesteps));
  }
}

void ReadPrediction(JsonConfig& json, SchedulerConfig& config) {
  static constexpr std::pair<const char*, PredictionType> kTypes[] = {
      {"epsilon", PredictionType::kEpsilon},
      {"sample", PredictionType::kSample},
      {"v_prediction", PredictionType::kVPrediction}};
  config.prediction_type = Choice(json, "prediction_type", kTypes, PredictionType::kEpsilon);
  if (config.type == SchedulerType::kPndm && config.prediction_type == PredictionType::kSample) {
    json.AddProblem("unsupported value for prediction_type of PNDM: \"sample\"");
  }
}

void ReadSpacing(JsonConfig& json, TimestepSpacing fallback, SchedulerConfig& config) {
  static constexpr std::pair<const char*, TimestepSpacing> kSpacings[] = {
      {"leading", TimestepSpacing::kLeading},
      {"trailing", TimestepSpacing::kTrailing},
      {"linspace", TimestepSpacing::kLinspace}};
  config.timestep_spacing = Choice(json, "timestep_spacing", kSpacings, fallback);
  config.steps_offset = static_cast<int>(json.Int("steps_offset", 0));
}

void ReadDdim(JsonConfig& json, SchedulerConfig& config) {
  ReadSpacing(json, TimestepSpacing::kLeading, config);
  config.set_alpha_to_one = json.Bool("set_alpha_to_one", true);
  config.rescale_betas_zero_snr = json.Bool("rescale_betas_zero_snr", false);
  const double range = json.Number("clip_sample_range", 1.0);
  if (json.Bool("clip_sample", true)) config.clip_sample_range = range;
  RefuseTrue(json, "thresholding");
}

void ReadPndm(JsonConfig& json, SchedulerConfig& config) {
  ReadSpacing(json, TimestepSpacing::kLeading, config);
  config.set_alpha_to_one = json.Bool("set_alpha_to_one", false);
  config.skip_prk_steps = json.Bool("skip_prk_steps", false);
}

void ReadSigmas(JsonConfig& json, SchedulerConfig& config) {
  static constexpr std::pair<const char*, FinalSigma> kFinals[] = {{"zero", FinalSigma::kZero},
                                                                   {"sigma_min", FinalSigma::kSigmaMin}};
  ReadSpacing(json, TimestepSpacing::kLinspace, config);
  config.rescale_betas_zero_snr = json.Bool("rescale_betas_zero_snr", false);
  config.final_sigma = Choice(json, "final_sigmas_type", kFinals, FinalSigma::kZero);
  RefuseTrue(json, "use_beta_sigmas");
  const bool karras = json.Bool("use_karras_sigmas", false);
  const bool exponential = json.Bool("use_exponential_sigmas", false);
  if (karras && exponential)
    json.AddProblem("use_karras_sigmas and use_exponential_sigmas exclude each other");
  if (exponential) config.sigma_spacing = SigmaSpacing::kExponential;
  if (karras) config.sigma_spacing = SigmaSpacing::kKarras;
}

void ReadEuler(JsonConfig& json, SchedulerConfig& config) {
  static constexpr std::pair<const char*, bool> kInterpolations[] = {{"linear", false}, {"log_linear", true}};
  static constexpr std::pair<const char*, bool> kTimesteps[] = {{"discrete", false}, {"continuous", true}};
  ReadSigmas(json, config);
  config.sigma_min = json.OptionalNumber("sigma_min");
  config.sigma_max = json.OptionalNumber("sigma_max");
  config.log_linear_interpolation = Choice(json, "interpolation_type", kInterpolations, false);
  config.continuous_timesteps = Choice(json, "timestep_type", kTimesteps, false);
}

void ReadDpmSolver(JsonConfig& json, SchedulerConfig& config) {
  // diffusers takes the names of the second row for midpoint.
  static constexpr std::pair<const char*, SolverType> kSolvers[] = {{"midpoint", SolverType::kMidpoint},
                                                                    {"heun", SolverType::kHeun},
                                                                    {"logrho", SolverType::kMidpoint},
                                                                    {"bh1", SolverType::kMidpoint},
                                                                    {"bh2", SolverType::kMidpoint}};
  ReadSigmas(json, config);
  json.RequireValue("algorithm_type", {"\"dpmsolver++\"", "\"deis\""});
  config.solver_type = Choice(json, "solver_type", kSolvers, SolverType::kMidpoint);
  config.solver_order = static_cast<int>(json.Int("solver_order", 2));
  if (config.solver_order < 1 || config.solver_order > 3) {
    json.AddProblem(absl::StrCat("unsupported value for solver_order: ", config.solver_order));
  }
  config.lower_order_final = json.Bool("lower_order_final", true);
  config.euler_at_final = json.Bool("euler_at_final", false);
  if (config.sigma_spacing == SigmaSpacing::kTimesteps && json.Bool("use_lu_lambdas", false)) {
    config.sigma_spacing = SigmaSpacing::kLu;
  }
  const double clipped = json.Number("lambda_min_clipped", kNoClipping);
  if (clipped > kNoClipping) config.lambda_min_clipped = clipped;
  for (const char* key : {"thresholding", "use_flow_sigmas", "use_dynamic_shifting"}) RefuseTrue(json, key);
  const std::string variance = json.String("variance_type", "");
  if (variance == "learned" || variance == "learned_range") {
    json.AddProblem(absl::StrCat("unsupported value for variance_type: \"", variance, "\""));
  }
}

absl::StatusOr<SchedulerType> TypeOfClass(const std::string& file, const std::string& diffusers_class) {
  for (const TypeName& entry : kTypeNames) {
    if (entry.diffusers_class == diffusers_class) return entry.type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": unsupported value for _class_name: \"", diffusers_class,
                   "\"; name one of ddim, pndm, euler, dpmsolver++ instead of it"));
}

}  // namespace

absl::StatusOr<SchedulerType> ParseSchedulerType(absl::string_view name) {
  for (const TypeName& entry : kTypeNames) {
    if (entry.name == name) return entry.type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown scheduler \"", name, "\"; there are ddim, pndm, euler and dpmsolver++"));
}

absl::string_view SchedulerTypeName(SchedulerType type) {
  for (const TypeName& entry : kTypeNames) {
    if (entry.type == type) return entry.name;
  }
  return "unknown";
}

absl::StatusOr<SchedulerConfig> LoadSchedulerConfig(const std::filesystem::path& folder,
                                                    std::optional<SchedulerType> type) {
  const std::filesystem::path file = folder / "scheduler_config.json";
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  RSIDIFF_ASSIGN_OR_RETURN(
      JsonConfig json,
      JsonConfig::Parse(absl::StrReplaceAll(text, {{kMinusInfinity, "-1e300"}}), file.string()));
  SchedulerConfig config;
  if (type.has_value()) {
    config.type = *type;
  } else {
    RSIDIFF_ASSIGN_OR_RETURN(config.type, TypeOfClass(file.string(), json.String("_class_name", "")));
  }
  ReadBetas(json, config);
  ReadPrediction(json, config);
  switch (config.type) {
    case SchedulerType::kDdim:
      ReadDdim(json, config);
      break;
    case SchedulerType::kPndm:
      ReadPndm(json, config);
      break;
    case SchedulerType::kEuler:
      ReadEuler(json, config);
      break;
    case SchedulerType::kDpmSolverPlusPlus:
      ReadDpmSolver(json, config);
      break;
  }
  json.Ignore(kKeysOfOtherClasses);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

}  // namespace rsidiff::worker
