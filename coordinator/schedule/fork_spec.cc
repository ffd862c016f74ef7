#include "coordinator/schedule/fork_spec.h"

#include <google/protobuf/util/message_differencer.h>

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

// Leaves of the weights what the reference depends on.
void LeaveReference(v1::WeightSpec& weights) {
  v1::WeightSpec reference;
  reference.set_method(weights.method());
  reference.set_features(weights.features());
  if (weights.method() == v1::WEIGHT_METHOD_KNN) reference.set_neighbours(weights.neighbours());
  weights = std::move(reference);
}

// Leaves of the training what the form of a checkpoint depends on.
void LeaveCheckpointForm(v1::TrainSpec& train) {
  v1::TrainSpec form;
  form.set_method(train.method());
  if (train.has_lora()) *form.mutable_lora() = train.lora();
  train = std::move(form);
}

// What a fork may change is cleared: the rest has to be equal.
void ClearChangeable(bool shares_round_1, bool needs_reference, v1::RunSpec& spec) {
  spec.clear_name();
  spec.clear_seed();
  spec.clear_rounds();
  spec.clear_selection();
  spec.clear_stop();
  spec.mutable_sampling()->clear_samples_per_prompt();
  spec.mutable_sampling()->clear_steps();
  spec.mutable_sampling()->clear_guidance_scale();
  if (shares_round_1) {
    LeaveCheckpointForm(*spec.mutable_train());
  } else {
    spec.clear_train();
  }
  if (shares_round_1 && needs_reference) {
    LeaveReference(*spec.mutable_weights());
  } else {
    spec.clear_weights();
  }
}

absl::Status CheckForkSpec(v1::RunSpec parent, v1::RunSpec fork, uint32_t from_round) {
  const bool shares_round_1 = from_round > 0;
  if (shares_round_1 && fork.train().replay() > 0 && parent.train().replay() <= 0) {
    return absl::InvalidArgumentError(
        "train.replay needs the samples of the shared rounds, which a run without it does not keep; "
        "fork from round 0");
  }
  const bool needs_reference = NeedsReference(fork);
  ClearChangeable(shares_round_1, needs_reference, parent);
  ClearChangeable(shares_round_1, needs_reference, fork);
  google::protobuf::util::MessageDifferencer differencer;
  // A spec that an earlier version stored lacks the keys that came later: off, by default.
  differencer.set_message_field_comparison(google::protobuf::util::MessageDifferencer::EQUIVALENT);
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(parent, fork)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a fork from round ", from_round, " cannot change what the rounds that it shares were made with: ",
      absl::StripAsciiWhitespace(differences)));
}

}  // namespace

absl::StatusOr<v1::RunSpec> ForkSpec(const v1::RunSpec& parent, const v1::ForkRunRequest& request) {
  v1::RunSpec spec = request.has_spec() ? request.spec() : parent;
  RSIDIFF_RETURN_IF_ERROR(CheckForkSpec(parent, spec, request.from_round()));
  if (request.rounds() > 0) spec.set_rounds(request.rounds());
  if (spec.rounds() > request.from_round()) return spec;
  return absl::InvalidArgumentError(absl::StrCat("rounds has to be greater than from_round, which is ",
                                                 request.from_round(), ": ", spec.rounds()));
}

}  // namespace rsidiff::coordinator
