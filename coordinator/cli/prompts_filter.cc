#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/defaults.h"
#include "common/config/run_file.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/filter_judge.h"
#include "coordinator/cli/filter_report.h"
#include "coordinator/cli/new_folder.h"
#include "coordinator/cli/table.h"
#include "coordinator/prompt/source.h"

namespace rsidiff::coordinator {
namespace {

struct PromptsFilterOptions {
  std::vector<std::string> files;
  std::string run_file;
  std::string out;
  std::optional<double> clarity;
  std::optional<double> specificity;
  std::optional<double> diversity;
  v1::PromptJudgeSpec judge;  // without an endpoint: none
  std::string judge_cache;
};

// Takes what the run file says where the command line says nothing.
absl::Status TakeRunFile(PromptsFilterOptions& options) {
  if (options.run_file.empty()) return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(RunFile file, LoadRunFile(options.run_file, {}));
  v1::PromptSpec& prompts = *file.spec.mutable_prompts();
  if (options.files.empty()) options.files.assign(prompts.train().begin(), prompts.train().end());
  if (!prompts.has_filter()) return absl::OkStatus();
  if (!options.clarity) options.clarity = prompts.filter().clarity();
  if (!options.specificity) options.specificity = prompts.filter().specificity();
  if (!options.diversity) options.diversity = prompts.filter().diversity();
  if (options.judge.endpoint().empty()) options.judge.Swap(prompts.mutable_filter()->mutable_judge());
  return absl::OkStatus();
}

nlohmann::ordered_json Summary(const FilterOutcome& outcome) {
  const FilterCounts counts = CountVerdicts(outcome.judged);
  return {{"prompts", outcome.prompts.size()},
          {"exact_duplicates", outcome.exact_duplicates},
          {"kept", counts.kept},
          {"rejected",
           {{"clarity", counts.unclear}, {"specificity", counts.vague}, {"diversity", counts.duplicate}}},
          {"thresholds",
           {{"clarity", outcome.thresholds.clarity},
            {"specificity", outcome.thresholds.specificity},
            {"diversity", outcome.thresholds.diversity}}}};
}

// A prompt a line; where a prompt has lines itself, a JSON list.
absl::Status WriteKept(const FilterOutcome& outcome, const NewFolder& folder) {
  std::vector<absl::string_view> kept;
  bool has_lines = false;
  for (size_t i = 0; i < outcome.prompts.size(); ++i) {
    if (outcome.judged[i].verdict != Verdict::kKept) continue;
    kept.push_back(outcome.prompts[i]);
    has_lines |= absl::StrContains(kept.back(), '\n') || absl::StrContains(kept.back(), '\r');
  }
  if (has_lines) {
    return WriteFileAtomically(
        folder.path() / "kept.json",
        nlohmann::json(std::vector<std::string>(kept.begin(), kept.end())).dump(0) + "\n");
  }
  return WriteFileAtomically(folder.path() / "kept.txt",
                             absl::StrCat(absl::StrJoin(kept, "\n"), kept.empty() ? "" : "\n"));
}

absl::Status WriteOutcome(const FilterOutcome& outcome, const FilterKinds& kinds, const std::string& out) {
  RSIDIFF_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(out));
  RSIDIFF_RETURN_IF_ERROR(WriteKept(outcome, folder));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(folder.path() / "rejected.jsonl", RejectedLines(outcome)));
  RSIDIFF_RETURN_IF_ERROR(
      WriteFileAtomically(folder.path() / "report.html", FilterReportHtml(outcome, kinds)));
  return folder.Commit();
}

