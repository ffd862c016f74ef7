#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "coordinator/cli/child_process.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;

struct ReproduceOptions {
  std::string sample;
  std::string worker;
  std::string out;
  int tolerance = 0;
};

/// What the worker made of the sample's task.
struct Reproduction {
  std::string digest;
  std::string png;
  std::string environment;
  bool same_latents = false;  // of the whole chunk
};

/// How the reproduction relates to the record.
struct Comparison {
  bool same_picture = false;  // bit for bit, the file's text entries included
  bool same_environment = false;
  std::optional<int> largest_difference;  // of a channel, 0..255; none: the recorded picture is gone
};

/// A folder that goes away with the object.
class ScratchFolder {
 public:
  static absl::StatusOr<ScratchFolder> Create() {
    std::error_code error;
    fs::path path = fs::temp_directory_path(error);
    if (error) {
      return ErrnoStatus(error.value(), "no folder for temporary files (TMPDIR, where it is set, else /tmp)");
    }
    path /= absl::StrCat("rsidiff-reproduce-", RandomId());
    RSIDIFF_RETURN_IF_ERROR(CreateFolders(path));
    return ScratchFolder(std::move(path));
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, fs::path())) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

// RUN/ROUND/INDEX or RUN/ROUND/eval/INDEX; RUN is an id or a name.
absl::StatusOr<v1::GetSampleRequest> ParseSample(const std::string& text, CommandContext& context) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  const bool evaluation = parts.size() == 4 && parts[2] == "eval";
  v1::GetSampleRequest request;
  uint32_t round = 0;
  uint32_t index = 0;
  if ((parts.size() != 3 && !evaluation) || parts[0].empty() || !absl::SimpleAtoi(parts[1], &round) ||
      !absl::SimpleAtoi(parts.back(), &index)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a sample is RUN/ROUND/INDEX or RUN/ROUND/eval/INDEX, as `rsidiff samples` gives it, not \"", text,
        "\""));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus run, context.client().FindRun(parts[0]));
  request.set_run_id(run.run().id());
  request.set_round(round);
  request.set_index(index);
  request.set_purpose(evaluation ? v1::PURPOSE_EVALUATION : v1::PURPOSE_TRAINING);
  return request;
}

// The worker that was installed, or built, with this program.
absl::StatusOr<std::string> FindWorker(const std::string& given) {
  if (!given.empty()) return given;
  std::error_code error;
  const fs::path own = fs::read_symlink("/proc/self/exe", error);
  const fs::path beside = own.parent_path() / "rsidiff-worker";
  if (!error && access(beside.c_str(), X_OK) == 0) return beside.string();
  return absl::NotFoundError(
      absl::StrCat("there is no rsidiff-worker at ", beside.string(), "; name one with --worker"));
}

bool HasText(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string();
}

// What `rsidiff-worker reproduce` prints. A worker of another version may print something else.
bool IsSummary(const nlohmann::json& printed) {
  if (!HasText(printed, "environment") || !HasText(printed, "latents")) return false;
  const auto pictures = printed.find("pictures");
  if (pictures == printed.end() || !pictures->is_array()) return false;
  return std::all_of(pictures->begin(), pictures->end(), [](const nlohmann::json& picture) {
    const auto index = picture.find("index");
    return HasText(picture, "file") && index != picture.end() && index->is_number_unsigned();
  });
}

absl::StatusOr<Reproduction> Compute(const v1::GetSampleResponse& origin, const std::string& worker,
                                     const std::string& coordinator) {
  RSIDIFF_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::Create());
  const fs::path task = scratch.path() / "task.json";
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(task, ToJson(origin.task())));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string printed,
                           RunProgram({worker, "reproduce", "--coordinator", coordinator, "--task",
                                       task.string(), "--out", scratch.path().string()}));
  const nlohmann::json summary = nlohmann::json::parse(printed, nullptr, /*allow_exceptions=*/false);
  if (!IsSummary(summary)) {
    return absl::InternalError(absl::StrCat(worker, " printed no summary; is it of another version?"));
  }
  for (const nlohmann::json& picture : summary["pictures"]) {
    if (picture["index"].get<uint64_t>() != origin.sample().index()) continue;
    Reproduction made;
    RSIDIFF_ASSIGN_OR_RETURN(made.png, ReadFile(scratch.path() / picture["file"].get<std::string>()));
    made.digest = Sha256Hex(made.png);
    made.environment = summary["environment"].get<std::string>();
    made.same_latents = summary["latents"].get<std::string>() == origin.sample().latents();
    return made;
  }
  return absl::InternalError(absl::StrCat(worker, " did not draw sample ", origin.sample().id()));
}

absl::StatusOr<int> LargestDifference(const std::string& recorded, const std::string& made) {
  RSIDIFF_ASSIGN_OR_RETURN(const Image before, DecodePng(recorded));
  RSIDIFF_ASSIGN_OR_RETURN(const Image after, DecodePng(made));
  if (before.width != after.width || before.height != after.height) {
    return absl::InternalError(absl::StrCat("the recorded picture has ", before.width, " x ", before.height,
                                            " pixels, the reproduction ", after.width, " x ", after.height));
  }
  int largest = 0;
  for (size_t i = 0; i < before.rgb.size(); ++i) {
    largest = std::max(largest, std::abs(int{before.rgb[i]} - int{after.rgb[i]}));
  }
  return largest;
}

