#include "worker/phase/device_report.h"

#ifdef USE_CUDA
#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

#include "absl/strings/str_cat.h"
#include "common/image/png.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {

DeviceReport DescribeDevice(c10::Device device) {
  DeviceReport report;
  report.id = device.str();
#ifdef USE_CUDA
  if (device.is_cuda()) {
    const cudaDeviceProp* properties = at::cuda::getDeviceProperties(device.index());
    report.name = properties->name;
    report.memory_bytes = properties->totalGlobalMem;
  }
#endif
  return report;
}

std::string PictureEnvironment(c10::Device device) {
  const std::string other = device.is_cpu() ? "" : absl::StrCat(DescribeDevice(device).name, " on ");
  return absl::StrCat(other, EnvironmentDescription(), "; rsidiff ", RSIDIFF_VERSION, ", ", PngLibraries());
}

uint64_t DeviceMemoryInUse(c10::Device device) {
#ifdef USE_CUDA
  // Before the first tensor on a CUDA device there is nothing to report, and asking would throw.
  c10::cuda::CUDACachingAllocator::CUDAAllocator* allocator = c10::cuda::CUDACachingAllocator::get();
  if (device.is_cuda() && allocator != nullptr && allocator->initialized()) {
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return static_cast<uint64_t>(allocator->getDeviceStats(device.index()).reserved_bytes[kAll].current);
  }
#endif
  return 0;
}

}  // namespace rsidiff::worker
