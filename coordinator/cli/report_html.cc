#include "coordinator/cli/report_html.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/yaml_writer.h"
#include "coordinator/cli/html.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

constexpr char kReportStyle[] = R"(
th, td { text-align: right; font-variant-numeric: tabular-nums; }
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
  std::vector<std::string> titles;
  for (const Table::Column& column : table.columns()) titles.push_back(column.title);
  std::string html = "<table>\n" + HtmlRow(titles, HtmlCell::kHead);
  for (const std::vector<std::string>& row : table.rows()) {
    html += HtmlRow(row, HtmlCell::kData, row.back() == "best" ? "best" : "");
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

absl::StatusOr<std::string> ReportHtml(const v1::RunStatus& status, const PictureGrid& grid,
                                       ArtifactStore& store) {
  const v1::RunRecord& run = status.run();
  std::string body = absl::StrCat(Facts(status), "<h2>Rounds</h2>\n", Metrics(status));
  if (!grid.prompts.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string pictures, Pictures(grid, store));
    absl::StrAppend(&body, "<h2>Pictures</h2>\n<p>Same prompts and seeds in every round.</p>\n", pictures);
  }
  absl::StrAppend(&body, "<h2>Run file</h2>\n<pre>", HtmlEscaped(RunSpecToYaml(run.spec())), "</pre>\n");
  return HtmlPage(absl::StrCat("Run ", run.id(), " ", run.spec().name()), kReportStyle, body);
}

}  // namespace rsidiff::coordinator
