#include "worker/tensor/device.h"

#include <malloc.h>

#include <fstream>
#include <limits>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace rsidiff::worker {
namespace {

int CudaDeviceCount() {
  return at::globalContext().hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
}

std::string ProcessorModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    size_t colon = line.find(':');
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return std::string(absl::StripLeadingAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "unknown processor";
}

}  // namespace

absl::StatusOr<c10::Device> ParseDevice(absl::string_view text) {
  if (text == "cpu") return c10::Device(c10::kCPU);
  if (text == "auto") {
    return CudaDeviceCount() > 0 ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  }
  absl::string_view rest = text;
  int index = 0;
  bool named = absl::ConsumePrefix(&rest, "cuda");
  if (named && !rest.empty()) {
    named = absl::ConsumePrefix(&rest, ":") && absl::SimpleAtoi(rest, &index) && index >= 0 &&
            index <= std::numeric_limits<c10::DeviceIndex>::max();
  }
  if (!named) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown device: ", text, " (auto, cpu, cuda and cuda:INDEX are known)"));
  }
  if (index >= CudaDeviceCount()) {
    return absl::UnavailableError(
        absl::StrCat("no such CUDA device: ", text, "; devices found: ", CudaDeviceCount()));
  }
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

absl::StatusOr<c10::ScalarType> ParsePrecision(absl::string_view text) {
  if (text == "fp32") return c10::kFloat;
  if (text == "bf16") return c10::kBFloat16;
  if (text == "fp16") return c10::kHalf;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown precision: ", text, " (fp32, bf16 and fp16 are known)"));
}

std::string PrecisionName(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::kFloat:
      return "fp32";
    case c10::kBFloat16:
      return "bf16";
    case c10::kHalf:
      return "fp16";
    default:
      return c10::toString(dtype);
  }
}

void ConfigureProcess(int threads) {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
  at::set_num_threads(std::max(1, threads));
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
}

std::string EnvironmentDescription() {
  return absl::StrCat(ProcessorModel(), ", ", at::get_cpu_capability(), "; torch ", TORCH_VERSION, "; ",
                      at::get_num_threads(), at::get_num_threads() == 1 ? " thread" : " threads");
}

}  // namespace rsidiff::worker
