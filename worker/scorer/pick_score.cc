#include "worker/scorer/pick_score.h"

namespace rsidiff::worker {

const ClipDefinition& PickScoreDefinition() {
  static const auto* const definition =
      new ClipDefinition{VitH14Config(), ClipPreprocessing(), TextCleaning::kTransformers};
  return *definition;
}

}  // namespace rsidiff::worker
