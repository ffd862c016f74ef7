#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/text/added_token.h"
#include "common/text/byte_pair_encoder.h"

namespace rsidiff {

/// What the files of a CLIP tokenizer folder say.
struct ClipVocabulary {
  BytePairEncoder::ByteTokens bytes;
  std::vector<BpeMerge> merges;
  std::vector<AddedToken> added;  // contents are distinct and not empty
  int32_t bos = 0, eos = 0, pad = 0;
  int64_t size = 0;  // 1 + the largest id
  int model_max_length = 77;
  /// "text_cleaning" of tokenizer_config.json, a key of ours; empty where it is not there.
  std::string text_cleaning;
};

/// Reads vocab.json and merges.txt, or where the former is missing tokenizer.json, and, where there,
/// tokenizer_config.json and special_tokens_map.json, with the precedence that transformers 5 gives them:
/// added_tokens_decoder in the former makes it skip the latter, else the latter wins. INVALID_ARGUMENT names
/// the file, and the line or token.
absl::StatusOr<ClipVocabulary> ReadClipVocabulary(const std::filesystem::path& folder);

}  // namespace rsidiff
