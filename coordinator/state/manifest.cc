#include "coordinator/state/manifest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"

namespace rsidiff::coordinator {
namespace {

std::string Json(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string ManifestLine(absl::string_view prompt, const v1::SampleRecord& sample, double weight,
                         Replay replay) {
  // Without a JSON object for each of a million lines. Digests need no escaping.
  return absl::StrCat("{\"prompt\":", Json(prompt), ",\"latents\":\"", sample.latents(),
                      "\",\"row\":", sample.row(), ",\"image\":\"", sample.image(),
                      "\",\"weight\":", Json(weight),
                      ",\"replay\":", replay == Replay::kYes ? "true" : "false", "}\n");
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
