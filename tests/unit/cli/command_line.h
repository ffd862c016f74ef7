#pragma once

#include <atomic>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {

/// What a command did.
struct CommandOutcome {
  ExitCode code;
  std::string out;
  std::string err;
};

/// Runs the command line in this process, without waiting where it would sleep.
struct CommandLine {
  std::string coordinator;
  Terminal terminal;  // of both streams; default: a pipe
  /// Called where the command would sleep.
  std::function<void()> on_sleep = [] {};
  std::atomic<bool> interrupted{false};

  CommandOutcome Run(std::vector<std::string> arguments) {
    std::ostringstream out;
    std::ostringstream err;
    Environment environment{out,
                            err,
                            terminal,
                            terminal,
                            interrupted,
                            [] {},
                            absl::Now,
                            [this](absl::Duration) { on_sleep(); },
                            absl::Milliseconds(500)};
    if (!coordinator.empty()) arguments.insert(arguments.end(), {"--coordinator", coordinator});
    const ExitCode code = RunCommandLine(std::move(arguments), environment);
    return {code, out.str(), err.str()};
  }
};

}  // namespace rsidiff::coordinator
