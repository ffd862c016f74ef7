#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/new_folder.h"

namespace rsidiff::coordinator {
namespace {

struct SamplesOptions {
  std::string run;
  uint32_t round = 0;
  size_t top = 0;
  bool evaluation = false;
  std::string out;
};

// Evaluation samples have no reward; their scores' mean orders them.
double Quality(const v1::SampleRecord& sample, bool evaluation) {
  if (!evaluation) return sample.reward();
  if (sample.scores().empty()) return 0;
  const double sum = std::accumulate(sample.scores().begin(), sample.scores().end(), 0.0,
                                     [](double total, const auto& score) { return total + score.second; });
  return sum / static_cast<double>(sample.scores().size());
}

std::vector<v1::SampleRecord> Best(std::vector<v1::SampleRecord> samples, size_t top, bool evaluation) {
  if (top == 0) return samples;
  std::stable_sort(samples.begin(), samples.end(), [&](const auto& a, const auto& b) {
    return Quality(a, evaluation) > Quality(b, evaluation);
  });
  samples.resize(std::min(samples.size(), top));
  return samples;
}

// A line of samples.jsonl: the keys of rsidiff-worker's own samples.jsonl, and the run's judgement.
std::string SampleLine(const v1::SampleRecord& sample, const std::string& file) {
  // In name order, since a map's own order changes from process to process.
  const auto by_name = [](const google::protobuf::Map<std::string, double>& values) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const auto& [name, value] : std::map<std::string, double>(values.begin(), values.end())) {
      object[name] = value;
    }
    return object;
  };
  nlohmann::ordered_json line = {{"id", sample.id()},         {"index", sample.index()},
                                 {"prompt", sample.prompt()}, {"sample", sample.sample_index()},
                                 {"seed", sample.seed()},     {"file", file},
                                 {"sha256", sample.image()}};
  line["scores"] = by_name(sample.scores());
  line["z"] = by_name(sample.z());
  line["reward"] = sample.reward();
  line["rank"] = sample.rank();
  line["selected"] = sample.selected();
  line["weight"] = sample.weight();
  if (sample.has_distance()) line["distance"] = sample.distance();
  line["reason"] = sample.reason();
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// The number of pictures written: not every sample has been drawn yet.
absl::StatusOr<size_t> WriteSamples(const std::vector<v1::SampleRecord>& samples, const std::string& out,
                                    CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(out));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<ArtifactStore> store, context.client().OpenArtifacts());
  std::string lines;
  size_t pictures = 0;
  for (const v1::SampleRecord& sample : samples) {
    if (sample.image().empty()) continue;
    const std::string file = absl::StrFormat("%05d.png", sample.index());
    RSIDIFF_ASSIGN_OR_RETURN(const std::string png, store->Get(sample.image()));
    RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(folder.path() / file, png));
    lines += SampleLine(sample, file);
    ++pictures;
  }
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(folder.path() / "samples.jsonl", lines));
  RSIDIFF_RETURN_IF_ERROR(folder.Commit());
  return pictures;
}

std::string PicturesText(size_t pictures, size_t samples) {
  const size_t missing = samples - pictures;
  return absl::StrCat("wrote ", pictures, " pictures and samples.jsonl",
                      missing == 0   ? ""
                      : missing == 1 ? "; 1 sample has not been drawn yet"
                                     : absl::StrCat("; ", missing, " samples have not been drawn yet"));
}

absl::StatusOr<ExitCode> Samples(const SamplesOptions& options, CommandContext& context) {
  if (options.out.empty() && !context.json) {
    return absl::InvalidArgumentError("samples needs --out DIR, or --json to print the records");
  }
  RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(options.run));
  const v1::Purpose purpose = options.evaluation ? v1::PURPOSE_EVALUATION : v1::PURPOSE_TRAINING;
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<v1::SampleRecord> samples,
                           context.client().ListSamples(status.run().id(), options.round, purpose));
  if (samples.empty()) {
    return absl::NotFoundError(absl::StrCat("run ", status.run().id(), " has no ",
                                            options.evaluation ? "evaluation" : "training",
                                            " samples of round ", options.round));
  }
  samples = Best(std::move(samples), options.top, options.evaluation);
  size_t pictures = 0;
  if (!options.out.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(pictures, WriteSamples(samples, options.out, context));
  }
  if (context.json) {
    v1::ListSamplesResponse list;
    *list.mutable_samples() = {samples.begin(), samples.end()};
    context.PrintJson(list);
  } else {
    context.out() << options.out << "\n";
    context.Note(PicturesText(pictures, samples.size()));
  }
  return ExitCode::kOk;
}

}  // namespace

void AddSamples(CLI::App& parent, CommandSet& commands) {
  auto options = std::make_shared<SamplesOptions>();
  CLI::App* app = parent.add_subcommand("samples", "Fetch a round's pictures with their scores and weights");
  app->add_option("RUN", options->run, "Id or name of the run")->required();
  app->add_option("--round", options->round, "Number of the round")->required();
  app->add_option("--top", options->top,
                  "Only the best so many: by reward, or by mean score with --evaluation");
  app->add_flag("--evaluation", options->evaluation, "The evaluation's samples instead of the training's");
  app->add_option("--out", options->out, "New folder for the PNG files and samples.jsonl");
  app->footer(
      "\nWith --json the records are printed; --out may be left out then.\n\nExamples:\n"
      "  rsidiff samples shapes --round 2 --top 20 --out best\n"
      "  rsidiff samples shapes --round 0 --evaluation --json");
  commands.Bind(app, [options](CommandContext& context) { return Samples(*options, context); });
}

}  // namespace rsidiff::coordinator
