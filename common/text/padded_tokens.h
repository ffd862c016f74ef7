#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rsidiff {

/// A prompt as the text encoder takes it.
struct PaddedTokens {
  std::vector<int64_t> ids;  // exactly the asked length
  size_t used = 0;           // ids before the padding
  bool truncated = false;    // the prompt had more tokens than fit
};

/// The tokens that stand around a text.
struct FrameTokens {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t pad = 0;
};

/// Begin token, `ids` truncated to fit, end token, padding: `length` ids, at least 2.
PaddedTokens PadTokens(const std::vector<int64_t>& ids, const FrameTokens& frame, int length);

}  // namespace rsidiff
