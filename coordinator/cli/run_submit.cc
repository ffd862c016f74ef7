#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <unordered_set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "common/config/run_file.h"
#include "common/config/yaml_writer.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/filter_pool.h"
#include "coordinator/cli/filter_report.h"
#include "coordinator/cli/run_follow.h"
#include "coordinator/cli/run_plan.h"
#include "coordinator/cli/submission_size.h"
#include "coordinator/prompt/source.h"

namespace rsidiff::coordinator {
namespace {

struct SubmitOptions {
  std::string file;
  bool watch = false;
  bool dry_run = false;
  std::vector<std::string> overrides;
  std::string request_id;
  std::string judge_cache;
  GpuRate gpu;
};

struct Prompts {
  LoadedPrompts train;
  LoadedPrompts evaluation;
  v1::FilterCounts filtered;
  std::string rejected_lines;  // empty: nothing was rejected
};

// Leaves the training prompts that the filter rejects out. Evaluation prompts are never filtered.
absl::Status FilterTraining(const v1::PromptFilterSpec& spec, const std::string& judge_cache,
                            Prompts& prompts, CommandContext& context) {
  if (!spec.enabled() || prompts.train.prompts.empty()) return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(FilterOutcome outcome,
                           FilterPool(spec, std::move(prompts.train), judge_cache, context));
  const FilterCounts counts = CountVerdicts(outcome.judged);
  if (counts.kept == 0) {
    return absl::InvalidArgumentError(absl::StrCat("prompts.filter rejects all ", outcome.prompts.size(),
                                                   " training prompts; the first one ",
                                                   outcome.judged.front().reason));
  }
  prompts.filtered.set_clarity(static_cast<uint32_t>(counts.unclear));
  prompts.filtered.set_specificity(static_cast<uint32_t>(counts.vague));
  prompts.filtered.set_diversity(static_cast<uint32_t>(counts.duplicate));
  prompts.rejected_lines = RejectedLines(outcome);
  context.Note(absl::StrCat("the filter keeps ", counts.kept, " of ", outcome.prompts.size(),
                            " training prompts; it rejects ", counts.unclear, " by clarity, ", counts.vague,
                            " by specificity, ", counts.duplicate, " by diversity"));
  // In this order workers go on by embeddings; and the run does not depend on the order in the files.
  prompts.train.prompts.clear();
  for (const uint32_t i : KeptInOrder(outcome.prompts, outcome.judged)) {
    prompts.train.prompts.push_back(std::move(outcome.prompts[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<Prompts> ReadPrompts(const v1::RunSpec& spec, const std::string& judge_cache,
                                    CommandContext& context) {
  Prompts prompts;
  const auto read = [&](const google::protobuf::RepeatedPtrField<std::string>& files) {
    return ReadPool({files.begin(), files.end()}, context);
  };
  RSIDIFF_ASSIGN_OR_RETURN(prompts.train, read(spec.prompts().train()));
  RSIDIFF_ASSIGN_OR_RETURN(prompts.evaluation, read(spec.prompts().evaluation()));
  RSIDIFF_RETURN_IF_ERROR(FilterTraining(spec.prompts().filter(), judge_cache, prompts, context));
  const std::unordered_set<std::string> trained(prompts.train.prompts.begin(), prompts.train.prompts.end());
  const auto shared = std::count_if(prompts.evaluation.prompts.begin(), prompts.evaluation.prompts.end(),
                                    [&](const std::string& prompt) { return trained.count(prompt) > 0; });
  if (shared > 0) {
    context.Note(absl::StrCat("warning: ", shared, " evaluation prompts are training prompts too"));
  }
  return prompts;
}

// Imports folders, each once however often the run names it.
class Importer {
 public:
  Importer(ArtifactStore& store, CommandContext& context) : store_(store), context_(context) {}

  absl::StatusOr<std::string> Import(const std::string& folder) {
    if (folder.empty()) return std::string();
    const auto known = digests_.find(folder);
    if (known != digests_.end()) return known->second;
    context_.Note(absl::StrCat("storing ", folder));
    RSIDIFF_ASSIGN_OR_RETURN(std::string digest, ImportFolder(store_, folder));
    digests_[folder] = digest;
    return digest;
  }

 private:
  ArtifactStore& store_;
  CommandContext& context_;
  std::map<std::string, std::string> digests_;
};

// The submission but for the digests of what is stored with it.
v1::SubmitRunRequest RequestOf(const v1::RunSpec& spec, LoadedPrompts train, LoadedPrompts evaluation) {
  v1::SubmitRunRequest request;
  *request.mutable_spec() = spec;
  if (spec.prompts().filter().has_judge()) {
    // The run keeps which model judged and how strictly; where to ask it and with which key is a person's.
    v1::PromptJudgeSpec& judge =
        *request.mutable_spec()->mutable_prompts()->mutable_filter()->mutable_judge();
    judge.clear_endpoint();
    judge.clear_api_key_variable();
  }
  v1::RunInputs& inputs = *request.mutable_inputs();
  for (std::string& prompt : train.prompts) inputs.add_train_prompts(std::move(prompt));
  for (std::string& prompt : evaluation.prompts) inputs.add_evaluation_prompts(std::move(prompt));
  return request;
}

// Stores folders and `rejected_lines`, and puts their digests into `inputs`.
absl::StatusOr<v1::RunInputs> StoreInputs(const v1::RunSpec& spec, const std::string& rejected_lines,
                                          v1::RunInputs inputs, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> store, context.client().OpenArtifacts());
  Importer importer(*store, context);
  RSIDIFF_ASSIGN_OR_RETURN(*inputs.mutable_model(), importer.Import(spec.model().path()));
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    v1::ScorerInputs& stored = (*inputs.mutable_scorers())[scorer.name()];
    RSIDIFF_ASSIGN_OR_RETURN(*stored.mutable_model(), importer.Import(scorer.path()));
    RSIDIFF_ASSIGN_OR_RETURN(*stored.mutable_tokenizer(), importer.Import(scorer.tokenizer()));
    RSIDIFF_ASSIGN_OR_RETURN(*stored.mutable_clip(), importer.Import(scorer.clip()));
  }
  if (!rejected_lines.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(*inputs.mutable_rejected_prompts(), store->Put(rejected_lines));
  }
  return inputs;
}

void PrintDryRun(const v1::RunSpec& spec, const RunPlan& plan, CommandContext& context) {
  if (context.json) {
    const std::string json = ToJson(spec);
    context.out() << "{\"spec\": " << absl::StripTrailingAsciiWhitespace(json)
                  << ", \"plan\": " << PlanJson(plan) << "}\n";
    return;
  }
  // The plan is YAML comments, so that the output is a run file again.
  context.out() << "# The run file with every default filled in.\n"
                << RunSpecToYaml(spec) << "\n# The plan:\n";
  const std::string plan_text = PlanText(plan);
  for (const absl::string_view line : absl::StrSplit(plan_text, '\n', absl::SkipEmpty())) {
    context.out() << "#   " << line << "\n";
  }
}

absl::StatusOr<ExitCode> Submit(const SubmitOptions& options, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(RunFile file, LoadRunFile(options.file, options.overrides));
  for (const Diagnostic& warning : file.warnings) {
    context.Note(absl::StrCat("warning: ", FormatDiagnostics(file.path, {warning})));
  }
  // Asked first, so that an unreachable coordinator is told before a judge is asked and large folders are
  // hashed.
  if (!options.dry_run) RSIDIFF_RETURN_IF_ERROR(context.client().GetInfo().status());
  RSIDIFF_ASSIGN_OR_RETURN(Prompts prompts, ReadPrompts(file.spec, options.judge_cache, context));
  const PromptCounts counts = {prompts.train.prompts.size(), prompts.evaluation.prompts.size()};
  RSIDIFF_ASSIGN_OR_RETURN(const RunPlan plan, PlanRun(file.spec, counts, options.gpu));
  v1::SubmitRunRequest request =
      RequestOf(file.spec, std::move(prompts.train), std::move(prompts.evaluation));
  request.set_request_id(options.request_id.empty() ? RandomId() : options.request_id);
  if (file.spec.prompts().filter().enabled())
    *request.mutable_inputs()->mutable_filtered() = prompts.filtered;
  RSIDIFF_RETURN_IF_ERROR(CheckSubmissionSize(request, kMaxMessageBytes));
  if (options.dry_run) {
    PrintDryRun(file.spec, plan, context);
    return ExitCode::kOk;
  }
  RSIDIFF_ASSIGN_OR_RETURN(
      *request.mutable_inputs(),
      StoreInputs(file.spec, prompts.rejected_lines, std::move(*request.mutable_inputs()), context));
  RSIDIFF_ASSIGN_OR_RETURN(const uint64_t id, context.client().SubmitRun(request));
  context.Note(absl::StrCat("submitted run ", id, " ", file.spec.name()));
  if (options.watch) {
    if (!context.json) context.out() << id << std::endl;
    return FollowRun(id, context);
  }
  context.PrintRunId(id);
  return ExitCode::kOk;
}

}  // namespace

void AddRunSubmit(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* app =
      parent.add_subcommand("submit", "Check a run file, store its models and prompts, start the run");
  app->add_option("FILE", options->file, "The run file (YAML; see docs/run-file.md)")->required();
  app->add_flag("--watch", options->watch, "Follow the run until it ends");
  app->add_flag("--dry-run", options->dry_run,
                "Submit nothing; print the run file with every default filled in and what it would do");
  app->add_option(
         "--gpu-tflops", options->gpu.half_tflops,
         "With --dry-run: peak of the GPU in bf16 and fp16, for the estimate (default 989, an H100 SXM)")
      ->check(CLI::PositiveNumber)
      ->type_name("TFLOPS");
  app->add_option("--gpu-fp32-tflops", options->gpu.single_tflops, "The same in fp32 (default 67)")
      ->check(CLI::PositiveNumber)
      ->type_name("TFLOPS");
  app->add_option("--gpu-utilization", options->gpu.utilization,
                  "Share of the peak that is reached (default 0.3)")
      ->check(CLI::Range(0.001, 1.0))
      ->type_name("SHARE");
  app->add_option("--set", options->overrides, "Replace a value of the run file; may be given again")
      ->allow_extra_args(false)
      ->type_name("KEY.KEY=VALUE");
  app->add_option("--request-id", options->request_id,
                  "Name of this submission: submitting the same one again finds the run it made")
      ->type_name("ID");
  app->add_option("--judge-cache", options->judge_cache,
                  "Folder with the answers of prompts.filter.judge (default ~/.cache/rsidiff/judge)")
      ->type_name("DIR");
  app->footer(
      "\nPrints the run's id.\n\nExamples:\n  rsidiff run submit deploy/examples/shapes.yaml --dry-run\n"
      "  rsidiff run submit deploy/examples/shapes.yaml --watch\n"
      "  rsidiff run submit deploy/examples/shapes.yaml --set rounds=1 --set train.learning_rate=1e-5");
  commands.Bind(app, [options](CommandContext& context) { return Submit(*options, context); });
}

}  // namespace rsidiff::coordinator
