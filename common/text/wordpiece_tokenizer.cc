#include "common/text/wordpiece_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/text/added_token.h"
#include "common/text/bert_words.h"
#include "nlohmann/json.hpp"

namespace rsidiff {
namespace {

using TokenIds = absl::flat_hash_map<std::string, int32_t>;

constexpr size_t kMaxWordCharacters = 100;
constexpr absl::string_view kContinuation = "##";
// No WordPiece vocabulary comes near it.
constexpr size_t kMaxTokens = 1 << 24;

absl::StatusOr<TokenIds> ReadVocabulary(const std::filesystem::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  if (lines.size() > kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": more than ", kMaxTokens, " tokens"));
  }
  TokenIds ids;
  ids.reserve(lines.size());
  // Of a token that is there twice the later counts, as in transformers.
  for (size_t i = 0; i < lines.size(); ++i) {
    ids[absl::StripSuffix(lines[i], "\r")] = static_cast<int32_t>(i);
  }
  return ids;
}

absl::StatusOr<BertTextOptions> ReadOptions(const std::filesystem::path& file) {
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (absl::IsNotFound(text.status())) return BertTextOptions();
  if (!text.ok()) return text.status();
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": not a JSON object"));
  BertTextOptions options;
  // strip_accents goes with do_lower_case unless it is given; so that comes first.
  for (const auto& [key, setting] :
       {std::pair("do_lower_case", &options.lower_case), std::pair("strip_accents", &options.strip_accents),
        std::pair("tokenize_chinese_chars", &options.split_ideographs)}) {
    auto value = json.find(key);
    if (value != json.end() && !value->is_null()) {
      if (!value->is_boolean()) {
        return absl::InvalidArgumentError(
            absl::StrCat(file.string(), ": ", key, " is not true or false: ", value->dump()));
      }
      *setting = value->get<bool>();
    }
    if (setting == &options.lower_case) options.strip_accents = options.lower_case;
  }
  return options;
}

}  // namespace

struct WordPieceTokenizer::Data {
  /// The longest token that `word` begins with, from `inside` a word or at its beginning; 0 bytes for none.
  std::pair<size_t, int32_t> LongestPrefix(absl::string_view word, bool inside) const {
    std::string candidate(inside ? kContinuation : "");
    const size_t prefix = candidate.size();
    absl::StrAppend(&candidate, word.substr(0, longest_token));
    for (; candidate.size() > prefix; candidate.pop_back()) {
      auto found = ids.find(candidate);
      if (found != ids.end()) return {candidate.size() - prefix, found->second};
    }
    return {0, 0};
  }

  void AppendWord(absl::string_view word, std::vector<int64_t>& out) const {
    const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
    const size_t characters = word.size() - std::count_if(word.begin(), word.end(), continues);
    const size_t before = out.size();
    bool known = characters <= kMaxWordCharacters;
    for (absl::string_view rest = word; known && !rest.empty();) {
      const auto [length, id] = LongestPrefix(rest, rest.size() < word.size());
      out.push_back(id);
      rest.remove_prefix(length);
      known = length > 0;
    }
    if (known) return;
    out.resize(before);
    out.push_back(unknown);
  }

  BertTextOptions options;
  TokenIds ids;
  std::vector<AddedToken> special;
  FrameTokens frame;
  int32_t unknown = 0;
  int64_t size = 0;
  size_t longest_token = 0;  // bytes
};

WordPieceTokenizer::WordPieceTokenizer(std::unique_ptr<Data> data) : data_(std::move(data)) {}
WordPieceTokenizer::~WordPieceTokenizer() = default;

absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> WordPieceTokenizer::Load(
    const std::filesystem::path& folder, const std::vector<std::string>& added) {
  const std::filesystem::path file = folder / "vocab.txt";
  auto data = std::make_unique<Data>();
  RSIDIFF_ASSIGN_OR_RETURN(data->ids, ReadVocabulary(file));
  RSIDIFF_ASSIGN_OR_RETURN(data->options, ReadOptions(folder / "tokenizer_config.json"));
  for (const auto& [token, id] : data->ids) {
    data->size = std::max<int64_t>(data->size, id + 1);
    data->longest_token = std::max(data->longest_token, token.size());
  }
  for (const std::string& token : added) {
    if (data->ids.try_emplace(token, static_cast<int32_t>(data->size)).second) ++data->size;
  }
  std::vector<std::string> special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  special.insert(special.end(), added.begin(), added.end());
  for (const std::string& token : special) {
    auto found = data->ids.find(token);
    if (found == data->ids.end())
      return absl::InvalidArgumentError(absl::StrCat(file.string(), ": no token ", token));
    data->special.push_back({token, found->second});
  }
  data->frame = {data->ids.at("[CLS]"), data->ids.at("[SEP]"), data->ids.at("[PAD]")};
  data->unknown = data->ids.at("[UNK]");
  return std::unique_ptr<WordPieceTokenizer>(new WordPieceTokenizer(std::move(data)));
}

std::vector<int64_t> WordPieceTokenizer::Encode(absl::string_view text) const {
  std::vector<int64_t> ids;
  for (const TextPiece& piece : CutAtTokens(text, data_->special)) {
    if (piece.token != nullptr) {
      ids.push_back(piece.token->id);
      continue;
    }
    const std::string normalized = NormalizeBertText(piece.text, data_->options);
    for (absl::string_view word : SplitBertWords(normalized)) data_->AppendWord(word, ids);
  }
  return ids;
}

PaddedTokens WordPieceTokenizer::EncodePadded(absl::string_view text, int length) const {
  return PadTokens(Encode(text), data_->frame, length);
}

int64_t WordPieceTokenizer::vocab_size() const {
  return data_->size;
}

}  // namespace rsidiff
