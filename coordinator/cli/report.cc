#include <CLI/CLI.hpp>
#include <memory>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/report_html.h"

namespace rsidiff::coordinator {
namespace {

struct ReportOptions {
  std::string run;
  std::string out;
  size_t rows = 16;
};

absl::StatusOr<ExitCode> Report(const ReportOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  absl::StatusOr<PictureGrid> grid = CollectGrid(context.client(), status, options.rows);
  // A run that has no evaluation yet has a report, only without pictures.
  if (absl::IsFailedPrecondition(grid.status())) grid = PictureGrid{};
  RSIDIFF_RETURN_IF_ERROR(grid.status());
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> store, context.client().OpenArtifacts());
  RSIDIFF_ASSIGN_OR_RETURN(const std::string html, ReportHtml(status, *grid, *store));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(options.out, html));
  if (context.json) {
    context.PrintJson(status);
  } else {
    context.out() << options.out << "\n";
  }
  return ExitCode::kOk;
}

}  // namespace

void AddReport(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* app =
      parent.add_subcommand("report", "Write a run's table, pictures and run file as one HTML file");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_option("--out", options->out, "HTML file to write")->required();
  app->add_option("--rows", options->rows, "Prompts to show pictures of")->capture_default_str();
  app->footer("\nExamples:\n  rsidiff report shapes --out shapes.html");
  commands.Bind(app, [options](CommandContext& context) { return Report(*options, context); });
}

}  // namespace rsidiff::coordinator
