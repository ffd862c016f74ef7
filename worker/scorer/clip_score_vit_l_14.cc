#include "worker/scorer/clip_score_vit_l_14.h"

namespace rsidiff::worker {

const ClipDefinition& ClipScoreVitL14Definition() {
  static const auto* const definition =
      new ClipDefinition{VitL14Config(), ClipPreprocessing(), TextCleaning::kTransformers};
  return *definition;
}

}  // namespace rsidiff::worker
