#include "common/text/clip_tokenizer.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status_macros.h"
#include "common/text/added_token.h"
#include "common/text/clip_vocabulary.h"
#include "common/text/clip_words.h"
#include "common/text/open_clip_words.h"

namespace rsidiff {
namespace {

// The words of prompts repeat; long or rare ones are not worth the memory.
constexpr size_t kMaxCachedWord = 48;
constexpr size_t kMaxCachedWords = 1 << 15;

}  // namespace

struct ClipTokenizer::Data {
  Data(ClipVocabulary files, TextCleaning cleaning)
      : vocabulary(std::move(files)), encoder(vocabulary.bytes, vocabulary.merges), cleaning(cleaning) {
    for (const AddedToken& token : vocabulary.added) {
      if (token.normalized) {
        normalized_tokens.push_back(token);
        normalized_tokens.back().content = NormalizeClipText(token.content);
      } else {
        raw_tokens.push_back(token);
      }
    }
  }

  void AppendWord(absl::string_view word, std::vector<int64_t>& ids) {
    if (word.size() > kMaxCachedWord) return encoder.Append(word, ids);
    absl::MutexLock lock(&mutex);
    auto found = cache.find(word);
    if (found == cache.end()) {
      std::vector<int64_t> fresh;
      encoder.Append(word, fresh);
      if (cache.size() >= kMaxCachedWords) {
        ids.insert(ids.end(), fresh.begin(), fresh.end());
        return;
      }
      found = cache.emplace(std::string(word), std::move(fresh)).first;
    }
    ids.insert(ids.end(), found->second.begin(), found->second.end());
  }

  std::vector<int64_t> EncodeTransformers(absl::string_view text) {
    std::vector<int64_t> ids;
    for (const TextPiece& raw : CutAtTokens(text, raw_tokens)) {
      if (raw.token != nullptr) {
        ids.push_back(raw.token->id);
        continue;
      }
      const std::string normalized = NormalizeClipText(raw.text);
      for (const TextPiece& piece : CutAtTokens(normalized, normalized_tokens)) {
        if (piece.token != nullptr) {
          ids.push_back(piece.token->id);
          continue;
        }
        for (absl::string_view word : SplitClipWords(piece.text)) AppendWord(word, ids);
      }
    }
    return ids;
  }

  std::vector<int64_t> EncodeOpenClip(absl::string_view text) {
    std::vector<int64_t> ids;
    const std::string normalized = NormalizeOpenClipText(text);
    for (absl::string_view word : SplitOpenClipWords(normalized)) {
      if (word == kOpenClipBegin) {
        ids.push_back(vocabulary.bos);
      } else if (word == kOpenClipEnd) {
        ids.push_back(vocabulary.eos);
      } else {
        AppendWord(word, ids);
      }
    }
    return ids;
  }

  ClipVocabulary vocabulary;
  BytePairEncoder encoder;
  TextCleaning cleaning;
  std::vector<AddedToken> raw_tokens;         // looked for in the text as it comes
  std::vector<AddedToken> normalized_tokens;  // looked for in the normalised text, themselves normalised
  absl::Mutex mutex;
  absl::flat_hash_map<std::string, std::vector<int64_t>> cache ABSL_GUARDED_BY(mutex);
};

ClipTokenizer::ClipTokenizer(std::unique_ptr<Data> data) : data_(std::move(data)) {}
ClipTokenizer::~ClipTokenizer() = default;

absl::StatusOr<std::unique_ptr<ClipTokenizer>> ClipTokenizer::Load(const std::filesystem::path& folder,
                                                                   TextCleaning cleaning) {
  RSIDIFF_ASSIGN_OR_RETURN(ClipVocabulary vocabulary, ReadClipVocabulary(folder));
  if (vocabulary.text_cleaning == "open_clip") {
    cleaning = TextCleaning::kOpenClip;
  } else if (vocabulary.text_cleaning == "transformers") {
    cleaning = TextCleaning::kTransformers;
  } else if (!vocabulary.text_cleaning.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        (folder / "tokenizer_config.json").string(),
        ": text_cleaning should be transformers or open_clip, not \"", vocabulary.text_cleaning, "\""));
  }
  return std::unique_ptr<ClipTokenizer>(
      new ClipTokenizer(std::make_unique<Data>(std::move(vocabulary), cleaning)));
}

std::vector<int64_t> ClipTokenizer::Encode(absl::string_view text) const {
  return data_->cleaning == TextCleaning::kOpenClip ? data_->EncodeOpenClip(text)
                                                    : data_->EncodeTransformers(text);
}

PaddedTokens ClipTokenizer::EncodePadded(absl::string_view text, int length) const {
  return PadTokens(Encode(text), {bos_id(), eos_id(), pad_id()}, length);
}

TextCleaning ClipTokenizer::cleaning() const {
  return data_->cleaning;
}
int64_t ClipTokenizer::bos_id() const {
  return data_->vocabulary.bos;
}
int64_t ClipTokenizer::eos_id() const {
  return data_->vocabulary.eos;
}
int64_t ClipTokenizer::pad_id() const {
  return data_->cleaning == TextCleaning::kOpenClip ? 0 : data_->vocabulary.pad;
}
int ClipTokenizer::model_max_length() const {
  return data_->vocabulary.model_max_length;
}
int64_t ClipTokenizer::vocab_size() const {
  return data_->vocabulary.size;
}

}  // namespace rsidiff
