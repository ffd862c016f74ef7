// rsidiff-coordinator: owns runs, rounds, tasks and workers; serves the API, metrics and discovery.
#include <grpc/support/log.h>
#include <signal.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/telemetry/log.h"
#include "coordinator/service/coordinator.h"
#include "coordinator/service/offline_commands.h"
#include "coordinator/service/prune_command.h"

namespace rsidiff::coordinator {
namespace {

constexpr char kFooter[] = R"(
Examples:
  rsidiff-coordinator --data /var/lib/rsidiff
      serves on 127.0.0.1:7070 (gRPC) and 127.0.0.1:7071 (HTTP), artifacts in /var/lib/rsidiff/artifacts
  rsidiff-coordinator --data /var/lib/rsidiff --listen 0.0.0.0:7070 --http 0.0.0.0:7071 --artifacts /mnt/shared
      serves a cluster whose workers see /mnt/shared
  rsidiff-coordinator --data run --listen 127.0.0.1:0 --http 127.0.0.1:0
      takes free ports; run/coordinator.json tells them
  rsidiff-coordinator check --data /var/lib/rsidiff --artifacts /mnt/shared
      verifies the database of a coordinator that does not run
  rsidiff-coordinator restore --backup /var/lib/rsidiff/backups/20260131T235959Z --data /var/lib/rsidiff-new
      makes a data folder of a backup that `rsidiff backup` wrote
  rsidiff-coordinator prune --data /var/lib/rsidiff --artifacts /mnt/shared --dry-run
      says how much of the artifacts nothing needs any more, such as the states of trainings that are over

HTTP: /metrics /healthz /readyz /sd (targets for Prometheus)
Exit codes: 0 stopped by SIGTERM or SIGINT, nothing found, restored, pruned; 1 could not start, could not write
its data, violations found, not restored, not pruned; 2 wrong usage)";

struct Arguments {
  CoordinatorOptions coordinator;
  double lease_ttl_seconds = 15;
  std::string log_format = "text";
  std::string log_level = "info";
  CheckOptions check;
  RestoreOptions restore;
  PruneOptions prune;
  double prune_hours = 24;
};

void AddOptions(CLI::App& app, Arguments& arguments) {
  app.footer(kFooter);
  app.set_version_flag("--version", RSIDIFF_VERSION);
  app.add_option("--data", arguments.coordinator.data,
                 "Folder of the coordinator's state; made if it is not there")
      ->type_name("DIR");
  app.add_option("--listen", arguments.coordinator.grpc_address, "gRPC address; port 0 takes a free one")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  app.add_option("--http", arguments.coordinator.http_address, "HTTP address; port 0 takes a free one")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  app.add_option(
         "--artifacts", arguments.coordinator.artifacts,
         "Folder of the artifacts; workers that see it read and write it directly (default DATA/artifacts)")
      ->type_name("DIR");
  app.add_option("--backups", arguments.coordinator.backups,
                 "Folder that `rsidiff backup` writes into (default DATA/backups)")
      ->type_name("DIR");
  app.add_option("--cluster-id", arguments.coordinator.cluster_id,
                 "Refuse the data of another cluster; a new folder gets this id (default: any, a random one)")
      ->type_name("ID");
  app.add_option("--lease-ttl", arguments.lease_ttl_seconds,
                 "Seconds after which a worker that is not heard of loses its tasks")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str()
      ->type_name("SECONDS");
  app.add_option("--log-format", arguments.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", arguments.log_level, "Least level that is logged")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
}

void AddCheck(CLI::App& app, CheckOptions& options) {
  CLI::App* check = app.add_subcommand("check", "Verify the database of a coordinator that does not run");
  check->add_option("--data", options.data, "Data folder, or a backup")->required()->type_name("DIR");
  check->add_option("--artifacts", options.artifacts, "Look for the artifacts that the database names")
      ->type_name("DIR");
  check->add_flag("--hash", options.hash, "Read the artifacts and compare their digests")
      ->needs("--artifacts");
  check->add_flag("--json", options.json, "Print the result as one JSON document");
  check->footer(
      "\nPrints one line a violation, with the table and the key of the row. Changes nothing.\n\n"
      "Exit codes: 0 no violation; 1 violations, or it cannot be read; 2 wrong usage\n\n"
      "Examples:\n  rsidiff-coordinator check --data /var/lib/rsidiff --artifacts /mnt/shared --hash");
}

void AddRestore(CLI::App& app, RestoreOptions& options) {
  CLI::App* restore = app.add_subcommand("restore", "Make a new data folder of a backup");
  restore->add_option("--backup", options.backup, "Folder that `rsidiff backup` wrote")
      ->required()
      ->type_name("DIR");
  restore->add_option("--data", options.data, "Data folder to make; new or empty")
      ->required()
      ->type_name("DIR");
  restore->add_flag("--json", options.json, "Print the result as one JSON document");
  restore->footer(
      "\nEnds every lease: workers register again, and what they computed since is refused and computed "
      "again.\n"
      "The artifacts are not in a backup: give the coordinator the old folder, or a copy that is not older\n"
      "than the backup.\n\nExit codes: 0 restored; 1 not restored; 2 wrong usage\n\n"
      "Examples:\n  rsidiff-coordinator restore --backup backups/20260131T235959Z --data "
      "/var/lib/rsidiff-new");
}

void AddPrune(CLI::App& app, Arguments& arguments) {
  PruneOptions& options = arguments.prune;
  CLI::App* prune = app.add_subcommand(
      "prune", "Remove the artifacts that nothing needs, of a coordinator that does not run");
  prune->add_option("--data", options.data, "Data folder")->required()->type_name("DIR");
  prune->add_option("--artifacts", options.artifacts, "Folder of the artifacts; no other cluster's")
      ->required()
      ->type_name("DIR");
  prune->add_option("--backups", options.backups, "Folder of backups, or one backup (default DATA/backups)")
      ->type_name("DIR");
  prune->add_option("--older-than", arguments.prune_hours, "Keep younger ones: workers may yet report them")
      ->check(CLI::Range(1.0, 24.0 * 365))
      ->capture_default_str()
      ->type_name("HOURS");
  prune->add_flag("--dry-run", options.dry_run, "Remove nothing, say how much it would be");
  prune->add_flag("--json", options.json, "Print the result as one JSON document");
  prune->footer(
      "\nKeeps whatever the database or a backup names: models, pictures, latents, checkpoints, manifests, "
      "and the\n"
      "states of the training under way. What goes are states of trainings that are over and what "
      "interrupted\n"
      "work left. Stop the coordinator for it; workers wait for its return. A copy of a backup elsewhere "
      "may\n"
      "name more: name it with --backups.\n\n"
      "While workers hold tasks, HOURS count back from when the oldest of these was given out: however long\n"
      "the coordinator has been away, they report what they finished when it is back.\n\n"
      "Exit codes: 0 done; 1 not done, or not all; 2 wrong usage\n\n"
      "Examples:\n  rsidiff-coordinator prune --data /var/lib/rsidiff --artifacts /mnt/shared --dry-run\n"
      "  rsidiff-coordinator prune --data /var/lib/rsidiff --artifacts /mnt/shared --older-than 48");
}

void LogFromGrpc(gpr_log_func_args* entry) {
  if (entry->severity == GPR_LOG_SEVERITY_ERROR) LogDebug(absl::StrCat("grpc: ", entry->message));
}

// Waits for SIGTERM or SIGINT, which are blocked in every thread, or for the coordinator's own end.
void WaitForEnd(const Coordinator& coordinator, const sigset_t& signals) {
  const timespec poll = {0, 200'000'000};
  while (coordinator.failure().ok()) {
    int signal = sigtimedwait(&signals, nullptr, &poll);
    if (signal > 0) {
      LogInfo(absl::StrCat("stopping on signal ", signal));
      break;
    }
  }
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

int Fail(const absl::Status& status) {
  LogError(status.message());
  return 1;
}

// A worker takes a descriptor, and the usual soft limit is 1,024.
void AllowManyConnections() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Serve(const CoordinatorOptions& options) {
  AllowManyConnections();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // writing past a size limit is an error to report, not a reason to die

  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = Coordinator::Start(options);
  if (!coordinator.ok()) return Fail(coordinator.status());
  std::printf("serving gRPC on %s, HTTP on http://%s\n", (*coordinator)->grpc_address().c_str(),
              (*coordinator)->http_address().c_str());
  std::fflush(stdout);
  WaitForEnd(**coordinator, signals);
  (*coordinator)->Stop();
  return (*coordinator)->failure().ok() ? 0 : 1;
}

int Main(int argc, char** argv) {
#ifdef NDEBUG
  // Debian's Abseil looks for cycles of locks whenever one is taken, gRPC's among them.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  CLI::App app("Coordinates self-evolution runs over any number of workers.", "rsidiff-coordinator");
  Arguments arguments;
  arguments.coordinator.grpc_address = "127.0.0.1:7070";
  arguments.coordinator.http_address = "127.0.0.1:7071";
  AddOptions(app, arguments);
  AddCheck(app, arguments.check);
  AddRestore(app, arguments.restore);
  AddPrune(app, arguments);
  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  arguments.coordinator.lease_ttl = absl::Seconds(arguments.lease_ttl_seconds);
  // CLI11 has checked both names.
  ConfigureLog({*ParseLogFormat(arguments.log_format), *ParseLogLevel(arguments.log_level)});
  if (app.got_subcommand("check")) return CheckCommand(arguments.check);
  arguments.prune.older_than = absl::Hours(arguments.prune_hours);
  if (app.got_subcommand("prune")) return PruneCommand(arguments.prune);
  if (app.got_subcommand("restore")) return RestoreCommand(arguments.restore);
  if (arguments.coordinator.data.empty()) {
    std::fprintf(stderr, "--data is required\n");
    return 2;
  }
  gpr_set_log_function(LogFromGrpc);
  return Serve(arguments.coordinator);
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  return rsidiff::coordinator::Main(argc, argv);
}
