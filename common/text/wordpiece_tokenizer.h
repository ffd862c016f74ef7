#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/padded_tokens.h"

namespace rsidiff {

/// WordPiece of BERT (Devlin et al., arXiv 1810.04805): the ids that BertTokenizer of transformers 5 gives
/// for the same folder. Immutable; thread-safe.
class WordPieceTokenizer {
 public:
  /// Reads vocab.txt of `folder` (a token a line) and, where there, do_lower_case, strip_accents and
  /// tokenize_chinese_chars of tokenizer_config.json. `added`: special tokens that get the ids behind the
  /// vocabulary's, in this order, unless it has them. An error names the file and the key or token.
  static absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> Load(const std::filesystem::path& folder,
                                                                  const std::vector<std::string>& added = {});
  ~WordPieceTokenizer();

  /// Token ids of UTF-8 `text`, without [CLS] and [SEP]. Special tokens spelled out in the text become their
  /// ids; a word of more than 100 characters, or one that the vocabulary cannot put together, is [UNK].
  std::vector<int64_t> Encode(absl::string_view text) const;

  /// [CLS], ids of `text` truncated to fit, [SEP], [PAD]: `length` ids, at least 2.
  PaddedTokens EncodePadded(absl::string_view text, int length) const;

  /// 1 + the largest id.
  int64_t vocab_size() const;

 private:
  struct Data;
  explicit WordPieceTokenizer(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

}  // namespace rsidiff
