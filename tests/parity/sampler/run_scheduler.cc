// run_scheduler GIVEN.safetensors RESULT.safetensors < lines of {"folder", "type" or null, "steps"}
// GIVEN holds "sample" and "outputs" [calls, ...sample]. RESULT gets, for line i, "i.timesteps",
// "i.init_noise_sigma", "i.inputs" and "i.samples" (one row a call); a line of {"error"} or {} goes to
// stdout. The tensors are on RSIDIFF_TEST_DEVICE.
#include <iostream>
#include <optional>
#include <string>

#include <ATen/ATen.h>

#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/parity/compute_device.h"
#include "worker/sampler/scheduler.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

absl::Status RunCase(const nlohmann::json& request, const std::string& prefix, const at::Tensor& start,
                     const at::Tensor& outputs, NamedTensors& results) {
  std::optional<SchedulerType> type;
  if (!request["type"].is_null()) {
    RSIDIFF_ASSIGN_OR_RETURN(type, ParseSchedulerType(request["type"].get<std::string>()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const SchedulerConfig config,
                           LoadSchedulerConfig(request["folder"].get<std::string>(), type));
  RSIDIFF_ASSIGN_OR_RETURN(const auto scheduler, CreateScheduler(config, request["steps"].get<int>()));
  std::vector<at::Tensor> inputs, samples;
  at::Tensor sample = start * scheduler->init_noise_sigma();
  for (int i = 0; i < scheduler->num_calls(); ++i) {
    inputs.push_back(scheduler->ScaleModelInput(sample, i));
    sample = scheduler->Step(outputs[i], i, sample);
    samples.push_back(sample);
  }
  results.emplace_back(prefix + ".timesteps", at::tensor(scheduler->timesteps()));
  results.emplace_back(prefix + ".init_noise_sigma",
                       at::tensor({scheduler->init_noise_sigma()}, at::kDouble));
  results.emplace_back(prefix + ".inputs", at::stack(inputs));
  results.emplace_back(prefix + ".samples", at::stack(samples));
  return absl::OkStatus();
}

absl::Status Run(const std::string& given, const std::string& result) {
  RSIDIFF_ASSIGN_OR_RETURN(const c10::Device device, TestDevice());
  RSIDIFF_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(given));
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor sample, file->Get("sample"));
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor outputs, file->Get("outputs"));
  const at::Tensor start = sample.to(device);
  const at::Tensor answers = outputs.to(device);
  NamedTensors results;
  int index = 0;
  for (std::string line; std::getline(std::cin, line); ++index) {
    const absl::Status status =
        RunCase(nlohmann::json::parse(line), std::to_string(index), start, answers, results);
    std::cout << (status.ok() ? nlohmann::json::object()
                              : nlohmann::json{{"error", std::string(status.message())}})
              << "\n";
  }
  return WriteSafetensors(result, results, {});
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  const absl::Status status = argc == 3 ? rsidiff::worker::Run(argv[1], argv[2])
                                        : absl::InvalidArgumentError("two arguments are needed");
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
