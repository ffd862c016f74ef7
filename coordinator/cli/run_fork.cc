#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/run_file.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {
namespace {

struct ForkOptions {
  std::string run;
  uint32_t from_round = 0;
  uint32_t rounds = 0;
  std::vector<std::string> overrides;
};

absl::StatusOr<ExitCode> Fork(const ForkOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus parent, context.client().FindRun(options.run));
  v1::ForkRunRequest request;
  request.set_run_id(parent.run().id());
  request.set_from_round(options.from_round);
  request.set_rounds(options.rounds);
  if (!options.overrides.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(*request.mutable_spec(),
                             OverrideRunSpec(parent.run().spec(), options.overrides,
                                             absl::StrCat("the spec of run ", parent.run().id())));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const uint64_t id, context.client().ForkRun(std::move(request)));
  context.PrintRunId(id);
  context.Note(absl::StrCat("forked; follow it with: rsidiff run watch ", id));
  return ExitCode::kOk;
}

}  // namespace

void AddRunFork(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<ForkOptions>();
  CLI::App* app =
      parent.add_subcommand("fork", "Start a new run that shares a run's rounds up to one of them");
  app->add_option("RUN", options->run, "Id or name of the run to fork")->required();
  app->add_option("--from-round", options->from_round, "Last round that both runs share")->required();
  app->add_option("--rounds", options->rounds, "Rounds in total; default: as the run that is forked");
  app->add_option(
         "--set", options->overrides,
         "Replace a value of the run that is forked; may be given again. What the shared rounds were "
         "made with stays: model, prompts, scorers, evaluation and more")
      ->allow_extra_args(false)
      ->type_name("KEY.KEY=VALUE");
  app->footer(
      "\nPrints the new run's id. Without --set the same seed draws the same samples as in the run that is "
      "forked.\n\nExamples:\n  rsidiff run fork shapes --from-round 2 --rounds 6 --set seed=8\n"
      "  rsidiff run fork shapes --from-round 2 --set train.learning_rate=1e-5 --set stop.patience=3");
  commands.Bind(app, [options](CommandContext& context) { return Fork(*options, context); });
}

}  // namespace rsidiff::coordinator
