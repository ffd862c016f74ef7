#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "common/config/unknown_command.h"
#include "worker/command/command.h"

namespace {

using rsidiff::worker::ExitCode;

ExitCode Run(const rsidiff::worker::Invocation& invocation) {
  absl::Status status;
  try {
    status = invocation.run();
  } catch (const std::exception& error) {  // c10::Error too
    status = absl::InternalError(error.what());
  }
  if (status.ok()) return rsidiff::worker::kSuccess;
  std::fprintf(stderr, "rsidiff-worker: %.*s\n", static_cast<int>(status.message().size()),
               status.message().data());
  return rsidiff::worker::kRuntimeError;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // writing past a size limit is an error to report, not a reason to die
  CLI::App app("Generates, scores and fine-tunes for rsidiff, alone or for a coordinator.", "rsidiff-worker");
  app.set_version_flag("--version", RSIDIFF_VERSION);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 failed (the reason is on stderr), 2 wrong command line.");
  rsidiff::worker::Invocation invocation;
  rsidiff::worker::AddGenerateCommand(app, invocation);
  rsidiff::worker::AddFinetuneCommand(app, invocation);
  rsidiff::worker::AddScoreCommand(app, invocation);
  rsidiff::worker::AddReproduceCommand(app, invocation);
  rsidiff::worker::AddServeCommand(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (const std::string unknown = rsidiff::UnknownCommand(app, error); !unknown.empty()) {
      std::fprintf(stderr, "rsidiff-worker: %s\n", unknown.c_str());
      return rsidiff::worker::kUsageError;
    }
    return app.exit(error) == 0 ? rsidiff::worker::kSuccess : rsidiff::worker::kUsageError;
  }
  return Run(invocation);
}
