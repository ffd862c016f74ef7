#pragma once

#include "absl/status/statusor.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// The spec of a fork of a run with the spec `parent`: that of the request, or the parent's own, with the
/// request's number of rounds. It may differ from the parent's in what no shared round depends on: name,
/// seed, rounds, selection, stop, train, weights, and of sampling samples_per_prompt, steps and
/// guidance_scale. Where round 1 is shared these stay too: train.method and train.lora, which its checkpoint
/// has the form of; what its reference was fitted with (weights.method, features, and neighbours of knn),
/// where weights need one; and a train.replay of 0, with which the shared rounds' samples were not kept.
/// INVALID_ARGUMENT says which key differs, or that `rounds` leaves nothing to do.
absl::StatusOr<v1::RunSpec> ForkSpec(const v1::RunSpec& parent, const v1::ForkRunRequest& request);

}  // namespace rsidiff::coordinator
