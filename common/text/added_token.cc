#include "common/text/added_token.h"

#include "absl/strings/match.h"

namespace rsidiff {

std::vector<TextPiece> CutAtTokens(absl::string_view text, const std::vector<AddedToken>& tokens) {
  std::vector<TextPiece> pieces;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const AddedToken* longest = nullptr;
    for (const AddedToken& token : tokens) {
      if (token.content[0] == text[i] && absl::StartsWith(text.substr(i), token.content) &&
          (longest == nullptr || token.content.size() > longest->content.size())) {
        longest = &token;
      }
    }
    if (longest == nullptr) {
      ++i;
      continue;
    }
    if (i > begin) pieces.push_back({text.substr(begin, i - begin)});
    pieces.push_back({text.substr(i, longest->content.size()), longest});
    i += longest->content.size();
    begin = i;
  }
  if (begin < text.size()) pieces.push_back({text.substr(begin)});
  return pieces;
}

}  // namespace rsidiff
