#include "coordinator/cli/filter_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/cli/html.h"
#include "coordinator/cli/terminal.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kSamples = 20;
constexpr int kPromptWidth = 60;  // in the table
constexpr int kPageWidth = 300;   // in the page
constexpr double kQuantiles[] = {0, 0.01, 0.05, 0.25, 0.5, 0.75, 1};

constexpr char kFilterStyle[] = R"(
th, td { text-align: left; vertical-align: top; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } th, td { border-color: #444; } }
)";

std::string Share(size_t part, size_t all) {
  return absl::StrFormat("%.1f %%",
                         all == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(all));
}

double ScoreOf(const JudgedPrompt& judged, Verdict score) {
  switch (score) {
    case Verdict::kUnclear:
      return judged.clarity;
    case Verdict::kVague:
      return judged.specificity;
    default:
      return judged.diversity;
  }
}

std::string PromptRow(const FilterOutcome& outcome, size_t i) {
  const JudgedPrompt& judged = outcome.judged[i];
  return HtmlRow({Truncated(outcome.prompts[i], kPageWidth), absl::StrFormat("%.2f", judged.clarity),
                  absl::StrFormat("%.1f", judged.specificity), absl::StrFormat("%.2f", judged.diversity),
                  Truncated(judged.reason, kPageWidth)},
                 HtmlCell::kData);
}

std::string PromptTable(const FilterOutcome& outcome, const std::vector<size_t>& prompts) {
  std::string html =
      "<table>\n" + HtmlRow({"prompt", "clarity", "specificity", "diversity", "reason"}, HtmlCell::kHead);
  for (const size_t i : prompts) html += PromptRow(outcome, i);
  return html + "</table>\n";
}

std::string Spread(const FilterOutcome& outcome) {
  std::vector<std::string> head = {"score", "least to keep"};
  for (const double quantile : kQuantiles) head.push_back(absl::StrFormat("%.0f %%", 100 * quantile));
  std::string html = "<h2>Spread of the scores</h2>\n<table>\n" + HtmlRow(head, HtmlCell::kHead);
  const std::pair<Verdict, double> scores[] = {{Verdict::kUnclear, outcome.thresholds.clarity},
                                               {Verdict::kVague, outcome.thresholds.specificity},
                                               {Verdict::kDuplicate, outcome.thresholds.diversity}};
  for (const auto& [score, threshold] : scores) {
    std::vector<double> values;
    values.reserve(outcome.judged.size());
    for (const JudgedPrompt& judged : outcome.judged) values.push_back(ScoreOf(judged, score));
    std::sort(values.begin(), values.end());
    std::vector<std::string> cells = {std::string(VerdictName(score)), absl::StrCat(threshold)};
    for (const double quantile : kQuantiles) {
      const auto at = static_cast<size_t>(quantile * static_cast<double>(values.size()));
      cells.push_back(values.empty() ? "" : absl::StrFormat("%.2f", values[std::min(at, values.size() - 1)]));
    }
    html += HtmlRow(cells, HtmlCell::kData);
  }
  return html + "</table>\n";
}

// Kept prompts with the least of a score: where a higher threshold would begin to reject.
std::vector<size_t> NextToThreshold(const FilterOutcome& outcome, Verdict score) {
  std::vector<size_t> kept;
  for (size_t i = 0; i < outcome.judged.size(); ++i) {
    if (outcome.judged[i].verdict == Verdict::kKept) kept.push_back(i);
  }
  const size_t shown = std::min(kSamples, kept.size());
  std::partial_sort(kept.begin(), kept.begin() + static_cast<ptrdiff_t>(shown), kept.end(),
                    [&](size_t a, size_t b) {
                      return std::pair(ScoreOf(outcome.judged[a], score), a) <
                             std::pair(ScoreOf(outcome.judged[b], score), b);
                    });
  kept.resize(shown);
  return kept;
}

