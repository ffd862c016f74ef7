#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/config/yaml_writer.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

struct RunShowOptions {
  std::string run;
  bool spec = false;
};

std::string FilterLine(const v1::RunInputs& inputs) {
  if (!inputs.has_filtered()) return "";
  const v1::FilterCounts& rejected = inputs.filtered();
  return absl::StrCat("filter     rejected ", rejected.clarity(), " training prompts by clarity, ",
                      rejected.specificity(), " by specificity, ", rejected.diversity(), " by diversity\n");
}

std::string EmbeddingFilterLine(const v1::RunRecord& run) {
  const v1::PromptFilterSpec& filter = run.spec().prompts().filter();
  const bool wanted = filter.embedding_distance() > 0 || filter.embedding_specificity() > 0;
  if (!filter.enabled() || !wanted || run.spec().rounds() == 0) return "";
  if (!run.has_embedding_filter()) return "embeddings not yet compared\n";
  return EmbeddingFilterText(run.embedding_filter()) + "\n";
}

void PrintFacts(CommandContext& context, const v1::RunStatus& status) {
  const v1::RunRecord& run = status.run();
  std::ostream& out = context.out();
  out << "run        " << run.id() << " " << run.spec().name() << "\n"
      << "state      " << StateName(run.state()) << "\n"
      << "rounds     " << run.newest_round() << " of " << run.spec().rounds() << "\n"
      << "prompts    " << run.train_prompt_count() << " training, " << run.evaluation_prompt_count()
      << " evaluation\n"
      << FilterLine(run.inputs()) << EmbeddingFilterLine(run) << "submitted  " << TimeText(run.submitted_us())
      << " UTC\n";
  if (run.ended_us() != 0) out << "ended      " << TimeText(run.ended_us()) << " UTC\n";
  if (run.forked_from() != 0) {
    out << "fork of    run " << run.forked_from() << ", from round " << run.forked_round() << "\n";
  }
  if (!status.waits_for().empty()) out << "waiting    " << status.waits_for() << "\n";
  if (!status.last_error().empty()) out << "last error " << status.last_error() << "\n";
}

absl::StatusOr<ExitCode> ShowRun(const RunShowOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  if (options.spec) {
    if (context.json) {
      context.PrintJson(status.run().spec());
    } else {
      context.out() << RunSpecToYaml(status.run().spec());
    }
  } else if (context.json) {
    context.PrintJson(status);
  } else {
    PrintFacts(context, status);
    context.out() << "\n"
                  << RoundTable(status).Render(context.environment.out_terminal) << RoundTableLegend(status);
  }
  return ExitCode::kOk;
}

}  // namespace

void AddRunShow(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<RunShowOptions>();
  CLI::App* app = parent.add_subcommand("show", "Show a run: its state and the table round x metric");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_flag("--spec", options->spec, "Print the run file with every default filled in");
  app->footer("\nExamples:\n  rsidiff run show shapes\n  rsidiff run show 3 --spec > again.yaml");
  commands.Bind(app, [options](CommandContext& context) { return ShowRun(*options, context); });
}

}  // namespace rsidiff::coordinator
