#include "coordinator/cli/command.h"

#include <google/protobuf/util/json_util.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "common/base/address.h"
#include "common/config/unknown_command.h"

namespace rsidiff::coordinator {
namespace {

constexpr char kRootFooter[] = R"(
Every command takes --coordinator and --json. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 failed; 2 wrong command line or run file; 3 the watched run failed or was
cancelled; 4 the coordinator or a judge cannot be reached.

Examples:
  rsidiff run submit deploy/examples/shapes.yaml --watch
  rsidiff run show shapes
  rsidiff export shapes --round best --out best-model)";

void AddRunCommands(CLI::App& root, CommandSet& commands) {
  CLI::App* run = root.add_subcommand("run", "Submit runs, look at them, steer them");
  run->require_subcommand(1);
  AddRunSubmit(*run, commands);
  AddRunList(*run, commands);
  AddRunShow(*run, commands);
  AddRunEvents(*run, commands);
  AddRunWatch(*run, commands);
  AddRunStates(*run, commands);
  AddRunFork(*run, commands);
  run->footer(
      "\nRUN is a run's id, or its name (the newest run of that name).\n\nExamples:\n"
      "  rsidiff run submit run.yaml\n  rsidiff run watch 3\n  rsidiff run pause shapes");
}

void AddCommands(CLI::App& root, CommandSet& commands) {
  AddRunCommands(root, commands);
  CLI::App* round = root.add_subcommand("round", "Look into one round of a run");
  round->require_subcommand(1);
  AddRoundShow(*round, commands);
  round->footer("\nExamples:\n  rsidiff round show shapes 2");
  CLI::App* prompts = root.add_subcommand("prompts", "Filter prompts, and list those that a run rejected");
  prompts->require_subcommand(1);
  AddPromptsFilter(*prompts, commands);
  AddPromptsList(*prompts, commands);
  prompts->footer(
      "\nExamples:\n  rsidiff prompts filter --out filtered prompts/*.txt\n"
      "  rsidiff prompts list shapes --rejected");
  CLI::App* worker = root.add_subcommand("worker", "List and drain workers");
  worker->require_subcommand(1);
  AddWorkerList(*worker, commands);
  AddWorkerDrain(*worker, commands);
  worker->footer("\nExamples:\n  rsidiff worker list\n  rsidiff worker drain gpu-3 --deadline 10m");
  AddSamples(root, commands);
  AddGrid(root, commands);
  AddReport(root, commands);
  AddReproduce(root, commands);
  AddExport(root, commands);
  AddBackup(root, commands);
  AddDoctor(root, commands);
  AddVersion(root, commands);
  AddCompletion(root, commands);
}

ExitCode Report(const absl::Status& status, Environment& environment) {
  environment.err << Styled("error:", Style::kRed, environment.err_terminal) << " " << status.message()
                  << "\n";
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kInvalidArgument:
      return ExitCode::kUsage;
    default:
      return ExitCode::kFailed;
  }
}

}  // namespace

ControlClient& CommandContext::client() {
  if (client_ == nullptr) client_ = std::make_unique<ControlClient>(coordinator, environment.patience);
  return *client_;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only for malformed Any fields, which the API does not have.
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}\n";
}

void CommandContext::PrintJson(const google::protobuf::Message& message) const {
  out() << ToJson(message);
}

void CommandContext::PrintRunId(uint64_t id) const {
  if (!json) {
    out() << id << "\n";
    return;
  }
  v1::SubmitRunResponse response;
  response.set_run_id(id);
  PrintJson(response);
}

void CommandSet::Bind(CLI::App* app, Command command) {
  app->callback([this, command = std::move(command)] { selected_ = command; });
}

namespace {

ExitCode ParseAndRun(std::vector<std::string> arguments, Environment& environment) {
  CommandContext context(environment);
  CommandSet commands;
  CLI::App app("rsidiff: self-evolution of diffusion models over a fleet of workers", "rsidiff");
  app.fallthrough();
  app.require_subcommand(1);
  app.footer(kRootFooter);
  app.set_version_flag("--version", "rsidiff " RSIDIFF_VERSION);
  app.add_option("--coordinator", context.coordinator, "Address of the coordinator, HOST:PORT")
      ->envname("RSIDIFF_COORDINATOR")
      ->check(HostPortFault)
      ->capture_default_str();
  app.add_flag("--json", context.json, "Print the result as one JSON document");
  AddCommands(app, commands);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    if (const std::string unknown = UnknownCommand(app, error); !unknown.empty()) {
      return Report(absl::InvalidArgumentError(unknown), environment);
    }
    return app.exit(error, environment.out, environment.err) == 0 ? ExitCode::kOk : ExitCode::kUsage;
  }
  if (!commands.selected()) return ExitCode::kUsage;
  const absl::StatusOr<ExitCode> result = commands.selected()(context);
  return result.ok() ? *result : Report(result.status(), environment);
}

}  // namespace

ExitCode RunCommandLine(std::vector<std::string> arguments, Environment& environment) {
  // Commands return their errors. What a library throws all the same is told like them.
  try {
    return ParseAndRun(std::move(arguments), environment);
  } catch (const std::exception& error) {
    return Report(absl::InternalError(error.what()), environment);
  }
}

}  // namespace rsidiff::coordinator
