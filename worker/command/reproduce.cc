#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/artifact/coordinator_store.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/open_store.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "worker/agent/coordinator_client.h"
#include "worker/command/command.h"
#include "worker/phase/device_report.h"
#include "worker/phase/phase_runner.h"
#include "worker/phase/unwatched_control.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

struct ReproduceArguments {
  std::string coordinator, task, out;
};

/// Reads what the coordinator has, writes into a folder of its own: what comes out is compared by somebody
/// else, and does not belong beside the run's artifacts when it differs.
class LocalResults : public ArtifactStore {
 public:
  LocalResults(ArtifactStore& inputs, ArtifactStore& results) : inputs_(inputs), results_(results) {}

  absl::StatusOr<std::string> Put(absl::string_view bytes) override { return results_.Put(bytes); }
  absl::StatusOr<std::string> PutFile(const fs::path& file) override { return results_.PutFile(file); }
  absl::StatusOr<std::string> Get(absl::string_view digest) override { return inputs_.Get(digest); }
  absl::StatusOr<fs::path> LocalPath(absl::string_view digest) override { return inputs_.LocalPath(digest); }
  absl::StatusOr<bool> Contains(absl::string_view digest) override { return inputs_.Contains(digest); }

 private:
  ArtifactStore& inputs_;
  ArtifactStore& results_;
};

class AloneControl : public UnwatchedControl {
 public:
  void Warn(const std::string& sentence) override {
    std::fprintf(stderr, "rsidiff-worker: %s\n", sentence.c_str());
  }
};

absl::StatusOr<v1::Grant> ReadTask(const fs::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  v1::Grant task;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &task);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.string(), ": not a task in JSON: ", std::string(parsed.message())));
  }
  if (!task.payload().has_generate()) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": not a generate task"));
  }
  return task;
}

absl::StatusOr<std::unique_ptr<ArtifactStore>> OpenInputs(const ReproduceArguments& arguments,
                                                          const fs::path& scratch) {
  CoordinatorStoreOptions options;
  options.cache = scratch / "fetched";
  options.retry_for = absl::Seconds(30);
  RSIDIFF_ASSIGN_OR_RETURN(OpenedStore opened, OpenStore(OpenChannel(arguments.coordinator), options));
  return std::move(opened.store);
}

// The pictures under the names of their samples, and what describes them.
absl::StatusOr<nlohmann::ordered_json> WritePictures(const v1::Grant& task, const v1::GenerateResult& result,
                                                     ArtifactStore& results, const fs::path& out) {
  nlohmann::ordered_json pictures = nlohmann::ordered_json::array();
  for (int i = 0; i < result.images_size(); ++i) {
    const uint32_t index = task.payload().generate().items(i).index();
    const std::string name = absl::StrFormat("%05d.png", index);
    RSIDIFF_ASSIGN_OR_RETURN(const std::string png, results.Get(result.images(i)));
    RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(out / name, png));
    pictures.push_back({{"index", index}, {"file", name}, {"sha256", result.images(i)}});
  }
  return pictures;
}

absl::Status Reproduce(const ReproduceArguments& arguments) {
  ConfigureProcess(1);  // the task sets its own thread count
  RSIDIFF_ASSIGN_OR_RETURN(const v1::Grant task, ReadTask(arguments.task));
  const fs::path out = arguments.out;
  const fs::path scratch = out / "scratch";
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(scratch));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> inputs, OpenInputs(arguments, scratch));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<DirectoryStore> results,
                           DirectoryStore::Open(scratch / "results"));
  LocalResults store(*inputs, *results);
  PhaseRunnerOptions options;
  options.folder = scratch / "work";
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<PhaseRunner> runner, PhaseRunner::Create(options, store));
  AloneControl control;
  RSIDIFF_ASSIGN_OR_RETURN(const v1::TaskResult result, runner->Run(task, control));
  RSIDIFF_ASSIGN_OR_RETURN(nlohmann::ordered_json pictures,
                           WritePictures(task, result.generate(), *results, out));
  const nlohmann::ordered_json summary = {{"environment", result.generate().environment()},
                                          {"latents", result.generate().latents()},
                                          {"pictures", std::move(pictures)}};
  std::error_code ignored;
  fs::remove_all(scratch, ignored);
  std::printf("%s\n", summary.dump().c_str());
  return absl::OkStatus();
}

}  // namespace

void AddReproduceCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ReproduceArguments>();
  ReproduceArguments& a = *arguments;
  CLI::App& command =
      *app.add_subcommand("reproduce", "Compute a run's generate task again, on the CPU, beside the run");
  command.add_option("--coordinator", a.coordinator, "HOST:PORT of the coordinator, which has the models")
      ->envname("RSIDIFF_COORDINATOR")
      ->required();
  command.add_option("--task", a.task, "The task: a Grant (coordinator.proto) as JSON")
      ->required()
      ->check(CLI::ExistingFile);
  command.add_option("--out", a.out, "Folder for the pictures, NNNNN.png")->required();
  command.footer(
      "Goes through the code that draws a run's samples, with the task's batch shape and thread count; "
      "nothing is\nreported to the run. Prints the pictures' digests and the environment as JSON.\n"
      "`rsidiff reproduce SAMPLE` makes the task and compares.\n"
      "Example:\n"
      "  rsidiff-worker reproduce --coordinator head:7070 --task task.json --out again");
  command.callback(
      [&invocation, arguments] { invocation.run = [arguments] { return Reproduce(*arguments); }; });
}

}  // namespace rsidiff::worker
