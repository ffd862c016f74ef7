#include <CLI/CLI.hpp>
#include <filesystem>
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
#include "common/config/run_paths.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/filter_pool.h"
#include "coordinator/cli/filter_report.h"
#include "coordinator/cli/new_folder.h"
#include "coordinator/cli/table.h"
#include "coordinator/prompt/source.h"

namespace rsidiff::coordinator {
namespace {

struct PromptsFilterOptions {
  std::vector<std::string> files;
  std::string run_file;
  std::vector<std::string> overrides;  // of the run file
  std::string out;
  v1::PromptFilterSpec filter;  // what the command line says of it
  std::string judge_cache;
};

// What to filter, and how.
struct FilterRequest {
  std::vector<std::string> files;  // or patterns
  v1::PromptFilterSpec filter;
};

// A run file whose filter is off keeps every prompt and asks no judge.
v1::PromptFilterSpec KeepAll() {
  v1::PromptFilterSpec filter;
  filter.set_clarity(0);
  filter.set_specificity(0);
  filter.set_diversity(0);
  return filter;
}

// What the run file says.
absl::StatusOr<FilterRequest> ReadRunFile(const PromptsFilterOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const RunFile file, LoadRunFile(options.run_file, options.overrides));
  const v1::PromptSpec& prompts = file.spec.prompts();
  FilterRequest request{{prompts.train().begin(), prompts.train().end()}, prompts.filter()};
  if (prompts.has_filter() && !prompts.filter().enabled()) {
    context.Note("the run file's filter is off: --set prompts.filter.enabled=true shows what it would do");
    request.filter = KeepAll();
  }
  return request;
}

absl::Status CheckJudge(const v1::PromptFilterSpec& filter) {
  if (!filter.has_judge()) return absl::OkStatus();
  if (filter.judge().endpoint().empty()) {
    return absl::InvalidArgumentError(
        "--judge-model and the other options of a judge need --judge, or --run with a run file that has one");
  }
  if (filter.judge().model().empty()) return absl::InvalidArgumentError("--judge needs --judge-model");
  return absl::OkStatus();
}

// The command line's word goes over the run file's, and both over the defaults.
absl::StatusOr<FilterRequest> Resolve(const PromptsFilterOptions& options, CommandContext& context) {
  FilterRequest request;
  if (!options.run_file.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(request, ReadRunFile(options, context));
  }
  if (!options.files.empty()) request.files = options.files;
  request.filter.MergeFrom(options.filter);
  RSIDIFF_RETURN_IF_ERROR(CheckJudge(request.filter));
  v1::RunSpec spec;
  spec.mutable_prompts()->mutable_filter()->Swap(&request.filter);
  FillDefaults(spec);
  request.filter.Swap(spec.mutable_prompts()->mutable_filter());
  return request;
}

// Patterns by the files that match.
absl::StatusOr<std::vector<std::filesystem::path>> Expanded(const std::vector<std::string>& patterns) {
  std::vector<std::filesystem::path> files;
  for (const std::string& pattern : patterns) {
    const std::vector<std::string> matches = MatchingFiles(pattern);
    if (matches.empty()) return absl::NotFoundError(absl::StrCat("no file matches ", pattern));
    files.insert(files.end(), matches.begin(), matches.end());
  }
  return files;
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

absl::Status WriteOutcome(const FilterOutcome& outcome, const FilterKinds& kinds, NewFolder& folder) {
  RSIDIFF_RETURN_IF_ERROR(WriteKept(outcome, folder));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(folder.path() / "prompts.jsonl", PromptLines(outcome)));
  RSIDIFF_RETURN_IF_ERROR(
      WriteFileAtomically(folder.path() / "report.html", FilterReportHtml(outcome, kinds)));
  return folder.Commit();
}

absl::StatusOr<ExitCode> Filter(const PromptsFilterOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const FilterRequest request, Resolve(options, context));
  if (request.files.empty()) {
    context.Note("error: name prompt files, or a run file that has some");
    return ExitCode::kUsage;
  }
  // Made first, so that a folder in its place is told before a judge is asked.
  std::optional<NewFolder> folder;
  if (!options.out.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(NewFolder created, NewFolder::Create(options.out));
    folder.emplace(std::move(created));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<std::filesystem::path> files, Expanded(request.files));
  RSIDIFF_ASSIGN_OR_RETURN(LoadedPrompts list, ReadPool(files, context));
  RSIDIFF_ASSIGN_OR_RETURN(const FilterOutcome outcome,
                           FilterPool(request.filter, std::move(list), options.judge_cache, context));
  const FilterKinds kinds = KindsOf(outcome);
  if (folder) {
    RSIDIFF_RETURN_IF_ERROR(WriteOutcome(outcome, kinds, *folder));
    context.Note(absl::StrCat("written to ", options.out));
  }
  if (context.json) {
    context.out() << Summary(outcome).dump(1) << "\n";
  } else {
    context.out() << FilterTable(outcome, kinds).Render(context.environment.out_terminal);
  }
  return ExitCode::kOk;
}

