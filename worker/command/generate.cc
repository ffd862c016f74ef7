#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/image/png.h"
#include "nlohmann/json.hpp"
#include "worker/command/command.h"
#include "worker/command/sample_lines.h"
#include "worker/sampler/pipeline.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

struct GenerateArguments {
  std::string model, prompt, prompts, negative, scheduler, init_latents, out;
  uint64_t seed = 0;
  int samples = 1;
  int steps = 50;
  double guidance = 7.5;
  int width = 0, height = 0;
  int batch = 8;
  bool save_latents = false;
  std::string device = "auto";
  std::string precision = "fp32";
  int threads = 1;
  bool json = false;
};

// Done pictures, rate and time left, redrawn on one line of stderr; silent where that is no terminal.
class ProgressLine {
 public:
  explicit ProgressLine(int64_t total)
      : total_(total), shown_(isatty(STDERR_FILENO) != 0), start_(absl::Now()) {}
  ~ProgressLine() {
    if (shown_) std::fputs("\n", stderr);
  }

  /// `done` pictures, the last batch's fractions included.
  void Update(double done) const {
    if (!shown_ || done <= 0) return;
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
    const absl::Duration left = absl::Seconds(static_cast<int64_t>(seconds / done * (total_ - done)));
    absl::FPrintF(stderr, "\r%d/%d pictures  %.2f/s  %s left   ", static_cast<int64_t>(done), total_,
                  done / seconds, absl::FormatDuration(left));
  }
  double seconds() const { return absl::ToDoubleSeconds(absl::Now() - start_); }

 private:
  int64_t total_;
  bool shown_;
  absl::Time start_;
};

struct Prompt {
  std::string text;
  std::string place;  // for messages
};

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const GenerateArguments& arguments) {
  if (arguments.prompts.empty()) return std::vector<Prompt>{{arguments.prompt, "--prompt"}};
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(arguments.prompts));
  if (const std::optional<size_t> offset = FirstInvalidUtf8(text)) {
    return absl::InvalidArgumentError(absl::StrCat(arguments.prompts, ": not UTF-8 at byte ", *offset));
  }
  std::vector<Prompt> prompts;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty()) prompts.push_back({std::string(line), absl::StrCat(arguments.prompts, ":", number)});
  }
  if (prompts.empty())
    return absl::InvalidArgumentError(absl::StrCat(arguments.prompts, ": there is no prompt"));
  return prompts;
}

// Every sample of the job, prompt by prompt.
absl::StatusOr<GenerateRequest> PlanSamples(const GenerateArguments& arguments,
                                            const std::vector<Prompt>& prompts) {
  GenerateRequest job;
  for (size_t i = 0; i < prompts.size() * arguments.samples; ++i) {
    job.prompts.push_back(prompts[i / arguments.samples].text);
    job.seeds.push_back(arguments.seed + i);
  }
  job.negative_prompt = arguments.negative;
  job.steps = arguments.steps;
  job.guidance_scale = arguments.guidance;
  job.width = arguments.width;
  job.height = arguments.height;
  job.batch_size = arguments.batch;
  if (!arguments.scheduler.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(job.scheduler, ParseSchedulerType(arguments.scheduler));
  }
  if (!arguments.init_latents.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(arguments.init_latents));
    RSIDIFF_ASSIGN_OR_RETURN(job.init_latents, file->Get("latents"));
    if (job.init_latents.dim() != 4 || job.init_latents.size(0) != job.prompts.size()) {
      return absl::InvalidArgumentError(absl::StrCat(arguments.init_latents, ": \"latents\" is not [",
                                                     job.prompts.size(), ", channels, height, width]"));
    }
  }
  return job;
}

// Samples [first, first + count) of the job, as a request of one batch.
GenerateRequest Slice(const GenerateRequest& job, size_t first, size_t count) {
  GenerateRequest slice = job;
  slice.prompts.assign(job.prompts.begin() + first, job.prompts.begin() + first + count);
  slice.seeds.assign(job.seeds.begin() + first, job.seeds.begin() + first + count);
  if (job.init_latents.defined()) slice.init_latents = job.init_latents.narrow(0, first, count);
  return slice;
}

