#include "coordinator/state/manifest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/digest.h"

namespace rsidiff::coordinator {

std::string ManifestLine(absl::string_view prompt, const v1::SampleRecord& sample, Replay replay) {
  nlohmann::ordered_json line;
  line["prompt"] = prompt;
  line["latents"] = sample.latents();
  line["row"] = sample.row();
  line["image"] = sample.image();
  line["weight"] = sample.weight();
  line["replay"] = replay == Replay::kYes;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

void ManifestParts::Add(absl::string_view line) {
  part_.append(line.data(), line.size());
  if (++lines_ == kLines) Finish();
}

void ManifestParts::Finish() {
  if (part_.empty()) return;
  digests_.push_back(Sha256Hex(part_));
  complete_.push_back(std::exchange(part_, {}));
  lines_ = 0;
}

std::vector<std::string> ManifestParts::TakeComplete() {
  return std::exchange(complete_, {});
}

}  // namespace rsidiff::coordinator
