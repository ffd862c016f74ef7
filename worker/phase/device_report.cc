#include "worker/phase/device_report.h"

#ifdef USE_CUDA
#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

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

uint64_t DeviceMemoryInUse(c10::Device device) {
#ifdef USE_CUDA
  if (device.is_cuda()) {
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return static_cast<uint64_t>(
        c10::cuda::CUDACachingAllocator::getDeviceStats(device.index()).reserved_bytes[kAll].current);
  }
#endif
  return 0;
}

}  // namespace rsidiff::worker
