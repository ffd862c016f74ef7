#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

struct RunEventsOptions {
  std::string run;
  uint64_t after = 0;
};

absl::StatusOr<ExitCode> ListRunEvents(const RunEventsOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<v1::EventRecord> events,
                           context.client().ListEvents(status.run().id(), options.after));
  if (context.json) {
    v1::ListEventsResponse list;
    *list.mutable_events() = {events.begin(), events.end()};
    context.PrintJson(list);
    return ExitCode::kOk;
  }
  Table table({{"number", Align::kRight}, {"time (UTC)"}, {"round", Align::kRight}, {"worker"}, {"event"}});
  for (const v1::EventRecord& event : events) {
    table.AddRow({absl::StrCat(event.sequence()), TimeText(event.time_us()),
                  event.round() == 0 ? "-" : absl::StrCat(event.round()),
                  event.worker().empty() ? "-" : event.worker(), event.text()});
  }
  context.out() << table.Render(context.environment.out_terminal);
  return ExitCode::kOk;
}

}  // namespace

void AddRunEvents(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<RunEventsOptions>();
  CLI::App* app = parent.add_subcommand("events", "List what happened to a run: phases, retries, warnings");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_option("--after", options->after, "Only events after the one of this number");
  app->footer(
      "\nExamples:\n  rsidiff run events shapes\n  rsidiff run events shapes --after 1200\n"
      "  rsidiff run events 3 --json");
  commands.Bind(app, [options](CommandContext& context) { return ListRunEvents(*options, context); });
}

}  // namespace rsidiff::coordinator
