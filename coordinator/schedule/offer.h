#pragma once

#include <string>

#include "absl/status/status.h"
#include "rsidiff/v1/round.pb.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// INVALID_ARGUMENT where the labels of a worker are out of form or more than 64.
absl::Status CheckOffer(const v1::Capabilities& offer);

/// True if a worker with that offer may take tasks of `kind` of the run: it takes the kind, and has the
/// labels that the run asks for (WorkerSpec.*_on).
bool Takes(const v1::Capabilities& offer, const v1::RunSpec& spec, v1::TaskKind kind);

/// What a worker needs for tasks of `kind` of the run, in words: "train, with label a100".
std::string NeedText(const v1::RunSpec& spec, v1::TaskKind kind, v1::Purpose purpose);

}  // namespace rsidiff::coordinator
