#pragma once

#include "common/image/image.h"

namespace rsidiff {

/// What Pillow's Image.resize((width, height), Image.BICUBIC) gives, bit for bit: cubic with a = -0.5,
/// support widened when shrinking, weights in 22-bit fixed point, two passes, each
/// rounded to 8 bits, in the order of Pillow 13. `width` and `height` are at least 1, the picture not empty.
Image ResizeBicubic(const Image& image, int width, int height);

}  // namespace rsidiff
