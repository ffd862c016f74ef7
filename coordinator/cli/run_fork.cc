#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {
namespace {

struct ForkOptions {
  std::string run;
  uint32_t from_round = 0;
  uint32_t rounds = 0;
};

absl::StatusOr<ExitCode> Fork(const ForkOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus parent, context.client().FindRun(options.run));
  RSIDIFF_ASSIGN_OR_RETURN(const uint64_t id,
                           context.client().ForkRun(parent.run().id(), options.from_round, options.rounds));
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
  app->footer("\nPrints the new run's id.\n\nExamples:\n  rsidiff run fork shapes --from-round 2 --rounds 6");
  commands.Bind(app, [options](CommandContext& context) { return Fork(*options, context); });
}

}  // namespace rsidiff::coordinator
