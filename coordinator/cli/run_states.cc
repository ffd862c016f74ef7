#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

absl::StatusOr<ExitCode> SetState(const std::string& name, v1::RunState state, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus before, context.client().FindRun(name));
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus after, context.client().SetRunState(before.run().id(), state));
  if (context.json) {
    context.PrintJson(after);
  } else {
    context.out() << "run " << after.run().id() << " is " << StateName(after.run().state()) << "\n";
  }
  return ExitCode::kOk;
}

void AddState(CLI::App& parent, CommandSet& commands, const std::string& verb, const std::string& help,
              v1::RunState state) {
  auto run = std::make_shared<std::string>();
  CLI::App* app = parent.add_subcommand(verb, help);
  app->add_option("RUN", *run, "Id or name of the run")->required();
  app->footer(absl::StrCat("\nExamples:\n  rsidiff run ", verb, " shapes"));
  commands.Bind(app, [run, state](CommandContext& context) { return SetState(*run, state, context); });
}

}  // namespace

void AddRunStates(CLI::App& parent, CommandSet& commands) {
  AddState(parent, commands, "pause", "Give out no more work of a run; what is in flight finishes",
           v1::RUN_STATE_PAUSED);
  AddState(parent, commands, "resume", "Go on with a paused run", v1::RUN_STATE_ACTIVE);
  AddState(parent, commands, "cancel", "End a run; what it has made stays", v1::RUN_STATE_CANCELLED);
}

}  // namespace rsidiff::coordinator