PngText ParametersOf(const GenerateArguments& arguments, const std::string& prompt, uint64_t seed) {
  PngText text = {{"prompt", prompt},
                  {"negative_prompt", arguments.negative},
                  {"seed", absl::StrCat(seed)},
                  {"steps", absl::StrCat(arguments.steps)},
                  {"guidance_scale", absl::StrCat(arguments.guidance)},
                  {"scheduler", arguments.scheduler.empty() ? "model" : arguments.scheduler},
                  {"batch_size", absl::StrCat(arguments.batch)},
                  {"model", arguments.model},
                  {"software", absl::StrCat("rsidiff ", RSIDIFF_VERSION)}};
  if (!arguments.init_latents.empty()) text.emplace_back("init_latents", arguments.init_latents);
  return text;
}

absl::StatusOr<SampleLine> WriteSample(const GenerateArguments& arguments, const GenerateRequest& job,
                                       size_t index, const Image& image) {
  const std::string name = absl::StrFormat("%05d.png", index);
  RSIDIFF_ASSIGN_OR_RETURN(const std::string png,
                           EncodePng(image, ParametersOf(arguments, job.prompts[index], job.seeds[index])));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(fs::path(arguments.out) / name, png));
  SampleLine line;
  line.json = {{"index", index},
               {"prompt", job.prompts[index]},
               {"sample", index % arguments.samples},
               {"seed", job.seeds[index]},
               {"file", name},
               {"sha256", Sha256Hex(png)}};
  return line;
}

// Of very many only the first are named.
void WarnOfTruncated(absl::Span<const Prompt> truncated) {
  constexpr size_t kNamed = 10;
  for (const Prompt& prompt : truncated.subspan(0, kNamed)) {
    absl::FPrintF(stderr,
                  "rsidiff-worker: %s: the prompt is longer than the text encoder takes and was truncated: "
                  "\"%s\"\n",
                  prompt.place, Excerpt(prompt.text));
  }
  if (truncated.size() > kNamed) {
    absl::FPrintF(stderr, "rsidiff-worker: so were %d more prompts\n", truncated.size() - kNamed);
  }
}

void Report(const GenerateArguments& arguments, size_t pictures, size_t truncated, double seconds) {
  const std::string lines = (fs::path(arguments.out) / "samples.jsonl").string();
  if (!arguments.json) {
    std::printf("%s\n", lines.c_str());
    return;
  }
  const nlohmann::ordered_json summary = {{"samples", lines},
                                          {"pictures", pictures},
                                          {"truncated", truncated},
                                          {"seconds", seconds},
                                          {"environment", EnvironmentDescription()}};
  std::printf("%s\n", summary.dump().c_str());
}

