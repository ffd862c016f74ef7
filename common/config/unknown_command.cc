#include "common/config/unknown_command.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/config/nearest_name.h"

namespace rsidiff {

std::string UnknownCommand(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::RequiredError)) return "";
  const CLI::App* deepest = &app;
  while (!deepest->get_subcommands().empty()) deepest = deepest->get_subcommands().front();
  std::vector<std::string> names;
  for (const CLI::App* command : deepest->get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  const auto word = std::find_if(left.begin(), left.end(),
                                 [](const std::string& text) { return !absl::StartsWith(text, "-"); });
  if (names.empty() || word == left.end()) return "";
  return absl::StrCat("unknown command \"", *word, "\"; ", SuggestName(*word, names, "commands"));
}

}  // namespace rsidiff
