#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/picture_grid.h"

namespace rsidiff::coordinator {
namespace {

struct GridOptions {
  std::string run;
  std::string out;
  size_t rows = 8;
};

absl::StatusOr<ExitCode> Grid(const GridOptions& options, CommandContext& context) {
  if (options.out.empty() && !context.json) {
    return absl::InvalidArgumentError(
        "grid needs --out FILE.png, or --json to print which pictures it would show");
  }
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  RSIDIFF_ASSIGN_OR_RETURN(const PictureGrid grid, CollectGrid(context.client(), status, options.rows));
  if (!options.out.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> store, context.client().OpenArtifacts());
    RSIDIFF_ASSIGN_OR_RETURN(const Image image, DrawGrid(grid, *store));
    RSIDIFF_ASSIGN_OR_RETURN(const std::string png,
                             EncodePng(image, {{"run", absl::StrCat(status.run().id())},
                                               {"rounds", absl::StrJoin(grid.rounds, ", ")},
                                               {"prompts", absl::StrJoin(grid.prompts, "\n")}}));
    RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(options.out, png));
  }
  if (context.json) {
    v1::ListSamplesResponse shown;
    for (size_t row = 0; row < grid.prompts.size(); ++row) {
      for (const std::string& digest : grid.images[row]) {
        v1::SampleRecord& sample = *shown.add_samples();
        sample.set_prompt(grid.prompts[row]);
        sample.set_image(digest);
      }
    }
    context.PrintJson(shown);
  } else {
    context.out() << options.out << "\n";
    context.Note(absl::StrCat("columns: rounds ", absl::StrJoin(grid.rounds, ", "), "; rows, from the top:"));
    for (const std::string& prompt : grid.prompts) context.Note(absl::StrCat("  ", prompt));
  }
  return ExitCode::kOk;
}

}  // namespace

void AddGrid(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<GridOptions>();
  CLI::App* app = parent.add_subcommand("grid", "Draw evaluation pictures: a row a prompt, a column a round");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_option("--out", options->out, "PNG file to write");
  app->add_option("--rows", options->rows, "Prompts to show")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app->footer(
      "\nThe seeds are the same in every round, so a row shows what training changed.\n\nExamples:\n"
      "  rsidiff grid shapes --out grid.png\n  rsidiff grid shapes --rows 16 --out grid.png");
  commands.Bind(app, [options](CommandContext& context) { return Grid(*options, context); });
}

}  // namespace rsidiff::coordinator
