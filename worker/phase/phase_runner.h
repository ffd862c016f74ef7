#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <c10/core/Device.h>

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/scratch_folder.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

struct PhaseRunnerOptions {
  c10::Device device = c10::Device(c10::DeviceType::CPU);
  /// Several processes may share it: model folders laid out as links, and for each process a folder of files
  /// on their way to the store (ScratchFolder).
  std::filesystem::path folder;
  /// Address that other workers reach this one at, for training.
  std::string host = "127.0.0.1";
  /// Pictures kept between GENERATE and SCORE.
  size_t image_cache_bytes = size_t{256} << 20;
};

/// Computes every kind of task on one device, with the thread count that the run prescribes. What LibTorch
/// throws ends here and becomes a Status; every error begins with the task's name.
class PhaseRunner : public TaskRunner {
 public:
  /// Creates `options.folder` if need be, and removes what killed processes left in it. `store` has to
  /// outlive the runner.
  static absl::StatusOr<std::unique_ptr<PhaseRunner>> Create(const PhaseRunnerOptions& options,
                                                             ArtifactStore& store);

  absl::StatusOr<v1::TaskResult> Run(const v1::Grant& grant, TaskControl& control) override;

 private:
  PhaseRunner(const PhaseRunnerOptions& options, ArtifactStore& store,
              std::unique_ptr<ScratchFolder> scratch);
  absl::StatusOr<v1::TaskResult> Compute(const v1::Grant& grant, TaskControl& control);

  const std::unique_ptr<ScratchFolder> scratch_;
  ModelCache models_;
  ImageCache images_;
  PhaseContext context_;
};

}  // namespace rsidiff::worker
