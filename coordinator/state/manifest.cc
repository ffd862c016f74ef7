#include "coordinator/state/manifest.h"

#include <nlohmann/json.hpp>

namespace rsidiff::coordinator {
namespace {

std::string Lines(const Run& run, const Round& round, bool replay) {
  std::string lines;
  auto samples = round.samples.find(v1::PURPOSE_TRAINING);
  if (samples == round.samples.end()) return lines;
  for (const auto& [index, sample] : samples->second) {
    if (!sample.selected()) continue;
    nlohmann::ordered_json line;
    line["prompt"] = run.train_prompts.at(sample.prompt_id());
    line["latents"] = sample.latents();
    line["row"] = sample.row();
    line["image"] = sample.image();
    line["weight"] = sample.weight();
    line["replay"] = replay;
    lines += line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    lines += '\n';
  }
  return lines;
}

}  // namespace

std::string TrainingManifest(const Run& run, uint32_t round) {
  std::string manifest = Lines(run, run.rounds.at(round), false);
  if (run.record.spec().train().replay() <= 0) return manifest;
  for (uint32_t earlier = 1; earlier < round; ++earlier) manifest += Lines(run, run.rounds.at(earlier), true);
  return manifest;
}

}  // namespace rsidiff::coordinator
