#pragma once

#include "worker/scorer/clip_definition.h"

namespace rsidiff::worker {

/// What `clipscore-vit-l-14-cos` means beside ClipScore's formula, and whose image embedding `aesthetic-v2`
/// reads: OpenAI's ViT-L/14 with transformers' preprocessing in Pillow's arithmetic and its tokenizer.
const ClipDefinition& ClipScoreVitL14Definition();

}  // namespace rsidiff::worker
