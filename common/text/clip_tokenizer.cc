#include "common/text/clip_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status_macros.h"
#include "common/text/clip_vocabulary.h"
#include "common/text/clip_words.h"

namespace rsidiff {
namespace {

// The words of prompts repeat; long or rare ones are not worth the memory.
constexpr size_t kMaxCachedWord = 48;
constexpr size_t kMaxCachedWords = 1 << 15;

// A piece of text between special tokens, or a special token.
struct Piece {
  absl::string_view text;
  const AddedToken* token = nullptr;
};

// Cuts `text` at the tokens: leftmost first, the longest of those that start at one place.
std::vector<Piece> CutAtTokens(absl::string_view text, const std::vector<AddedToken>& tokens) {
  std::vector<Piece> pieces;
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

}  // namespace

struct ClipTokenizer::Data {
  explicit Data(ClipVocabulary files)
      : vocabulary(std::move(files)), encoder(vocabulary.bytes, vocabulary.merges) {
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

  ClipVocabulary vocabulary;
  BytePairEncoder encoder;
  std::vector<AddedToken> raw_tokens;         // looked for in the text as it comes
  std::vector<AddedToken> normalized_tokens;  // looked for in the normalised text, themselves normalised
  absl::Mutex mutex;
  absl::flat_hash_map<std::string, std::vector<int64_t>> cache ABSL_GUARDED_BY(mutex);
};

ClipTokenizer::ClipTokenizer(std::unique_ptr<Data> data) : data_(std::move(data)) {}
ClipTokenizer::~ClipTokenizer() = default;

absl::StatusOr<std::unique_ptr<ClipTokenizer>> ClipTokenizer::Load(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(ClipVocabulary vocabulary, ReadClipVocabulary(folder));
  return std::unique_ptr<ClipTokenizer>(new ClipTokenizer(std::make_unique<Data>(std::move(vocabulary))));
}

std::vector<int64_t> ClipTokenizer::Encode(absl::string_view text) const {
  std::vector<int64_t> ids;
  for (const Piece& raw : CutAtTokens(text, data_->raw_tokens)) {
    if (raw.token != nullptr) {
      ids.push_back(raw.token->id);
      continue;
    }
    const std::string normalized = NormalizeClipText(raw.text);
    for (const Piece& piece : CutAtTokens(normalized, data_->normalized_tokens)) {
      if (piece.token != nullptr) {
        ids.push_back(piece.token->id);
        continue;
      }
      for (absl::string_view word : SplitClipWords(piece.text)) data_->AppendWord(word, ids);
    }
  }
  return ids;
}

PaddedTokens ClipTokenizer::EncodePadded(absl::string_view text, int length) const {
  PaddedTokens result;
  const std::vector<int64_t> ids = Encode(text);
  const size_t room = static_cast<size_t>(std::max(length, 2) - 2);
  const size_t kept = std::min(ids.size(), room);
  result.truncated = kept < ids.size();
  result.ids.reserve(room + 2);
  result.ids.push_back(bos_id());
  result.ids.insert(result.ids.end(), ids.begin(), ids.begin() + kept);
  result.ids.push_back(eos_id());
  result.ids.resize(room + 2, pad_id());
  return result;
}

int64_t ClipTokenizer::bos_id() const {
  return data_->vocabulary.bos;
}
int64_t ClipTokenizer::eos_id() const {
  return data_->vocabulary.eos;
}
int64_t ClipTokenizer::pad_id() const {
  return data_->vocabulary.pad;
}
int ClipTokenizer::model_max_length() const {
  return data_->vocabulary.model_max_length;
}
int64_t ClipTokenizer::vocab_size() const {
  return data_->vocabulary.size;
}

}  // namespace rsidiff
