#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/terminal.h"

namespace CLI {
class App;
}

namespace google::protobuf {
class Message;
}

namespace rsidiff::coordinator {

/// What the process ends with; `rsidiff --help` lists them.
enum class ExitCode { kOk = 0, kFailed = 1, kUsage = 2, kRunEnded = 3, kUnreachable = 4 };

/// The world outside a command. Tests give streams of their own and a clock that does not wait.
struct Environment {
  std::ostream& out;  // results
  std::ostream& err;  // progress, warnings, errors
  Terminal out_terminal;
  Terminal err_terminal;
  /// Set by Ctrl-C once `catch_interrupt` was called; until then Ctrl-C ends the process.
  const std::atomic<bool>& interrupted;
  std::function<void()> catch_interrupt;
  std::function<absl::Time()> now;
  std::function<void(absl::Duration)> sleep;
  /// How long an unreachable coordinator is tried again, by commands other than watch.
  absl::Duration patience = absl::Seconds(5);
};

/// A command's own view: the environment and the options that every command has.
class CommandContext {
 public:
  explicit CommandContext(Environment& environment) : environment(environment) {}

  Environment& environment;
  std::string coordinator = "127.0.0.1:7070";
  bool json = false;

  std::ostream& out() const { return environment.out; }
  std::ostream& err() const { return environment.err; }

  /// Connects at the first call.
  ControlClient& client();

  /// Writes one JSON document: field names as in the .proto files, every field present.
  void PrintJson(const google::protobuf::Message& message) const;

  /// Writes the id of a run that has just been made: alone on a line, or as SubmitRunResponse.
  void PrintRunId(uint64_t id) const;

  /// One line of progress on stderr.
  void Note(absl::string_view text) const { environment.err << text << "\n"; }

 private:
  std::unique_ptr<ControlClient> client_;
};

using Command = std::function<absl::StatusOr<ExitCode>(CommandContext&)>;

/// Collects the command that the command line selects.
class CommandSet {
 public:
  /// `command` runs when `app` is the innermost sub-command given.
  void Bind(CLI::App* app, Command command);
  const Command& selected() const { return selected_; }

 private:
  Command selected_;
};

/// The JSON text that PrintJson writes.
std::string ToJson(const google::protobuf::Message& message);

// One function a command; each adds its sub-command to `parent`.
void AddRunSubmit(CLI::App& parent, CommandSet& commands);
void AddRunList(CLI::App& parent, CommandSet& commands);
void AddRunShow(CLI::App& parent, CommandSet& commands);
void AddRunEvents(CLI::App& parent, CommandSet& commands);
void AddRunWatch(CLI::App& parent, CommandSet& commands);
void AddRunStates(CLI::App& parent, CommandSet& commands);  // pause, resume, cancel
void AddRunFork(CLI::App& parent, CommandSet& commands);
void AddRoundShow(CLI::App& parent, CommandSet& commands);
void AddPromptsFilter(CLI::App& parent, CommandSet& commands);
void AddPromptsList(CLI::App& parent, CommandSet& commands);
void AddWorkerList(CLI::App& parent, CommandSet& commands);
void AddWorkerDrain(CLI::App& parent, CommandSet& commands);
void AddSamples(CLI::App& parent, CommandSet& commands);
void AddGrid(CLI::App& parent, CommandSet& commands);
void AddReport(CLI::App& parent, CommandSet& commands);
void AddReproduce(CLI::App& parent, CommandSet& commands);
void AddExport(CLI::App& parent, CommandSet& commands);
void AddDoctor(CLI::App& parent, CommandSet& commands);
void AddBackup(CLI::App& parent, CommandSet& commands);
void AddVersion(CLI::App& parent, CommandSet& commands);
void AddCompletion(CLI::App& parent, CommandSet& commands);

/// Parses the command line (without the program's name) and runs the command. Never throws.
ExitCode RunCommandLine(std::vector<std::string> arguments, Environment& environment);

}  // namespace rsidiff::coordinator
