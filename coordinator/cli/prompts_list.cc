#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/table.h"

namespace rsidiff::coordinator {
namespace {

struct PromptsListOptions {
  std::string run;
  bool rejected = false;
};

// The artifacts' lines as a JSON list. DATA_LOSS names the artifact.
absl::StatusOr<nlohmann::ordered_json> ReadRejected(const std::vector<std::string>& digests,
                                                    CommandContext& context) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  if (digests.empty()) return list;
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> store, context.client().OpenArtifacts());
  for (const std::string& digest : digests) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string lines, store->Get(digest));
    for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
      nlohmann::ordered_json rejected = nlohmann::ordered_json::parse(line, nullptr, false);
      if (!rejected.is_object()) {
        return absl::DataLossError(absl::StrCat("a line of the rejected prompts is not JSON: ", digest));
      }
      list.push_back(std::move(rejected));
    }
  }
  return list;
}

std::string TextAt(const nlohmann::ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::StatusOr<ExitCode> ListPrompts(const PromptsListOptions& options, CommandContext& context) {
  if (!options.rejected) {
    context.Note("error: prompts list needs --rejected");
    return ExitCode::kUsage;
  }
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  const v1::RunInputs& inputs = status.run().inputs();
  if (!inputs.has_filtered()) context.Note(absl::StrCat("run ", status.run().id(), " has no filter"));
  std::vector<std::string> digests;
  for (const std::string& digest :
       {inputs.rejected_prompts(), status.run().embedding_filter().rejected_prompts()}) {
    if (!digest.empty()) digests.push_back(digest);
  }
  RSIDIFF_ASSIGN_OR_RETURN(const nlohmann::ordered_json list, ReadRejected(digests, context));
  if (context.json) {
    context.out() << list.dump(1) << "\n";
    return ExitCode::kOk;
  }
  Table table({{"rejected by"}, {"prompt"}, {"reason"}});
  for (const nlohmann::ordered_json& rejected : list) {
    table.AddRow({TextAt(rejected, "rejected_by"), TextAt(rejected, "prompt"), TextAt(rejected, "reason")});
  }
  context.out() << table.Render(context.environment.out_terminal);
  return ExitCode::kOk;
}

}  // namespace

void AddPromptsList(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<PromptsListOptions>();
  CLI::App* app = parent.add_subcommand("list", "List the training prompts that a run's filter rejected");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_flag("--rejected", options->rejected,
                "The rejected ones, with the reasons; with --json also the scores");
  app->footer(
      "\nExamples:\n  rsidiff prompts list shapes --rejected\n"
      "  rsidiff prompts list 3 --rejected --json | jq -r '.[].prompt'");
  commands.Bind(app, [options](CommandContext& context) { return ListPrompts(*options, context); });
}

}  // namespace rsidiff::coordinator
