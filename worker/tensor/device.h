#pragma once

#include <string>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// Where a model lives and in which type it computes.
struct ComputeOptions {
  c10::Device device = c10::Device(c10::DeviceType::CPU);
  c10::ScalarType dtype = c10::ScalarType::Float;
};

/// "auto" (the first CUDA device when there is one, else the CPU), "cpu", "cuda" or "cuda:INDEX".
/// INVALID_ARGUMENT for other text; UNAVAILABLE for a CUDA device that is not there.
absl::StatusOr<c10::Device> ParseDevice(absl::string_view text);

/// "fp32", "bf16" or "fp16"; INVALID_ARGUMENT for other text.
absl::StatusOr<c10::ScalarType> ParsePrecision(absl::string_view text);

/// The inverse of ParsePrecision, for those three.
std::string PrecisionName(c10::ScalarType dtype);

/// Settings for a process that computes. Call once at the start of main, before other threads and large
/// allocations: `threads` for torch's CPU kernels (at least 1), glibc's allocator told to keep large blocks
/// (torch maps and unmaps them at every step otherwise, measured at a third of a small model's time), no
/// TF32.
void ConfigureProcess(int threads);

/// One line for records: processor model, vector extension in use, torch version, this thread's number of
/// threads. On the CPU equal bits are promised only between equal descriptions.
std::string EnvironmentDescription();

}  // namespace rsidiff::worker