// A judge that the command line names has the defaults of one in a run file.
absl::Status CompleteJudge(PromptsFilterOptions& options) {
  if (options.judge.endpoint().empty()) return absl::OkStatus();
  if (options.judge.model().empty()) return absl::InvalidArgumentError("--judge needs --judge-model");
  v1::RunSpec spec;
  spec.mutable_prompts()->mutable_filter()->mutable_judge()->Swap(&options.judge);
  FillDefaults(spec);
  options.judge.Swap(spec.mutable_prompts()->mutable_filter()->mutable_judge());
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> Filter(PromptsFilterOptions options, CommandContext& context) {
  RSIDIFF_RETURN_IF_ERROR(CompleteJudge(options));
  RSIDIFF_RETURN_IF_ERROR(TakeRunFile(options));
  if (options.files.empty()) {
    context.Note("error: name prompt files, or a run file that has some");
    return ExitCode::kUsage;
  }
  RSIDIFF_ASSIGN_OR_RETURN(LoadedPrompts list, ReadPromptFiles({options.files.begin(), options.files.end()}));
  FilterOutcome outcome;
  outcome.thresholds.clarity = options.clarity.value_or(outcome.thresholds.clarity);
  outcome.thresholds.specificity = options.specificity.value_or(outcome.thresholds.specificity);
  outcome.thresholds.diversity = options.diversity.value_or(outcome.thresholds.diversity);
  outcome.exact_duplicates = list.duplicates;
  outcome.prompts = std::move(list.prompts);
  outcome.judged = FilterPrompts(outcome.prompts, outcome.thresholds);
  if (!options.judge.endpoint().empty()) {
    RSIDIFF_RETURN_IF_ERROR(ApplyJudge(options.judge, options.judge_cache, outcome, context));
  }
  const FilterKinds kinds = KindsOf(outcome);
  if (!options.out.empty()) {
    RSIDIFF_RETURN_IF_ERROR(WriteOutcome(outcome, kinds, options.out));
    context.Note(absl::StrCat("written to ", options.out));
  }
  if (context.json) {
    context.out() << Summary(outcome).dump(1) << "\n";
  } else {
    context.out() << FilterTable(outcome, kinds).Render(context.environment.out_terminal);
  }
  return ExitCode::kOk;
}

}  // namespace

void AddPromptsFilter(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<PromptsFilterOptions>();
  CLI::App* app = parent.add_subcommand(
      "filter", "Judge prompts by clarity, specificity and diversity, here and without a coordinator");
  app->add_option("FILE", options->files, "Prompt files (.txt, .tsv, .csv, .json; see docs/run-file.md)");
  app->add_option("--run", options->run_file,
                  "Take files and thresholds from this run file where none are given")
      ->type_name("FILE");
  app->add_option("--out", options->out, "New folder for kept.txt, rejected.jsonl and report.html")
      ->type_name("DIR");
  app->add_option("--clarity", options->clarity, "Least clarity, 0 to 1 (default 0.7); 0 turns it off")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE");
  app->add_option("--specificity", options->specificity, "Least specificity (default 1); 0 turns it off")
      ->check(CLI::Range(0.0, 1000.0))
      ->type_name("BITS");
  app->add_option("--diversity", options->diversity,
                  "Least distance to a kept prompt, 0 to 1 (default 0.1); 0 turns it off")
      ->check(CLI::Range(0.0, 0.999))
      ->type_name("SHARE");
  app->add_option_function<std::string>(
         "--judge", [options](const std::string& url) { options->judge.set_endpoint(url); },
         "Ask a language model about the kept prompts too: base URL of an OpenAI-compatible endpoint")
      ->type_name("URL");
  app->add_option_function<std::string>(
         "--judge-model", [options](const std::string& name) { options->judge.set_model(name); },
         "Its name there")
      ->type_name("NAME");
  app->add_option_function<std::string>(
         "--judge-rubric", [options](const std::string& file) { options->judge.set_rubric(file); },
         "Text file with instructions in place of the built-in ones")
      ->type_name("FILE");
  app->add_option("--judge-cache", options->judge_cache,
                  "Folder with its answers so far (default ~/.cache/rsidiff/judge)")
      ->type_name("DIR");
  app->footer(
      "\nPrints how many prompts are kept and rejected, by reason. docs/method.md explains the scores.\n\n"
      "Examples:\n  rsidiff prompts filter --out filtered prompts/*.txt\n"
      "  rsidiff prompts filter --run deploy/examples/shapes.yaml --json\n"
      "  rsidiff prompts filter --diversity 0.3 --out filtered PartiPrompts.tsv\n"
      "  rsidiff prompts filter --judge http://localhost:8000/v1 --judge-model qwen2.5-7b-instruct pool.txt");
  commands.Bind(app, [options](CommandContext& context) { return Filter(*options, context); });
}

}  // namespace rsidiff::coordinator
