#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/image/image.h"

namespace rsidiff {

/// Keyword and UTF-8 value pairs of a PNG's text chunks, in file order. A keyword has 1-79 characters.
using PngText = std::vector<std::pair<std::string, std::string>>;

/// A PNG file of `image` with `text` in it: tEXt where the value is Latin-1, iTXt where it is not.
/// INVALID_ARGUMENT for an empty picture or a bad keyword.
absl::StatusOr<std::string> EncodePng(const Image& image, const PngText& text = {});

/// The libraries whose versions decide the bytes that EncodePng makes: "libpng 1.6.39, zlib 1.2.13".
std::string PngLibraries();

/// The picture in a PNG file of any colour type, as 8-bit RGB: 16 bits are cut to 8, grey and palettes
/// expanded, transparency dropped (as Pillow's convert("RGB") does). Safe on hostile bytes: at most 16,384
/// pixels a side and 64 megapixels. DATA_LOSS for a file that is torn or no PNG.
absl::StatusOr<Image> DecodePng(absl::string_view bytes);

/// The text chunks of a PNG file, those after the pixels included.
absl::StatusOr<PngText> ReadPngText(absl::string_view bytes);

}  // namespace rsidiff
