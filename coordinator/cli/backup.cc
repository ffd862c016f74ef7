#include <CLI/CLI.hpp>
#include <memory>

#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {
namespace {

absl::StatusOr<ExitCode> Backup(const std::string& name, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::CreateBackupResponse backup, context.client().CreateBackup(name));
  if (context.json) {
    context.PrintJson(backup);
  } else {
    context.out() << backup.path() << "\n";
  }
  return ExitCode::kOk;
}

}  // namespace

void AddBackup(CLI::App& parent, CommandSet& commands) {
  auto name = std::make_shared<std::string>();
  CLI::App* app =
      parent.add_subcommand("backup", "Write a backup of the coordinator's database, while it runs");
  app->add_option("--name", *name,
                  "Name of the backup's folder (default: the time, as 20260131T235959.042Z)");
  app->footer(
      "\nThe backup lies on the coordinator's host, in its --backups folder; its path is printed. Artifacts "
      "are\n"
      "not in it: copy their folder after the backup. rsidiff-coordinator restore brings it back.\n\n"
      "Examples:\n  rsidiff backup\n  rsidiff backup --name before-upgrade --json");
  commands.Bind(app, [name](CommandContext& context) { return Backup(*name, context); });
}

}  // namespace rsidiff::coordinator
