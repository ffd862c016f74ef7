#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

struct DrainOptions {
  std::string name;
  std::string deadline;
};

// "90" is seconds; else absl's form, 10m or 1h30m. Rounded up to whole seconds.
absl::StatusOr<absl::Duration> ParseDeadline(const std::string& text) {
  absl::Duration deadline;
  uint32_t seconds = 0;
  if (text.empty()) return absl::ZeroDuration();
  if (absl::SimpleAtoi(text, &seconds)) {
    deadline = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &deadline)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--deadline is a time as in 90, 90s or 10m, not \"", text, "\""));
  }
  if (deadline <= absl::ZeroDuration() || deadline > absl::Hours(24 * 365)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--deadline has to be above 0 and at most a year, not ", text));
  }
  return absl::Ceil(deadline, absl::Seconds(1));
}

absl::StatusOr<ExitCode> Drain(const DrainOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const absl::Duration deadline, ParseDeadline(options.deadline));
  RSIDIFF_ASSIGN_OR_RETURN(const v1::WorkerRecord worker,
                           context.client().DrainWorker(options.name, deadline));
  if (context.json) {
    context.PrintJson(worker);
  } else {
    context.out() << "worker " << worker.name() << " is " << WorkerStateName(worker.state()) << "\n";
  }
  return ExitCode::kOk;
}

}  // namespace

void AddWorkerDrain(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<DrainOptions>();
  CLI::App* app = parent.add_subcommand("drain", "Let a worker finish what it holds, take no more and exit");
  app->add_option("NAME", options->name, "Name of the worker")->required();
  app->add_option("--deadline", options->deadline,
                  "Give unfinished work to others after this time (90, 90s, 10m); default: never");
  app->footer("\nExamples:\n  rsidiff worker drain gpu-3 --deadline 10m");
  commands.Bind(app, [options](CommandContext& context) { return Drain(*options, context); });
}

}  // namespace rsidiff::coordinator
