#pragma once

#include "rsidiff/v1/run.pb.h"

namespace rsidiff {

/// Gives every optional value that is absent the default that run.proto documents; what is set stays.
/// `selection.gate` has no default, and `train.lora` gets its defaults only with `method: lora`.
/// Applying it twice has the effect of applying it once.
void FillDefaults(v1::RunSpec& spec);

/// Whether a scorer has an image embedding of its own, and so can serve as `features`.
bool IsClipType(v1::ScorerType type);

}  // namespace rsidiff