void AddThresholds(CLI::App& app, const std::shared_ptr<PromptsFilterOptions>& options) {
  app.add_option_function<double>(
         "--clarity", [options](double value) { options->filter.set_clarity(value); },
         "Least clarity, 0 to 1 (default 0.7); 0 turns it off")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE");
  app.add_option_function<double>(
         "--specificity", [options](double value) { options->filter.set_specificity(value); },
         "Least specificity (default 1); 0 turns it off")
      ->check(CLI::Range(0.0, 1000.0))
      ->type_name("BITS");
  app.add_option_function<double>(
         "--diversity", [options](double value) { options->filter.set_diversity(value); },
         "Least distance to a kept prompt, 0 to 1 (default 0.1); 0 turns it off")
      ->check(CLI::Range(0.0, 0.999))
      ->type_name("SHARE");
}

void AddJudge(CLI::App& app, const std::shared_ptr<PromptsFilterOptions>& options) {
  // Read when an option is given: without any there is no judge.
  const auto judge = [options]() -> v1::PromptJudgeSpec& { return *options->filter.mutable_judge(); };
  app.add_option_function<std::string>(
         "--judge", [judge](const std::string& url) { judge().set_endpoint(url); },
         "Ask a language model too, about what clarity and specificity keep: base URL of an "
         "OpenAI-compatible endpoint")
      ->type_name("URL");
  app.add_option_function<std::string>(
         "--judge-model", [judge](const std::string& name) { judge().set_model(name); }, "Its name there")
      ->type_name("NAME");
  app.add_option_function<std::string>(
         "--judge-rubric", [judge](const std::string& file) { judge().set_rubric(file); },
         "Text file with instructions in place of the built-in ones")
      ->type_name("FILE");
  app.add_option_function<double>(
         "--judge-clarity", [judge](double value) { judge().set_clarity(value); },
         "Least clarity by it (default 0.5)")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE");
  app.add_option_function<double>(
         "--judge-specificity", [judge](double value) { judge().set_specificity(value); },
         "Least specificity by it (default 0.5)")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE");
  app.add_option_function<double>(
         "--judge-timeout", [judge](double value) { judge().set_timeout(value); },
         "Longest that an answer may take (default 30)")
      ->check(CLI::Range(0.1, 3600.0))
      ->type_name("SECONDS");
  app.add_option_function<uint32_t>(
         "--judge-retries", [judge](uint32_t value) { judge().set_retries(value); },
         "Further tries for an answer (default 3)")
      ->check(CLI::Range(0, 100))
      ->type_name("N");
  app.add_option_function<uint32_t>(
         "--judge-parallel", [judge](uint32_t value) { judge().set_parallel(value); },
         "Questions under way at a time (default 4)")
      ->check(CLI::Range(1, 256))
      ->type_name("N");
  app.add_option_function<std::string>(
         "--judge-key-variable", [judge](const std::string& name) { judge().set_api_key_variable(name); },
         "Environment variable with its key (default OPENAI_API_KEY)")
      ->type_name("NAME");
  app.add_option("--judge-cache", options->judge_cache,
                 "Folder with its answers so far (default ~/.cache/rsidiff/judge)")
      ->type_name("DIR");
}

}  // namespace

void AddPromptsFilter(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<PromptsFilterOptions>();
  CLI::App* app = parent.add_subcommand(
      "filter", "Judge prompts by clarity, specificity and diversity, here and without a coordinator");
  app->add_option("FILE", options->files,
                  "Prompt files (.txt, .tsv, .csv, .json; see docs/run-file.md), or patterns");
  CLI::Option* run =
      app->add_option("--run", options->run_file,
                      "Take files, thresholds and the judge from this run file where none are given");
  run->type_name("FILE");
  app->add_option("--set", options->overrides, "Replace a value of the run file; may be given again")
      ->needs(run)
      ->allow_extra_args(false)
      ->type_name("KEY.KEY=VALUE");
  app->add_option("--out", options->out, "New folder for kept.txt, prompts.jsonl and report.html")
      ->type_name("DIR");
  AddThresholds(*app, options);
  AddJudge(*app, options);
  app->footer(
      "\nPrints how many prompts are kept and rejected, by reason. docs/method.md explains the scores.\n\n"
      "Examples:\n  rsidiff prompts filter --out filtered prompts/*.txt\n"
      "  rsidiff prompts filter --run deploy/examples/shapes.yaml --json\n"
      "  rsidiff prompts filter --run deploy/examples/shapes.yaml --set prompts.filter.clarity=0.5\n"
      "  rsidiff prompts filter --diversity 0.3 --out filtered PartiPrompts.tsv\n"
      "  rsidiff prompts filter --judge http://localhost:8000/v1 --judge-model qwen2.5-7b-instruct pool.txt");
  commands.Bind(app, [options](CommandContext& context) { return Filter(*options, context); });
}

}  // namespace rsidiff::coordinator
