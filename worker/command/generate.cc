#include "worker/command/command.h"

namespace rsidiff::worker {

void AddGenerateCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("generate", "Draw pictures for prompts");
  command->callback([&invocation] { invocation.run = [] { return absl::UnimplementedError("generate"); }; });
}

}  // namespace rsidiff::worker
