// Covers made-up embeddings as a worker's FILTER task does, and prints the environment, how long that took
// and how much memory.
//
//   cover_million [PROMPTS [WIDTH [DEVICE]]]        default 1000000 64 cpu
//
// The embeddings are random directions, a tenth of them earlier ones moved a little. All others are kept:
// nearly the most work that so many prompts can be. Their files lie in the temporary folder (PROMPTS * WIDTH
// * 4 bytes).
#include <sys/resource.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "worker/phase/device_report.h"
#include "worker/phase/image_cache.h"
#include "worker/phase/model_cache.h"
#include "worker/phase/prompt_cover.h"
#include "worker/phase/unwatched_control.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFile = 1024;  // prompts of an EMBED task
constexpr int64_t kEvery = 10;   // one in so many is near to an earlier one
constexpr double kMoved = 0.1;   // and so far from it, of length 1: 1 - cosine is 0.005
constexpr double kDistance = 0.05;
constexpr size_t kNoImages = 1;

double PeakGib() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

at::Tensor UnitRows(const at::Tensor& rows) {
  return rows / rows.norm(2, {1}, /*keepdim=*/true);
}

// `earlier` are the rows of the file before; undefined for the first.
at::Tensor NextRows(const at::Tensor& earlier, at::IntArrayRef shape, at::Generator& random) {
  at::Tensor rows = UnitRows(at::randn(shape, random));
  if (!earlier.defined()) return rows;
  at::Tensor near = rows.slice(0, kEvery - 1, shape[0], kEvery);
  near.mul_(kMoved).add_(earlier.slice(0, 0, kEvery * near.size(0), kEvery));
  return UnitRows(rows);
}

absl::StatusOr<v1::FilterWork> WriteEmbeddings(int64_t prompts, int64_t width, ArtifactStore& store) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(7);
  at::Tensor empty = at::zeros({width});
  empty[0] = 1;
  v1::FilterWork work;
  work.set_distance(kDistance);
  work.set_prompts(static_cast<uint32_t>(prompts));
  at::Tensor rows;
  for (int64_t begin = 0; begin < prompts; begin += kFile) {
    rows = NextRows(rows, {std::min(kFile, prompts - begin), width}, random);
    RSIDIFF_ASSIGN_OR_RETURN(const std::string file,
                             SerializeSafetensors({{"embeddings", rows}, {"empty", empty}}, {}));
    RSIDIFF_ASSIGN_OR_RETURN(*work.add_embeddings(), store.Put(file));
  }
  return work;
}

absl::Status Run(int64_t prompts, int64_t width, const std::string& device_name, const fs::path& folder) {
  ConfigureProcess(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  c10::NoGradGuard no_grad;
  RSIDIFF_ASSIGN_OR_RETURN(const c10::Device device, ParseDevice(device_name));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<DirectoryStore> store,
                           DirectoryStore::Open(folder / "artifacts"));
  RSIDIFF_ASSIGN_OR_RETURN(const v1::FilterWork work, WriteEmbeddings(prompts, width, *store));
  ModelCache models(*store, device, folder / "models");
  ImageCache images(kNoImages);
  PhaseContext context{*store, device, models, images, folder, ""};
  UnwatchedControl control;
  double load = 0;
  getloadavg(&load, 1);
  std::printf("environment  %s, load %.1f\n", PictureEnvironment(device).c_str(), load);
  std::printf("embeddings   %lld of width %lld\n", static_cast<long long>(prompts),
              static_cast<long long>(width));
  const double before = PeakGib();
  const absl::Time begun = absl::Now();
  RSIDIFF_ASSIGN_OR_RETURN(const v1::FilterResult result, CoverPrompts(work, context, control));
  std::printf("time         %.1f s, reading included\n", absl::ToDoubleSeconds(absl::Now() - begun));
  std::printf("rejected     %d\n", result.rejected_size());
  std::printf("peak memory  %.2f GiB, %.2f GiB before the covering; on %s %.2f GiB\n", PeakGib(), before,
              device.str().c_str(), static_cast<double>(DeviceMemoryInUse(device)) / (1 << 30));
  return absl::OkStatus();
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("cover_million-" + rsidiff::RandomId());
  const absl::Status status =
      rsidiff::worker::Run(argc > 1 ? std::atoll(argv[1]) : 1'000'000, argc > 2 ? std::atoll(argv[2]) : 64,
                           argc > 3 ? argv[3] : "cpu", folder);
  fs::remove_all(folder);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
