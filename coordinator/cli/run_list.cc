#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

absl::StatusOr<ExitCode> ListRuns(CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::ListRunsResponse list, context.client().ListRuns());
  if (context.json) {
    context.PrintJson(list);
    return ExitCode::kOk;
  }
  if (list.runs().empty()) {
    context.Note("no runs");
    return ExitCode::kOk;
  }
  Table table({{"id", Align::kRight},
               {"name"},
               {"state"},
               {"round"},
               {"best", Align::kRight},
               {"submitted (UTC)"},
               {""}});
  for (const v1::RunStatus& status : list.runs()) {
    const v1::RunRecord& run = status.run();
    const Style style = run.state() == v1::RUN_STATE_FAILED   ? Style::kRed
                        : run.state() == v1::RUN_STATE_ACTIVE ? Style::kBold
                                                              : Style::kPlain;
    table.AddRow({absl::StrCat(run.id()), run.spec().name(), StateName(run.state()),
                  absl::StrCat(run.newest_round(), "/", run.spec().rounds()), absl::StrCat(run.best_round()),
                  TimeText(run.submitted_us()), run.collapse().empty() ? "" : "collapsed"},
                 style);
  }
  context.out() << table.Render(context.environment.out_terminal);
  return ExitCode::kOk;
}

}  // namespace

void AddRunList(CLI::App& parent, CommandSet& commands) {
  CLI::App* app = parent.add_subcommand("list", "List the runs");
  app->footer("\nExamples:\n  rsidiff run list\n  rsidiff run list --json");
  commands.Bind(app, ListRuns);
}

}  // namespace rsidiff::coordinator
