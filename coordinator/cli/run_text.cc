#include "coordinator/cli/run_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/enum_label.h"

namespace rsidiff::coordinator {
namespace {

// Round 0 is the base model: it is only evaluated.
std::vector<std::string> TrainingCells(const v1::RoundRecord& round) {
  const v1::SelectionSummary& selection = round.selection();
  const bool selected = selection.samples() > 0;
  const bool weighed = selection.effective_sample_size() > 0;
  const bool trained = round.train().steps() > 0;
  return {selected ? absl::StrCat(selection.selected(), "/", selection.samples()) : "-",
          weighed ? NumberText(selection.effective_sample_size(), 1) : "-",
          trained ? NumberText(round.train().last_loss(), 4) : "-"};
}

std::vector<std::string> EvaluationCells(const v1::RunSpec& spec, const v1::EvaluationSummary& evaluation) {
  std::vector<std::string> cells;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    const auto found = evaluation.scores().find(scorer.name());
    cells.push_back(found == evaluation.scores().end() ? "-" : NumberText(found->second.mean(), 4));
  }
  cells.push_back(evaluation.complete() ? NumberText(evaluation.diversity(), 4) : "-");
  cells.push_back(evaluation.complete() ? NumberText(evaluation.frechet(), 4) : "-");
  return cells;
}

}  // namespace

std::string StateName(v1::RunState state) {
  return EnumLabel(v1::RunState_Name(state), "RUN_STATE_");
}
std::string PhaseName(v1::RoundPhase phase) {
  return EnumLabel(v1::RoundPhase_Name(phase), "ROUND_PHASE_");
}
std::string WorkerStateName(v1::WorkerState state) {
  return EnumLabel(v1::WorkerState_Name(state), "WORKER_STATE_");
}

std::string DurationText(absl::Duration duration) {
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) return "-";
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

std::string TimeText(int64_t microseconds) {
  if (microseconds == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMicros(microseconds), absl::UTCTimeZone());
}

std::string NumberText(double value, int digits) {
  return std::isfinite(value) ? absl::StrFormat("%.*f", digits, value) : "-";
}

std::string BytesText(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, bytes, units[unit]);
}

bool HasEnded(v1::RunState state) {
  return state == v1::RUN_STATE_SUCCEEDED || state == v1::RUN_STATE_FAILED ||
         state == v1::RUN_STATE_CANCELLED;
}

Table RoundTable(const v1::RunStatus& status) {
  const v1::RunSpec& spec = status.run().spec();
  std::vector<Table::Column> columns = {{"round", Align::kRight},
                                        {"phase", Align::kLeft},
                                        {"kept", Align::kRight},
                                        {"ess", Align::kRight},
                                        {"loss", Align::kRight}};
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    const bool held_out = scorer.role() == v1::SCORER_ROLE_HELD_OUT;
    columns.push_back({absl::StrCat(scorer.name(), held_out ? "*" : ""), Align::kRight});
  }
  columns.push_back({"diversity", Align::kRight});
  columns.push_back({"frechet", Align::kRight});
  columns.push_back({"", Align::kLeft});
  Table table(std::move(columns));
  for (const v1::RoundRecord& round : status.rounds()) {
    const bool best = round.evaluation().complete() && round.round() == status.run().best_round();
    std::vector<std::string> cells = {absl::StrCat(round.round()), PhaseName(round.phase())};
    for (std::string& cell : TrainingCells(round)) cells.push_back(std::move(cell));
    for (std::string& cell : EvaluationCells(spec, round.evaluation())) cells.push_back(std::move(cell));
    cells.push_back(best ? "best" : "");
    table.AddRow(std::move(cells), best ? Style::kGreen : Style::kPlain);
  }
  return table;
}

std::string EmbeddingFilterText(const v1::EmbeddingFilterSummary& found) {
  return absl::StrCat("embeddings rejected ", found.specificity(), " of ", found.judged(),
                      " training prompts by specificity, ", found.diversity(), " by diversity");
}

std::vector<std::string> WarningsOf(const v1::RunRecord& run) {
  std::vector<std::string> warnings;
  for (const v1::RunWarning& warning : run.warnings()) warnings.push_back(warning.text());
  if (!run.collapse().empty()) warnings.push_back(run.collapse());
  return warnings;
}

std::string RoundTableLegend(const v1::RunStatus& status) {
  const auto& scorers = status.run().spec().scorers();
  const bool held_out = std::any_of(scorers.begin(), scorers.end(), [](const v1::ScorerSpec& scorer) {
    return scorer.role() == v1::SCORER_ROLE_HELD_OUT;
  });
  std::string legend = "Round 0 is the base model. Scores are means over the evaluation samples.";
  if (held_out) absl::StrAppend(&legend, " * held out: never selected by; decides the best round.");
  for (const std::string& warning : WarningsOf(status.run()))
    absl::StrAppend(&legend, "\nwarning: ", warning);
  if (!status.run().reason().empty()) absl::StrAppend(&legend, "\n", status.run().reason());
  return legend + "\n";
}

}  // namespace rsidiff::coordinator
