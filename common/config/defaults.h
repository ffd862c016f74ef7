#pragma once

#include "rsidiff/v1/run.pb.h"

namespace rsidiff {

/// Gives every optional value that is absent the default that run.proto documents; what is set stays.
/// `selection.gate` has no default, and `train.lora` gets its defaults only with `method: lora`.
/// Applying it twice has the effect of applying it once.
void FillDefaults(v1::RunSpec& spec);

}  // namespace rsidiff
