#pragma once

#include "worker/scorer/clip_definition.h"

namespace rsidiff::worker {

/// What `pickscore` (Kirstain et al. 2023, yuvalkirstain/PickScore) means beside ClipLogitScore's formula:
/// the shape of PickScore_v1, transformers' preprocessing in Pillow's arithmetic and its tokenizer. The
/// softmax of it over the pictures of a prompt is the probability that a person prefers each.
const ClipDefinition& PickScoreDefinition();

}  // namespace rsidiff::worker
