#include "coordinator/schedule/offer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

constexpr int kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 63;

using Labels = google::protobuf::RepeatedPtrField<std::string>;

const Labels& AskedFor(const v1::RunSpec& spec, v1::TaskKind kind) {
  switch (kind) {
    case v1::TASK_KIND_GENERATE:
      return spec.workers().generate_on();
    case v1::TASK_KIND_SCORE:
      return spec.workers().score_on();
    case v1::TASK_KIND_TRAIN:
      return spec.workers().train_on();
    default:
      return v1::WorkerSpec::default_instance().generate_on();
  }
}

bool IsLabel(const std::string& label) {
  return !label.empty() && label.size() <= kMaxLabelBytes &&
         std::all_of(label.begin(), label.end(), [](char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '_' || c == '-';
         });
}

}  // namespace

absl::Status CheckOffer(const v1::Capabilities& offer) {
  if (offer.labels_size() > kMaxLabels) {
    return absl::InvalidArgumentError(
        absl::StrCat("a worker has at most ", kMaxLabels, " labels, not ", offer.labels_size()));
  }
  for (const std::string& label : offer.labels()) {
    if (IsLabel(label)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("a label is 1 to 63 of a-z, 0-9, '.', '_' and '-': \"", label.substr(0, 80), "\""));
  }
  return absl::OkStatus();
}

bool Takes(const v1::Capabilities& offer, const v1::RunSpec& spec, v1::TaskKind kind) {
  const auto& kinds = offer.tasks();
  if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) return false;
  const Labels& asked = AskedFor(spec, kind);
  return std::all_of(asked.begin(), asked.end(), [&offer](const std::string& label) {
    return std::find(offer.labels().begin(), offer.labels().end(), label) != offer.labels().end();
  });
}

std::string NeedText(const v1::RunSpec& spec, v1::TaskKind kind, v1::Purpose purpose) {
  const Labels& asked = AskedFor(spec, kind);
  std::string text = TaskName(kind, purpose);
  if (!asked.empty()) {
    absl::StrAppend(&text, ", with label", asked.size() == 1 ? " " : "s ", absl::StrJoin(asked, ", "));
  }
  return text;
}

}  // namespace rsidiff::coordinator
