#include "worker/scorer/hps_v2.h"

namespace rsidiff::worker {

const ClipDefinition& HpsV2Definition() {
  static const auto* const definition = [] {
    auto* made = new ClipDefinition;
    made->model = VitH14Config();
    made->preprocessing.arithmetic = ResizeArithmetic::kFloatAntialias;
    made->preprocessing.crop_rounding = CropRounding::kToEven;
    made->cleaning = TextCleaning::kOpenClip;
    return made;
  }();
  return *definition;
}

}  // namespace rsidiff::worker
