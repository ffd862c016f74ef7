#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "nlohmann/json.hpp"
#include "worker/command/command.h"
#include "worker/command/sample_lines.h"
#include "worker/command/scorer_argument.h"
#include "worker/scorer/scorer_set.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {
namespace {

// Pictures held decoded at a time.
constexpr size_t kPicturesAtOnce = 64;

struct ScoreArguments {
  std::vector<std::string> scorers;
  std::string tokenizer;
  std::string samples;
  std::string out;
  std::string device = "auto";
  std::string precision = "fp32";
  int64_t batch_size = 8;
  int threads = 1;
  bool json = false;
};

absl::StatusOr<std::unique_ptr<ScorerSet>> LoadScorers(const ScoreArguments& arguments) {
  std::vector<ScorerSource> sources;
  for (const std::string& text : arguments.scorers) {
    RSIDIFF_ASSIGN_OR_RETURN(ScorerSource source, ParseScorerArgument(text));
    // BERT's vocabulary is another one, so that scorer keeps to its own folder.
    if (source.tokenizer.empty() && FamilyOf(source.type) == ScorerFamily::kClip)
      source.tokenizer = arguments.tokenizer;
    sources.push_back(std::move(source));
  }
  ScorerSet::Options options;
  options.batch_size = arguments.batch_size;
  RSIDIFF_ASSIGN_OR_RETURN(options.compute.device, ParseDevice(arguments.device));
  RSIDIFF_ASSIGN_OR_RETURN(options.compute.dtype, ParsePrecision(arguments.precision));
  return ScorerSet::Load(sources, options);
}

/// Adds `scores` to each line.
absl::Status ScoreLines(ScorerSet& scorers, absl::Span<SampleLine> lines) {
  std::vector<Image> images;
  std::vector<std::string> prompts;
  std::vector<std::string> labels;
  for (const SampleLine& line : lines) {
    absl::StatusOr<std::string> bytes = ReadFile(line.picture);
    if (!bytes.ok()) return Annotate(bytes.status(), line.where);
    absl::StatusOr<Image> image = DecodePng(*bytes);
    if (!image.ok()) return Annotate(image.status(), absl::StrCat(line.where, ": ", line.picture.string()));
    images.push_back(*std::move(image));
    prompts.push_back(line.prompt);
    labels.push_back(line.where);
  }
  ScorerSet::Request request;
  request.images = images;
  request.prompts = prompts;
  request.labels = labels;
  RSIDIFF_ASSIGN_OR_RETURN(const ScorerSet::Result result, scorers.Score(request));
  for (const ScorerSet::Column& column : result.columns) {
    for (size_t i = 0; i < lines.size(); ++i) lines[i].json["scores"][column.scorer] = column.scores[i];
  }
  return absl::OkStatus();
}

struct Summary {
  std::string scorer;
  double mean = 0;
  double min = 0;
  double max = 0;
};

Summary Summarise(const std::string& scorer, const std::vector<SampleLine>& lines) {
  std::vector<double> scores;
  for (const SampleLine& line : lines) scores.push_back(line.json["scores"][scorer].get<double>());
  const auto [min, max] = std::minmax_element(scores.begin(), scores.end());
  return {scorer, std::accumulate(scores.begin(), scores.end(), 0.0) / scores.size(), *min, *max};
}

void Print(const std::vector<Summary>& summaries, const ScoreArguments& arguments, size_t samples) {
  if (arguments.json) {
    nlohmann::ordered_json json = {{"samples", samples}, {"out", arguments.out}};
    for (const Summary& row : summaries) {
      json["scores"][row.scorer] = {{"mean", row.mean}, {"min", row.min}, {"max", row.max}};
    }
    absl::PrintF("%s\n", json.dump());
    return;
  }
  size_t width = 16;
  for (const Summary& row : summaries) width = std::max(width, row.scorer.size());
  absl::PrintF("%-*s %12s %12s %12s\n", width, "scorer", "mean", "min", "max");
  for (const Summary& row : summaries) {
    absl::PrintF("%-*s %12.6g %12.6g %12.6g\n", width, row.scorer, row.mean, row.min, row.max);
  }
}

absl::Status Score(const ScoreArguments& arguments) {
  ConfigureProcess(arguments.threads);
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<SampleLine> lines, ReadSampleLines(arguments.samples));
  if (lines.empty()) return absl::InvalidArgumentError(absl::StrCat(arguments.samples, ": no samples"));
  for (const SampleLine& line : lines) {
    if (line.json.contains("scores") && !line.json["scores"].is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(line.where, ": \"scores\" is there and no object"));
    }
  }
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ScorerSet> scorers, LoadScorers(arguments));
  for (size_t begin = 0; begin < lines.size(); begin += kPicturesAtOnce) {
    const absl::Span<SampleLine> chunk = absl::MakeSpan(lines).subspan(begin, kPicturesAtOnce);
    RSIDIFF_RETURN_IF_ERROR(ScoreLines(*scorers, chunk));
    absl::FPrintF(stderr, "scored %d of %d\n", begin + chunk.size(), lines.size());
  }
  RSIDIFF_RETURN_IF_ERROR(WriteSampleLines(arguments.out, lines));
  std::vector<Summary> summaries;
  for (const std::string& name : scorers->names()) summaries.push_back(Summarise(name, lines));
  Print(summaries, arguments, lines.size());
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ScoreArguments>();
  CLI::App* command = app.add_subcommand("score", "Score pictures with preference metrics");
  command
      ->add_option(
          "--scorer", arguments->scorers,
          absl::StrCat("TYPE=DIR[,tokenizer=DIR][,clip=DIR][,name=NAME]; may be repeated. TYPE is one of ",
                       ScorerTypeNames(),
                       ". DIR holds a CLIPModel; for imagereward and blip-reward ImageReward's network; for "
                       "aesthetic and aesthetic-v2 the head, and then clip= names the CLIPModel whose "
                       "embedding it reads. NAME is the column's, by default TYPE"))
      ->required()
      ->type_name("SCORER")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        const absl::Status status = ParseScorerArgument(text).status();
        return std::string(status.message());
      });
  command->add_option(
      "--tokenizer", arguments->tokenizer,
      "Folder with vocab.json and merges.txt or with tokenizer.json, where a scorer names none; default: the "
      "scorer's DIR");
  command
      ->add_option("--samples", arguments->samples, "A samples.jsonl; its `file` paths start at its folder")
      ->required();
  command->add_option("--out", arguments->out, "File to write: the lines with \"scores\" added")->required();
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str();
  command->add_option("--dtype", arguments->precision, "Precision of the models")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}));
  command->add_option("--batch", arguments->batch_size, "Pictures a forward pass")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command->add_option("--threads", arguments->threads, "Threads of the processor")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", arguments->json, "Print the summary as JSON");
  command->footer(
      "Examples:\n"
      "  rsidiff-worker score --scorer clipscore=clip --samples out/samples.jsonl --out scores.jsonl\n"
      "  rsidiff-worker score --scorer hps=hps,tokenizer=base/tokenizer \\\n"
      "      --scorer aesthetic=aesthetic,clip=hps --samples out/samples.jsonl --out scores.jsonl\n"
      "  rsidiff-worker score --scorer hpsv2.1=hps-v2.1 --scorer imagereward=image-reward \\\n"
      "      --samples out/samples.jsonl --out scores.jsonl");
  command->callback([arguments, &invocation] { invocation.run = [arguments] { return Score(*arguments); }; });
}

}  // namespace rsidiff::worker
