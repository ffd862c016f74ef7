#include <CLI/CLI.hpp>

#include "common/base/protocol.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {
namespace {

absl::StatusOr<ExitCode> Version(CommandContext& context) {
  if (context.json) {
    v1::GetInfoResponse info;
    info.set_version(RSIDIFF_VERSION);
    info.set_protocol_version(kProtocolVersion);
    context.PrintJson(info);
  } else {
    context.out() << "rsidiff " << RSIDIFF_VERSION << " (protocol " << kProtocolVersion << ")\n";
  }
  return ExitCode::kOk;
}

}  // namespace

void AddVersion(CLI::App& parent, CommandSet& commands) {
  CLI::App* app =
      parent.add_subcommand("version", "Print the version; doctor compares it with the coordinator's");
  app->footer("\nExamples:\n  rsidiff version --json");
  commands.Bind(app, Version);
}

}  // namespace rsidiff::coordinator
