#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {
namespace {

std::vector<const CLI::App*> SubCommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// The commands that have commands of their own: run, round, ...
std::vector<std::string> Groups(const CLI::App& root) {
  std::vector<std::string> groups;
  for (const CLI::App* sub : SubCommands(root)) {
    if (!SubCommands(*sub).empty()) groups.push_back(sub->get_name());
  }
  return groups;
}

// Lines `"run submit") words="--watch --dry-run";;` for every command under `app`.
void AddCases(const CLI::App& app, const std::string& path, std::string& cases) {
  std::vector<std::string> words;
  for (const CLI::App* sub : SubCommands(app)) {
    words.push_back(sub->get_name());
    AddCases(*sub, path.empty() ? sub->get_name() : absl::StrCat(path, " ", sub->get_name()), cases);
  }
  for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return o->nonpositional(); })) {
    words.push_back(option->get_name(false, false));
  }
  for (const char* global : {"--coordinator", "--json"}) {
    if (!path.empty()) words.push_back(global);
  }
  absl::StrAppend(&cases, "    \"", path, "\") words=\"", absl::StrJoin(words, " "), "\" ;;\n");
}

std::string BashCompletion(const CLI::App& root) {
  std::string cases;
  AddCases(root, "", cases);
  const std::vector<std::string> groups = Groups(root);
  const auto with_word = [](std::string* out, const std::string& group) {
    absl::StrAppend(out, "\"", group, " \"*");
  };
  return absl::StrCat(
      R"(# bash completion for rsidiff
_rsidiff() {
  local current=${COMP_WORDS[COMP_CWORD]} path="" word words=""
  local -i i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == --coordinator ]]; then
      i+=1
      continue
    fi
    case "${path:+$path }$word" in
      )",
      absl::StrJoin(groups, " | "), ") path=$word ;;\n      ", absl::StrJoin(groups, " | ", with_word), ")\n",
      "        if [[ $path != *' '* && $word != -* ]]; then path=\"$path $word\"; fi ;;\n"
      "      *) if [[ -z $path && $word != -* ]]; then path=$word; fi ;;\n"
      "    esac\n  done\n  case \"$path\" in\n",
      cases,
      "  esac\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
      "  if [[ $current != -* ]]; then mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- "
      "\"$current\"); fi\n}\ncomplete -o filenames -F _rsidiff rsidiff\n");
}

}  // namespace

void AddCompletion(CLI::App& parent, CommandSet& commands) {
  CLI::App* app = parent.add_subcommand("completion", "Print a completion script for a shell");
  app->require_subcommand(1);
  CLI::App* bash = app->add_subcommand("bash", "For bash");
  bash->footer("\nExamples:\n  rsidiff completion bash > /etc/bash_completion.d/rsidiff");
  app->footer("\nExamples:\n  source <(rsidiff completion bash)");
  const CLI::App* root = &parent;
  commands.Bind(bash, [root](CommandContext& context) -> absl::StatusOr<ExitCode> {
    context.out() << BashCompletion(*root);
    return ExitCode::kOk;
  });
}

}  // namespace rsidiff::coordinator
