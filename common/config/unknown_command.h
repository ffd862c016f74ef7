#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace rsidiff {

/// What to tell where `app` failed to parse with `error` since a word stands where a subcommand should:
/// `unknown command "sumbit"; did you mean "submit"?`. Empty where something else is wrong.
std::string UnknownCommand(const CLI::App& app, const CLI::ParseError& error);

}  // namespace rsidiff
