#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/artifact/folder.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/new_folder.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr char kUnetWeights[] = "unet/diffusion_pytorch_model.safetensors";
constexpr char kLoraWeights[] = "pytorch_lora_weights.safetensors";

struct ExportOptions {
  std::string run;
  std::string round = "best";
  std::string out;
};

absl::StatusOr<v1::RoundRecord> FindRound(const v1::RunStatus& status, const std::string& name) {
  uint32_t wanted = status.run().best_round();
  if (name != "best" && !absl::SimpleAtoi(name, &wanted)) {
    return absl::InvalidArgumentError(absl::StrCat("--round is best or a number, not \"", name, "\""));
  }
  for (const v1::RoundRecord& round : status.rounds()) {
    if (round.round() != wanted) continue;
    if (wanted > 0 && round.checkpoint().empty()) {
      return absl::FailedPreconditionError(absl::StrCat("round ", wanted, " has not been trained yet"));
    }
    return round;
  }
  return absl::NotFoundError(absl::StrCat("run ", status.run().id(), " has no round ", wanted));
}

absl::Status CopyArtifact(ArtifactStore& store, const std::string& digest, const fs::path& to) {
  RSIDIFF_ASSIGN_OR_RETURN(const fs::path local, store.LocalPath(digest));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(to.parent_path()));
  return CopyFile(local, to);
}

// Other variants of the base's UNet would be picked up by a loader instead of the trained weights.
bool IsOtherUnet(const std::string& path) {
  return absl::StartsWith(path, "unet/") && path != kUnetWeights &&
         (absl::EndsWith(path, ".safetensors") || absl::EndsWith(path, ".safetensors.index.json"));
}

absl::Status WriteFull(ArtifactStore& store, const v1::RunStatus& status, const v1::RoundRecord& round,
                       const fs::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::FolderManifest manifest,
                           ReadFolderManifest(store, status.run().inputs().model()));
  const bool trained = round.round() > 0;
  for (const v1::FolderManifest::File& file : manifest.files()) {
    if (trained && (file.path() == kUnetWeights || IsOtherUnet(file.path()))) continue;
    RSIDIFF_RETURN_IF_ERROR(CopyArtifact(store, file.digest(), folder / file.path()));
  }
  return trained ? CopyArtifact(store, round.checkpoint(), folder / kUnetWeights) : absl::OkStatus();
}

// Where the folder comes from; diffusers does not look at it.
absl::Status WriteOrigin(const v1::RunStatus& status, const v1::RoundRecord& round, const fs::path& folder) {
  nlohmann::ordered_json scores = nlohmann::ordered_json::object();
  for (const v1::ScorerSpec& scorer : status.run().spec().scorers()) {
    const auto found = round.evaluation().scores().find(scorer.name());
    if (found != round.evaluation().scores().end()) scores[scorer.name()] = found->second.mean();
  }
  const nlohmann::ordered_json origin = {{"run", status.run().id()},
                                         {"name", status.run().spec().name()},
                                         {"round", round.round()},
                                         {"checkpoint", round.checkpoint()},
                                         {"base_model", status.run().inputs().model()},
                                         {"evaluation", std::move(scores)},
                                         {"version", RSIDIFF_VERSION}};
  return WriteFileAtomically(folder / "rsidiff.json", origin.dump(2) + "\n");
}

void Tell(const v1::RunStatus& status, const v1::RoundRecord& round, const ExportOptions& options, bool lora,
          CommandContext& context) {
  if (context.json) {
    context.PrintJson(round);
  } else {
    context.out() << options.out << "\n";
  }
  if (round.round() == 0) {
    const char* why = options.round != "best"         ? ""
                      : round.evaluation().complete() ? "the base model is the best so far: "
                                                      : "no round has been evaluated yet: ";
    context.Note(absl::StrCat(why, "exported the base model, unchanged"));
  } else {
    context.Note(absl::StrCat("exported round ", round.round(), " of run ", status.run().id(),
                              lora ? "; load it with pipeline.load_lora_weights(\""
                                   : "; load it with StableDiffusionPipeline.from_pretrained(\"",
                              options.out, "\")"));
  }
}

absl::StatusOr<ExitCode> Export(const ExportOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RoundRecord round, FindRound(status, options.round));
  RSIDIFF_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(options.out));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> store, context.client().OpenArtifacts());
  // The base model is a whole model, however the rounds are trained.
  const bool lora = status.run().spec().train().method() == v1::TRAIN_METHOD_LORA && round.round() > 0;
  if (lora) {
    RSIDIFF_RETURN_IF_ERROR(CopyArtifact(*store, round.checkpoint(), folder.path() / kLoraWeights));
  } else {
    RSIDIFF_RETURN_IF_ERROR(WriteFull(*store, status, round, folder.path()));
  }
  RSIDIFF_RETURN_IF_ERROR(WriteOrigin(status, round, folder.path()));
  RSIDIFF_RETURN_IF_ERROR(folder.Commit());
  Tell(status, round, options, lora, context);
  return ExitCode::kOk;
}

}  // namespace

void AddExport(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* app = parent.add_subcommand("export", "Write a round's model as a folder that diffusers loads");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_option("--round", options->round, "best, or the number of a round; 0 is the base model")
      ->capture_default_str();
  app->add_option("--out", options->out, "Folder to make; must not exist, or be empty")->required();
  app->footer(
      "\nA run that trains the whole UNet gives a pipeline folder, a LoRA run one with\n"
      "pytorch_lora_weights.safetensors.\n\nExamples:\n  rsidiff export shapes --round best --out "
      "best-model\n"
      "  rsidiff export shapes --round 3 --out round-3");
  commands.Bind(app, [options](CommandContext& context) { return Export(*options, context); });
}

}  // namespace rsidiff::coordinator