// Scores carry no more than this.
double Rounded(double score) {
  return std::round(score * 10'000) / 10'000;
}

std::string PromptLine(const FilterOutcome& outcome, size_t i) {
  const JudgedPrompt& judged = outcome.judged[i];
  nlohmann::ordered_json line = {{"prompt", outcome.prompts[i]},
                                 {"rejected_by", nullptr},
                                 {"reason", judged.reason},
                                 {"clarity", Rounded(judged.clarity)},
                                 {"specificity", Rounded(judged.specificity)},
                                 {"diversity", Rounded(judged.diversity)}};
  if (judged.verdict != Verdict::kKept) line["rejected_by"] = std::string(VerdictName(judged.verdict));
  if (i < outcome.judgements.size() && outcome.judgements[i].has_value()) {
    const Judgement& judgement = *outcome.judgements[i];
    line["judge"] = {{"clarity", Rounded(judgement.clarity)},
                     {"specificity", Rounded(judgement.specificity)},
                     {"reason", judgement.reason}};
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string PromptLines(const FilterOutcome& outcome) {
  std::string lines;
  for (size_t i = 0; i < outcome.prompts.size(); ++i) lines += PromptLine(outcome, i);
  return lines;
}

std::string RejectedLines(const FilterOutcome& outcome) {
  std::string lines;
  for (size_t i = 0; i < outcome.prompts.size(); ++i) {
    if (outcome.judged[i].verdict != Verdict::kKept) lines += PromptLine(outcome, i);
  }
  return lines;
}

FilterKinds KindsOf(const FilterOutcome& outcome) {
  FilterKinds kinds;
  for (size_t i = 0; i < outcome.judged.size(); ++i) {
    const JudgedPrompt& judged = outcome.judged[i];
    FilterKind& kind = kinds[{judged.verdict, std::string(KindOf(judged.reason))}];
    ++kind.count;
    if (kind.samples.size() < kSamples) kind.samples.push_back(i);
  }
  return kinds;
}

Table FilterTable(const FilterOutcome& outcome, const FilterKinds& kinds) {
  Table table({{"verdict"}, {"reason"}, {"prompts", Align::kRight}, {"share", Align::kRight}, {"example"}});
  const size_t all = outcome.prompts.size();
  if (kinds.empty() || kinds.begin()->first.first != Verdict::kKept) {
    table.AddRow({"kept", "", "0", Share(0, all), ""});
  }
  for (const auto& [key, kind] : kinds) {
    table.AddRow({std::string(VerdictName(key.first)), key.second, absl::StrCat(kind.count),
                  Share(kind.count, all), Truncated(outcome.prompts[kind.samples.front()], kPromptWidth)});
  }
  table.AddRow({"all", "", absl::StrCat(all), Share(all, all), ""}, Style::kBold);
  return table;
}

std::string FilterReportHtml(const FilterOutcome& outcome, const FilterKinds& kinds) {
  std::string body = absl::StrCat("<p>", outcome.prompts.size(), " prompts, and ", outcome.exact_duplicates,
                                  " exact duplicates that were dropped before.</p>\n<table>\n");
  body += HtmlRow({"verdict", "reason", "prompts", "share", "example"}, HtmlCell::kHead);
  const Table table = FilterTable(outcome, kinds);
  for (const std::vector<std::string>& row : table.rows()) body += HtmlRow(row, HtmlCell::kData);
  body += "</table>\n" + Spread(outcome);
  for (const auto& [key, kind] : kinds) {
    if (key.first == Verdict::kKept) continue;
    absl::StrAppend(&body, "<h2>", VerdictName(key.first), ": ", HtmlEscaped(key.second), "</h2>\n<p>",
                    kind.count, " rejected", kind.count > kind.samples.size() ? ", the first of them:" : ":",
                    "</p>\n", PromptTable(outcome, kind.samples));
  }
  for (const Verdict score : {Verdict::kUnclear, Verdict::kVague, Verdict::kDuplicate}) {
    absl::StrAppend(&body, "<h2>Kept with the least ", VerdictName(score), "</h2>\n",
                    PromptTable(outcome, NextToThreshold(outcome, score)));
  }
  return HtmlPage("Prompt filter", kFilterStyle, body);
}

}  // namespace rsidiff::coordinator
