#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "coordinator/cli/command.h"

namespace {

std::atomic<bool> interrupted{false};

void Interrupt(int) {
  // The second Ctrl-C ends the process as if there were no handler.
  std::signal(SIGINT, SIG_DFL);
  interrupted = true;
}

}  // namespace

int main(int argc, char** argv) {
  using rsidiff::coordinator::DetectTerminal;
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // writing past a size limit is an error to report, not a reason to die
  rsidiff::coordinator::Environment environment{std::cout,         std::cerr,
                                                DetectTerminal(1), DetectTerminal(2),
                                                interrupted,       [] { std::signal(SIGINT, Interrupt); },
                                                absl::Now,         absl::SleepFor};
  const auto code = rsidiff::coordinator::RunCommandLine({argv + 1, argv + argc}, environment);
  std::cout.flush();
  return std::cout ? static_cast<int>(code) : static_cast<int>(rsidiff::coordinator::ExitCode::kFailed);
}