absl::Status Generate(const GenerateArguments& arguments) {
  ConfigureProcess(arguments.threads);
  ComputeOptions compute;
  RSIDIFF_ASSIGN_OR_RETURN(compute.device, ParseDevice(arguments.device));
  RSIDIFF_ASSIGN_OR_RETURN(compute.dtype, ParsePrecision(arguments.precision));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, ReadPrompts(arguments));
  RSIDIFF_ASSIGN_OR_RETURN(const GenerateRequest job, PlanSamples(arguments, prompts));
  RSIDIFF_ASSIGN_OR_RETURN(const auto pipeline, StableDiffusionPipeline::Load(arguments.model, compute));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(arguments.out));

  const size_t total = job.prompts.size();
  std::vector<SampleLine> lines;
  std::vector<at::Tensor> latents;
  std::vector<Prompt> truncated;
  const ProgressLine progress(static_cast<int64_t>(total));
  // A batch at a time, so that pictures are on the disk as soon as they are done.
  for (size_t first = 0; first < total; first += job.batch_size) {
    const size_t count = std::min<size_t>(job.batch_size, total - first);
    GenerateRequest batch = Slice(job, first, count);
    batch.on_progress = [&](const GenerateProgress& at) {
      progress.Update(first + static_cast<double>(count) * at.call / at.calls);
      return true;
    };
    RSIDIFF_ASSIGN_OR_RETURN(const GenerateOutput output, pipeline->Generate(batch));
    for (size_t i = 0; i < count; ++i) {
      RSIDIFF_ASSIGN_OR_RETURN(SampleLine line, WriteSample(arguments, job, first + i, output.images[i]));
      lines.push_back(std::move(line));
      const bool first_of_prompt = (first + i) % arguments.samples == 0;
      if (output.truncated[i] && first_of_prompt)
        truncated.push_back(prompts[(first + i) / arguments.samples]);
    }
    latents.push_back(output.latents);
  }
  if (arguments.save_latents) {
    RSIDIFF_RETURN_IF_ERROR(WriteSafetensors(fs::path(arguments.out) / "latents.safetensors",
                                             {{"latents", at::cat(latents)}}, {{"format", "pt"}}));
  }
  RSIDIFF_RETURN_IF_ERROR(WriteSampleLines(fs::path(arguments.out) / "samples.jsonl", lines));
  WarnOfTruncated(truncated);
  Report(arguments, total, truncated.size(), progress.seconds());
  return absl::OkStatus();
}

void AddSamplingOptions(CLI::App& command, GenerateArguments& a) {
  command
      .add_option("--seed", a.seed,
                  "Seed of the first sample; prompt i (from 0), sample k has SEED + i * K + k")
      ->capture_default_str();
  command.add_option("--samples", a.samples, "Samples of each prompt, K")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--steps", a.steps, "Denoising steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--guidance", a.guidance, "Classifier-free guidance scale; 1 or less: none")
      ->capture_default_str();
  command.add_option("--negative", a.negative, "Negative prompt");
  command.add_option("--scheduler", a.scheduler, "Instead of the model's own")
      ->check(CLI::IsMember({"ddim", "pndm", "euler", "dpmsolver++"}));
  command.add_option("--width", a.width, "Pixels, default the model's")->check(CLI::PositiveNumber);
  command.add_option("--height", a.height, "Pixels, default the model's")->check(CLI::PositiveNumber);
  command.add_option("--batch", a.batch, "Samples computed together; the last batch is filled up")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option("--init-latents", a.init_latents,
                  "safetensors file with unit noise \"latents\" [N, C, h, w]")
      ->check(CLI::ExistingFile);
}

}  // namespace

void AddGenerateCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<GenerateArguments>();
  GenerateArguments& a = *arguments;
  CLI::App& command = *app.add_subcommand("generate", "Draw pictures for prompts");
  command.add_option("--model", a.model, "Folder of a diffusers StableDiffusionPipeline")
      ->required()
      ->check(CLI::ExistingDirectory);
  CLI::Option_group& source = *command.add_option_group("prompts");
  source.add_option("--prompt", a.prompt, "One prompt");
  source.add_option("--prompts", a.prompts, "Text file with a prompt a line")->check(CLI::ExistingFile);
  source.require_option(1);
  AddSamplingOptions(command, a);
  command.add_flag("--save-latents", a.save_latents, "Write OUT/latents.safetensors");
  command.add_option("--device", a.device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str();
  command.add_option("--dtype", a.precision, "Precision of the models")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str();
  command.add_option("--threads", a.threads, "Threads of the processor")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--out", a.out, "Folder for NNNNN.png and samples.jsonl")->required();
  command.add_flag("--json", a.json, "Print a summary as JSON");
  command.footer(
      "Example:\n"
      "  rsidiff-worker generate --model base --prompts prompts.txt --samples 4 --seed 7 --steps 20 --out "
      "pictures\n"
      "draws the pictures that diffusers draws with generator=torch.Generator().manual_seed(SEED) for each.");
  command.callback(
      [&invocation, arguments] { invocation.run = [arguments] { return Generate(*arguments); }; });
}

}  // namespace rsidiff::worker