absl::StatusOr<Comparison> Compare(const v1::SampleRecord& sample, const Reproduction& made,
                                   CommandContext& context) {
  Comparison comparison;
  comparison.same_environment = sample.environment() == made.environment;
  comparison.same_picture = sample.image() == made.digest;
  if (comparison.same_picture) {
    comparison.largest_difference = 0;
    return comparison;
  }
  RSIDIFF_ASSIGN_OR_RETURN(const auto store, context.client().OpenArtifacts());
  const absl::StatusOr<std::string> recorded = store->Get(sample.image());
  if (absl::IsNotFound(recorded.status())) return comparison;
  RSIDIFF_RETURN_IF_ERROR(recorded.status());
  RSIDIFF_ASSIGN_OR_RETURN(comparison.largest_difference, LargestDifference(*recorded, made.png));
  return comparison;
}

void Print(const v1::SampleRecord& sample, const Reproduction& made, const Comparison& comparison,
           CommandContext& context) {
  if (context.json) {
    nlohmann::ordered_json line = {{"sample", sample.id()},
                                   {"same_picture", comparison.same_picture},
                                   {"same_latents", made.same_latents},
                                   {"same_environment", comparison.same_environment},
                                   {"recorded_sha256", sample.image()},
                                   {"reproduced_sha256", made.digest},
                                   {"recorded_environment", sample.environment()},
                                   {"environment", made.environment}};
    line["largest_difference"] =
        comparison.largest_difference ? nlohmann::json(*comparison.largest_difference) : nlohmann::json();
    context.out() << line.dump(1) << "\n";
    return;
  }
  if (!comparison.same_environment) {
    context.Note(absl::StrCat("the environments differ, so the bits may:\n  recorded: ",
                              sample.environment().empty() ? "(none)" : sample.environment(),
                              "\n  here:     ", made.environment));
  }
  if (comparison.same_picture) {
    context.out() << sample.id() << ": the same picture, bit for bit, " << made.digest << "\n";
  } else if (!comparison.largest_difference.has_value()) {
    context.out() << sample.id()
                  << ": another picture; the recorded one is gone, so there is no difference to "
                  << "tell\n";
  } else if (*comparison.largest_difference == 0) {
    context.out() << sample.id() << ": the same pixels in another PNG file, " << made.digest << "\n";
  } else {
    context.out() << sample.id() << ": largest pixel difference " << *comparison.largest_difference
                  << " of 255\n";
  }
}

absl::StatusOr<ExitCode> Reproduce(const ReproduceOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::GetSampleRequest request, ParseSample(options.sample, context));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string worker, FindWorker(options.worker));
  RSIDIFF_ASSIGN_OR_RETURN(const v1::GetSampleResponse origin, context.client().GetSample(request));
  RSIDIFF_ASSIGN_OR_RETURN(const Reproduction made, Compute(origin, worker, context.coordinator));
  if (!options.out.empty()) RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(options.out, made.png));
  RSIDIFF_ASSIGN_OR_RETURN(const Comparison comparison, Compare(origin.sample(), made, context));
  Print(origin.sample(), made, comparison, context);
  const bool close =
      comparison.largest_difference.has_value() && *comparison.largest_difference <= options.tolerance;
  return close ? ExitCode::kOk : ExitCode::kFailed;
}

}  // namespace

void AddReproduce(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<ReproduceOptions>();
  CLI::App* app =
      parent.add_subcommand("reproduce", "Draw a run's sample again, here on the CPU, and compare the two");
  app->add_option("SAMPLE", options->sample,
                  "Its id, as `rsidiff samples` gives it: RUN/ROUND/INDEX, RUN/ROUND/eval/INDEX of an "
                  "evaluation")
      ->required();
  app->add_option("--tolerance", options->tolerance, "Largest pixel difference (of 255) that is no failure")
      ->check(CLI::Range(0, 255))
      ->capture_default_str();
  app->add_option("--out", options->out, "Keep the picture in this PNG file");
  app->add_option("--worker", options->worker,
                  "The rsidiff-worker to draw with (default: the one beside this)");
  app->footer(
      "\nThe sample's whole chunk is drawn by rsidiff-worker on this machine, from the recorded model, "
      "seeds, "
      "batch shape\nand thread count. Where processor and libraries are those that the sample was drawn "
      "with, the "
      "file is the\nsame bit for bit; else the command says what differs, and how far the pixels do.\n"
      "The exit code is 1 when a pixel differs by more than the tolerance.\n\nExamples:\n"
      "  rsidiff reproduce 3/2/17\n"
      "  rsidiff reproduce shapes/0/eval/4 --out again.png\n"
      "  rsidiff reproduce 3/2/17 --tolerance 2 --worker /opt/rsidiff/bin/rsidiff-worker");
  commands.Bind(app, [options](CommandContext& context) { return Reproduce(*options, context); });
}

}  // namespace rsidiff::coordinator
