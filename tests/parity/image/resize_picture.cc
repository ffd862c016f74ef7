// resize_picture < lines of "IN.png WIDTH HEIGHT OUT.png": decodes, resizes, encodes.
#include <cstdio>
#include <iostream>
#include <string>

#include "common/base/file.h"
#include "common/image/png.h"
#include "common/image/resize.h"

int main() {
  std::string in, out;
  for (int width, height; std::cin >> in >> width >> height >> out;) {
    auto bytes = rsidiff::ReadFile(in);
    auto image = bytes.ok() ? rsidiff::DecodePng(*bytes) : absl::StatusOr<rsidiff::Image>(bytes.status());
    if (!image.ok()) {
      std::fprintf(stderr, "%s: %s\n", in.c_str(), image.status().ToString().c_str());
      return 1;
    }
    auto encoded = rsidiff::EncodePng(
        rsidiff::ResizeBicubic(*image, width, height),
        {{"source", in}, {"note", "na\xC3\xAFve"}, {"prompt", "\xE7\x8C\xAB \xF0\x9F\x90\x88"}});
    if (!encoded.ok() || !rsidiff::WriteFileAtomically(out, *encoded).ok()) return 1;
  }
  return 0;
}
