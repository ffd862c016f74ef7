#pragma once

#include <cstdint>
#include <string>

#include <c10/core/Device.h>

namespace rsidiff::worker {

/// A device as people and schedulers want it described.
struct DeviceReport {
  std::string id;             // "cpu" or "cuda:0"
  std::string name;           // product name; for the CPU empty
  uint64_t memory_bytes = 0;  // 0 for the CPU
};
DeviceReport DescribeDevice(c10::Device device);

/// What the bits of a picture drawn now on `device` depend on beside its task: the device where it is not the
/// CPU, EnvironmentDescription(), this program's version and the libraries that write PNG files.
std::string PictureEnvironment(c10::Device device);

/// Bytes that this process holds on the device; 0 for the CPU. Any thread.
uint64_t DeviceMemoryInUse(c10::Device device);

}  // namespace rsidiff::worker
