#include "coordinator/cli/report_html.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/config/yaml_writer.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

constexpr char kStyle[] = R"(
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1, h2 { font-weight: 600; }
table { border-collapse: collapse; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #888; }
.facts td, .facts th, .left { text-align: left; border: 0; font-weight: normal; }
.facts th { color: #666; }
tr.best { background: #e8f5e9; }
.grid td { text-align: left; border: 0; max-width: 20rem; }
.grid img { min-width: 96px; image-rendering: pixelated; display: block; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; }
)";

std::string Facts(const v1::RunStatus& status) {
  const v1::RunRecord& run = status.run();
  std::string rows;
  const auto add = [&](absl::string_view name, absl::string_view value) {
    absl::StrAppend(&rows, "<tr><th>", name, "</th><td>", HtmlEscaped(value), "</td></tr>\n");
  };
  add("state", StateName(run.state()));
  add("rounds", absl::StrCat(run.newest_round(), " of ", run.spec().rounds()));
  add("prompts",
      absl::StrCat(run.train_prompt_count(), " training, ", run.evaluation_prompt_count(), " evaluation"));
  add("base model", absl::StrCat(run.spec().model().path(), " (", run.inputs().model(), ")"));
  add("seed", absl::StrCat(run.spec().seed()));
  add("submitted", TimeText(run.submitted_us()) + " UTC");
  if (run.ended_us() != 0) {
    add("took", DurationText(absl::Microseconds(run.ended_us() - run.submitted_us())));
  }
  if (!run.reason().empty()) add("outcome", run.reason());
  if (!status.last_error().empty()) add("last error", status.last_error());
  return absl::StrCat("<table class=\"facts\">\n", rows, "</table>\n");
}

std::string Metrics(const v1::RunStatus& status) {
  const Table table = RoundTable(status);
  std::string html = "<table>\n<tr>";
  for (const Table::Column& column : table.columns())
    absl::StrAppend(&html, "<th>", HtmlEscaped(column.title), "</th>");
  html += "</tr>\n";
  for (const std::vector<std::string>& row : table.rows()) {
    html += row.back() == "best" ? "<tr class=\"best\">" : "<tr>";
    for (const std::string& cell : row) absl::StrAppend(&html, "<td>", HtmlEscaped(cell), "</td>");
    html += "</tr>\n";
  }
  return absl::StrCat(html, "</table>\n<p>", HtmlEscaped(RoundTableLegend(status)), "</p>\n");
}

absl::StatusOr<std::string> Pictures(const PictureGrid& grid, ArtifactStore& store) {
  std::string html = "<table class=\"grid\">\n<tr><td></td>";
  for (const uint32_t round : grid.rounds) {
    absl::StrAppend(&html, "<td>", round == 0 ? "base" : absl::StrCat("round ", round), "</td>");
  }
  html += "</tr>\n";
  for (size_t row = 0; row < grid.prompts.size(); ++row) {
    absl::StrAppend(&html, "<tr><td>", HtmlEscaped(grid.prompts[row]), "</td>");
    for (const std::string& digest : grid.images[row]) {
      html += "<td>";
      if (!digest.empty()) {
        RSIDIFF_ASSIGN_OR_RETURN(const std::string png, store.Get(digest));
        absl::StrAppend(&html, "<img alt=\"\" src=\"data:image/png;base64,", absl::Base64Escape(png), "\">");
      }
      html += "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</table>\n";
}

}  // namespace

std::string HtmlEscaped(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

absl::StatusOr<std::string> ReportHtml(const v1::RunStatus& status, const PictureGrid& grid,
                                       ArtifactStore& store) {
  const v1::RunRecord& run = status.run();
  const std::string title = HtmlEscaped(absl::StrCat("Run ", run.id(), " ", run.spec().name()));
  std::string html =
      absl::StrCat("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>", title,
                   "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<h1>", title, "</h1>\n",
                   Facts(status), "<h2>Rounds</h2>\n", Metrics(status));
  if (!grid.prompts.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string pictures, Pictures(grid, store));
    absl::StrAppend(&html, "<h2>Pictures</h2>\n<p>Same prompts and seeds in every round.</p>\n", pictures);
  }
  absl::StrAppend(&html, "<h2>Run file</h2>\n<pre>", HtmlEscaped(RunSpecToYaml(run.spec())),
                  "</pre>\n</body>\n</html>\n");
  return html;
}

}  // namespace rsidiff::coordinator
