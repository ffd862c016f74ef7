#include "worker/phase/training_manifest.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/digest.h"

namespace rsidiff::worker {
namespace {

using Json = nlohmann::json;

const Json* Find(const Json& line, const char* key) {
  auto found = line.find(key);
  return found == line.end() ? nullptr : &*found;
}

std::string TextOf(const Json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

// Empty: all is well.
std::string ReadLine(const Json& line, TrainingExample& example) {
  const Json* prompt = Find(line, "prompt");
  const Json* row = Find(line, "row");
  const Json* weight = Find(line, "weight");
  const Json* replay = Find(line, "replay");
  if (prompt == nullptr || !prompt->is_string()) return "no \"prompt\"";
  example.prompt = prompt->get<std::string>();
  example.latents = TextOf(Find(line, "latents"));
  example.image = TextOf(Find(line, "image"));
  if (!example.latents.empty() && !IsDigest(example.latents)) return "\"latents\" is no digest";
  if (!example.image.empty() && !IsDigest(example.image)) return "\"image\" is no digest";
  if (example.latents.empty() && example.image.empty()) return "neither \"latents\" nor \"image\"";
  if (row != nullptr) {
    if (!row->is_number_unsigned() || row->get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
      return "\"row\" is no row";
    }
    example.row = row->get<uint32_t>();
  }
  if (weight == nullptr || !weight->is_number()) return "no \"weight\"";
  example.weight = weight->get<double>();
  if (!std::isfinite(example.weight) || example.weight < 0.0) return "\"weight\" is negative or not finite";
  if (replay != nullptr) {
    if (!replay->is_boolean()) return "\"replay\" is neither true nor false";
    example.replay = replay->get<bool>();
  }
  return "";
}

}  // namespace

absl::StatusOr<std::vector<TrainingExample>> ParseTrainingManifest(absl::string_view text,
                                                                   absl::string_view name) {
  std::vector<TrainingExample> examples;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.empty()) continue;
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    TrainingExample example;
    std::string problem = json.is_object() ? ReadLine(json, example) : "not a JSON object";
    if (!problem.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("training manifest ", name, " line ", number, ": ", problem));
    }
    examples.push_back(std::move(example));
  }
  if (examples.empty())
    return absl::InvalidArgumentError(absl::StrCat("training manifest ", name, " is empty"));
  return examples;
}

}  // namespace rsidiff::worker
