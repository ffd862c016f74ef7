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

/// How a prompt is prepared before it is cut into words.
enum class TextCleaning {
  kTransformers,  // NFC, white space, lower case: NormalizeClipText
  kOpenClip,      // HTML references and ftfy's repairs as well: NormalizeOpenClipText
};

/// Byte-level BPE of CLIP: the ids that CLIPTokenizer of transformers 5 gives for the same folder, or, with
/// TextCleaning::kOpenClip, those of open_clip's SimpleTokenizer for text in the right encoding. Immutable
/// but for an internal cache of words; thread-safe.
class ClipTokenizer {
 public:
  /// Reads vocab.json and merges.txt of `folder`, or its tokenizer.json, and, where there, the special tokens
  /// of special_tokens_map.json and tokenizer_config.json. "text_cleaning" of the latter, "transformers" or
  /// "open_clip", goes before `cleaning`. An error names the file and the line or token.
  static absl::StatusOr<std::unique_ptr<ClipTokenizer>> Load(
      const std::filesystem::path& folder, TextCleaning cleaning = TextCleaning::kTransformers);
  ~ClipTokenizer();

  /// Token ids of UTF-8 `text`, without start and end tokens. Special tokens spelled out in the text
  /// become their ids. Malformed UTF-8 is read as U+FFFD.
  std::vector<int64_t> Encode(absl::string_view text) const;

  /// Start token, ids of `text` truncated to fit, end token, padding: `length` ids, at least 2.
  PaddedTokens EncodePadded(absl::string_view text, int length = 77) const;

  TextCleaning cleaning() const;
  int64_t bos_id() const;
  int64_t eos_id() const;
  /// As the folder says; 0 with open_clip's cleaning.
  int64_t pad_id() const;
  /// model_max_length of tokenizer_config.json; 77 where that file does not say.
  int model_max_length() const;
  /// Number of entries in vocab.json and added special tokens.
  int64_t vocab_size() const;

 private:
  struct Data;
  explicit ClipTokenizer(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

}  // namespace rsidiff
