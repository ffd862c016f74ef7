#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/run/distance.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

struct RoundShowOptions {
  std::string run;
  uint32_t round = 0;
};

std::string MeanText(const google::protobuf::Map<std::string, v1::ScorerStatistics>& statistics,
                     const std::string& name) {
  const auto found = statistics.find(name);
  if (found == statistics.end()) return "-";
  return absl::StrCat(NumberText(found->second.mean(), 4), " +- ", NumberText(found->second.stddev(), 4));
}

std::string StartText(const v1::RoundRecord& round) {
  return absl::StrCat("round ", round.starts_from(), round.starts_from() == 0 ? " (the base model)" : "",
                      round.starts_from() + 1 == round.round() ? "" : ", rolled back");
}

void PrintSelection(const v1::SelectionSummary& selection, const v1::WeightSpec& weights, std::ostream& out) {
  if (selection.samples() == 0) return;
  out << "selected   " << selection.selected() << " of " << selection.samples() << " samples, "
      << selection.prompts() << " prompts, " << selection.prompts_without_selection()
      << " of them with none\n"
      << "reward     " << NumberText(selection.reward_mean(), 4) << " over all samples, "
      << NumberText(selection.selected_reward_mean(), 4) << " over the selected\n";
  if (selection.effective_sample_size() <= 0) return;  // the weights are still to come
  out << "weights    effective sample size " << NumberText(selection.effective_sample_size(), 1) << ", "
      << NumberText(100 * selection.clipped_share(), 1) << " % clipped";
  if (MeasuresDistances(weights)) out << ", mean distance " << NumberText(selection.distance_mean(), 3);
  out << "\n";
}

void PrintRound(const v1::RunStatus& status, const v1::RoundRecord& round, CommandContext& context) {
  std::ostream& out = context.out();
  out << "run        " << status.run().id() << " " << status.run().spec().name() << "\n"
      << "round      " << round.round() << (round.round() == 0 ? " (the base model)" : "") << "\n"
      << "phase      " << PhaseName(round.phase()) << "\n"
      << "started    " << TimeText(round.started_us()) << " UTC\n";
  if (round.round() > 0) out << "starts at  " << StartText(round) << "\n";
  const v1::EmbeddingFilterSummary& filter = status.run().embedding_filter();
  if (round.round() == 1 && filter.judged() > 0) out << "filter     " << EmbeddingFilterText(filter) << "\n";
  PrintSelection(round.selection(), status.run().spec().weights(), out);
  if (round.train().steps() > 0) {
    out << "training   " << round.train().steps() << " steps in " << NumberText(round.train().seconds(), 1)
        << " s, loss " << NumberText(round.train().first_loss(), 4) << " to "
        << NumberText(round.train().last_loss(), 4) << ", " << round.train().generations()
        << " membership(s)\n";
  }
  if (!round.checkpoint().empty()) out << "checkpoint " << round.checkpoint() << "\n";
  if (round.evaluation().complete()) {
    out << "evaluation diversity " << NumberText(round.evaluation().diversity(), 4) << ", Frechet distance "
        << NumberText(round.evaluation().frechet(), 4) << "\n";
  }
  Table table(
      {{"scorer"}, {"evaluation", Align::kRight}, {"all samples", Align::kRight}, {"kept", Align::kRight}});
  for (const v1::ScorerSpec& scorer : status.run().spec().scorers()) {
    table.AddRow({scorer.name(), MeanText(round.evaluation().scores(), scorer.name()),
                  MeanText(round.selection().all(), scorer.name()),
                  MeanText(round.selection().kept(), scorer.name())});
  }
  out << "\n" << table.Render(context.environment.out_terminal);
}

absl::StatusOr<ExitCode> ShowRound(const RoundShowOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  for (const v1::RoundRecord& round : status.rounds()) {
    if (round.round() != options.round) continue;
    if (context.json) {
      context.PrintJson(round);
    } else {
      PrintRound(status, round, context);
    }
    return ExitCode::kOk;
  }
  return absl::NotFoundError(absl::StrCat("run ", status.run().id(), " has no round ", options.round,
                                          "; its newest is ", status.run().newest_round()));
}

}  // namespace

void AddRoundShow(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<RoundShowOptions>();
  CLI::App* app = parent.add_subcommand("show", "Show what a round selected, trained and scored");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_option("ROUND", options->round, "Number of the round; 0 is the base model")->required();
  app->footer("\nExamples:\n  rsidiff round show shapes 2\n  rsidiff round show shapes 2 --json");
  commands.Bind(app, [options](CommandContext& context) { return ShowRound(*options, context); });
}

}  // namespace rsidiff::coordinator
