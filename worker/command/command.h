#pragma once

#include <functional>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace rsidiff::worker {

/// Exit codes of rsidiff-worker. A wrong command line ends in kUsageError before the command starts.
enum ExitCode : int { kSuccess = 0, kRuntimeError = 1, kUsageError = 2 };

/// What the sub-command on the command line does; its callback sets it while the line is parsed.
struct Invocation {
  std::function<absl::Status()> run;
};

/// Each adds one sub-command to `app`, whose callback sets `invocation`. Both outlive the parsing.
void AddGenerateCommand(CLI::App& app, Invocation& invocation);
void AddFinetuneCommand(CLI::App& app, Invocation& invocation);
void AddScoreCommand(CLI::App& app, Invocation& invocation);
void AddReproduceCommand(CLI::App& app, Invocation& invocation);
void AddServeCommand(CLI::App& app, Invocation& invocation);

}  // namespace rsidiff::worker
