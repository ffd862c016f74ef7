#pragma once

#include <cstdlib>
#include <string>

#include <c10/core/Device.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {

/// Where the parity tests run our side: what RSIDIFF_TEST_DEVICE names, in ParseDevice's words, by default
/// the CPU. ParseDevice's errors.
inline absl::StatusOr<c10::Device> TestDevice() {
  const char* named = std::getenv("RSIDIFF_TEST_DEVICE");
  absl::StatusOr<c10::Device> device = ParseDevice(named != nullptr ? named : "cpu");
  if (device.ok()) return device;
  return absl::Status(device.status().code(),
                      absl::StrCat("RSIDIFF_TEST_DEVICE: ", device.status().message()));
}

}  // namespace rsidiff::worker
