#include "common/text/padded_tokens.h"

#include <algorithm>

namespace rsidiff {

PaddedTokens PadTokens(const std::vector<int64_t>& ids, const FrameTokens& frame, int length) {
  const size_t room = static_cast<size_t>(std::max(length, 2) - 2);
  const size_t kept = std::min(ids.size(), room);
  PaddedTokens result;
  result.truncated = kept < ids.size();
  result.ids.reserve(room + 2);
  result.ids.push_back(frame.begin);
  result.ids.insert(result.ids.end(), ids.begin(), ids.begin() + kept);
  result.ids.push_back(frame.end);
  result.used = result.ids.size();
  result.ids.resize(room + 2, frame.pad);
  return result;
}

}  // namespace rsidiff
