#include "common/text/clip_vocabulary.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace rsidiff {
namespace {

using nlohmann::json;
using TokenIds = absl::flat_hash_map<std::string, int32_t>;

constexpr char kWordEnd[] = "</w>";
constexpr char kDefaultEnd[] = "<|endoftext|>";
// No CLIP vocabulary comes near it; keeps ids far from overflow.
constexpr int64_t kMaxId = 1 << 24;

absl::StatusOr<json> ReadJsonObject(const std::filesystem::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  try {
    json value = json::parse(text);
    if (!value.is_object())
      return absl::InvalidArgumentError(absl::StrCat(file.string(), ": not a JSON object"));
    return value;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": ", error.what()));
  }
}

// As ReadJsonObject, but an empty object where there is no file.
absl::StatusOr<json> ReadOptionalJsonObject(const std::filesystem::path& file) {
  absl::StatusOr<json> value = ReadJsonObject(file);
  if (absl::IsNotFound(value.status())) return json::object();
  return value;
}

absl::StatusOr<TokenIds> ReadTokenIds(const json& object, const std::string& file) {
  if (!object.is_object())
    return absl::InvalidArgumentError(absl::StrCat(file, ": the vocabulary is no object"));
  TokenIds ids;
  ids.reserve(object.size());
  for (const auto& [token, id] : object.items()) {
    if (!id.is_number_integer() || id.is_number_float() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() > kMaxId) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": the id of token ", json(token).dump(),
                                                     " is not an integer from 0 to ", kMaxId, ": ",
                                                     id.dump()));
    }
    ids[token] = static_cast<int32_t>(id.get<int64_t>());
  }
  return ids;
}

absl::StatusOr<int32_t> LookUp(const TokenIds& ids, const std::string& token, absl::string_view place) {
  auto found = ids.find(token);
  if (found != ids.end()) return found->second;
  return absl::InvalidArgumentError(absl::StrCat(place, ": the vocabulary has no token \"", token, "\""));
}

absl::StatusOr<BpeMerge> ReadMerge(const std::vector<std::string>& parts, const TokenIds& ids,
                                   const std::string& place) {
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": not two tokens with a space between"));
  }
  BpeMerge merge;
  RSIDIFF_ASSIGN_OR_RETURN(merge.left, LookUp(ids, parts[0], place));
  RSIDIFF_ASSIGN_OR_RETURN(merge.right, LookUp(ids, parts[1], place));
  RSIDIFF_ASSIGN_OR_RETURN(merge.merged, LookUp(ids, absl::StrCat(parts[0], parts[1]), place));
  return merge;
}

// Lines of merges.txt.
absl::StatusOr<std::vector<BpeMerge>> ReadMergeLines(const std::filesystem::path& file, const TokenIds& ids) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  std::vector<BpeMerge> merges;
  merges.reserve(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::string_view line = lines[i];
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (absl::StartsWith(line, "#version")) continue;
    RSIDIFF_ASSIGN_OR_RETURN(
        BpeMerge merge, ReadMerge(absl::StrSplit(line, ' '), ids, absl::StrCat(file.string(), ":", i + 1)));
    merges.push_back(merge);
  }
  return merges;
}

// "merges" of tokenizer.json: strings as in merges.txt, or pairs.
absl::StatusOr<std::vector<BpeMerge>> ReadMergeList(const json& list, const TokenIds& ids,
                                                    const std::string& file) {
  std::vector<BpeMerge> merges;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = absl::StrCat(file, ": merges[", i, "]");
    std::vector<std::string> parts;
    if (list[i].is_string()) {
      parts = absl::StrSplit(list[i].get<std::string>(), ' ');
    } else if (list[i].is_array()) {
      for (const json& part : list[i]) parts.push_back(part.is_string() ? part.get<std::string>() : "");
    }
    RSIDIFF_ASSIGN_OR_RETURN(BpeMerge merge, ReadMerge(parts, ids, place));
    merges.push_back(merge);
  }
  return merges;
}

// The vocabulary, its merges, and added_tokens of tokenizer.json as an added_tokens_decoder.
struct Model {
  TokenIds ids;
  std::vector<BpeMerge> merges;
  json added_tokens;
};

// transformers 5 writes tokenizer.json only, earlier versions vocab.json and merges.txt too.
absl::StatusOr<Model> ReadModel(const std::filesystem::path& folder) {
  Model model;
  const std::filesystem::path whole = folder / "tokenizer.json";
  if (std::filesystem::exists(folder / "vocab.json") || !std::filesystem::exists(whole)) {
    RSIDIFF_ASSIGN_OR_RETURN(const json object, ReadJsonObject(folder / "vocab.json"));
    RSIDIFF_ASSIGN_OR_RETURN(model.ids, ReadTokenIds(object, (folder / "vocab.json").string()));
    RSIDIFF_ASSIGN_OR_RETURN(model.merges, ReadMergeLines(folder / "merges.txt", model.ids));
    return model;
  }
  RSIDIFF_ASSIGN_OR_RETURN(const json object, ReadJsonObject(whole));
  const json bpe = object.value("model", json::object());
  if (!bpe.is_object() || bpe.value("type", json()) != json("BPE") ||
      !bpe.value("merges", json()).is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(whole.string(), ": model is no BPE with merges"));
  }
  RSIDIFF_ASSIGN_OR_RETURN(model.ids, ReadTokenIds(bpe.value("vocab", json()), whole.string()));
  RSIDIFF_ASSIGN_OR_RETURN(model.merges, ReadMergeList(bpe["merges"], model.ids, whole.string()));
  model.added_tokens = json::object();
  for (const json& token : object.value("added_tokens", json::array())) {
    if (!token.is_object() || !token.value("id", json()).is_number_integer()) {
      return absl::InvalidArgumentError(
          absl::StrCat(whole.string(), ": added_tokens: not a token with an id"));
    }
    model.added_tokens[token["id"].dump()] = token;
  }
  return model;
}

// A special token as a file spells it: a string, or an object with flags.
struct TokenSpelling {
  std::string content;
  bool normalized = false;
};

absl::StatusOr<TokenSpelling> ParseSpelling(const json& value, absl::string_view place) {
  if (value.is_string()) return TokenSpelling{value.get<std::string>(), false};
  if (!value.is_object() || !value.contains("content") || !value["content"].is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": not a token"));
  }
  for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
    if (value.contains(flag) && value[flag] != json(false)) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": ", flag, " is not supported: ", value[flag].dump()));
    }
  }
  TokenSpelling spelling{value["content"].get<std::string>(), false};
  // AddedToken(special=True) defaults to not normalised.
  if (value.contains("normalized")) spelling.normalized = value["normalized"] == json(true);
  return spelling;
}

// The files' special tokens: the named ones (bos_token ...) and further ones, in the order that counts.
struct SpecialTokens {
  std::map<std::string, TokenSpelling> named;
  std::vector<std::pair<TokenSpelling, std::optional<int32_t>>> listed;  // with the id where given
};

constexpr std::array<const char*, 7> kTokenNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                    "pad_token", "cls_token", "mask_token"};

absl::Status ReadNamed(const json& object, const std::string& file, SpecialTokens& tokens) {
  for (const char* name : kTokenNames) {
    if (!object.contains(name) || object[name].is_null()) continue;
    RSIDIFF_ASSIGN_OR_RETURN(tokens.named[name], ParseSpelling(object[name], absl::StrCat(file, ": ", name)));
  }
  for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
    if (!object.contains(name) || object[name].empty()) continue;
    if (!object[name].is_array()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": ", name, ": not a list of tokens"));
    }
    for (const json& value : object[name]) {
      RSIDIFF_ASSIGN_OR_RETURN(TokenSpelling spelling, ParseSpelling(value, absl::StrCat(file, ": ", name)));
      tokens.listed.push_back({spelling, std::nullopt});
    }
  }
  return absl::OkStatus();
}

absl::Status ReadDecoder(const json& decoder, const std::string& file, SpecialTokens& tokens) {
  if (!decoder.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": added_tokens_decoder: not an object"));
  }
  std::map<int64_t, TokenSpelling> by_id;
  for (const auto& [key, value] : decoder.items()) {
    const std::string place = absl::StrCat(file, ": added_tokens_decoder: ", json(key).dump());
    int64_t id;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id > kMaxId) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": not a token id"));
    }
    RSIDIFF_ASSIGN_OR_RETURN(by_id[id], ParseSpelling(value, place));
  }
  for (const auto& [id, spelling] : by_id) {
    tokens.listed.push_back({spelling, static_cast<int32_t>(id)});
    for (auto& [name, named] : tokens.named) {
      if (named.content == spelling.content) named.normalized = spelling.normalized;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SpecialTokens> ReadSpecialTokens(const std::filesystem::path& folder, const json& config,
                                                const Model& model) {
  const std::string config_file = (folder / "tokenizer_config.json").string();
  SpecialTokens tokens;
  RSIDIFF_RETURN_IF_ERROR(ReadNamed(config, config_file, tokens));
  if (config.contains("added_tokens_decoder")) {
    RSIDIFF_RETURN_IF_ERROR(ReadDecoder(config["added_tokens_decoder"], config_file, tokens));
  } else {
    RSIDIFF_ASSIGN_OR_RETURN(const json map, ReadOptionalJsonObject(folder / "special_tokens_map.json"));
    RSIDIFF_RETURN_IF_ERROR(ReadNamed(map, (folder / "special_tokens_map.json").string(), tokens));
    if (model.added_tokens.is_object()) {
      RSIDIFF_RETURN_IF_ERROR(ReadDecoder(model.added_tokens, (folder / "tokenizer.json").string(), tokens));
    }
  }
  // CLIPTokenizer's own.
  tokens.named.try_emplace("bos_token", TokenSpelling{"<|startoftext|>", false});
  for (const char* name : {"eos_token", "unk_token", "pad_token"}) {
    tokens.named.try_emplace(name, TokenSpelling{kDefaultEnd, false});
  }
  return tokens;
}

// Adds the special tokens to `vocabulary`; those that vocab.json lacks get ids behind it, as in transformers.
absl::Status AddSpecialTokens(const SpecialTokens& tokens, TokenIds& ids, const std::string& folder,
                              ClipVocabulary& vocabulary) {
  auto add = [&](const TokenSpelling& spelling, std::optional<int32_t> id) -> absl::Status {
    if (spelling.content.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": a special token is empty"));
    }
    auto [entry, inserted] = ids.try_emplace(spelling.content, static_cast<int32_t>(vocabulary.size));
    if (id.has_value() && *id != entry->second) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": tokenizer_config.json gives token \"",
                                                     spelling.content, "\" the id ", *id,
                                                     ", vocab.json implies ", entry->second));
    }
    if (inserted) ++vocabulary.size;
    // Of several spellings of one token the last counts.
    auto same = std::find_if(vocabulary.added.begin(), vocabulary.added.end(),
                             [&](const AddedToken& token) { return token.content == spelling.content; });
    if (same == vocabulary.added.end()) same = vocabulary.added.insert(same, AddedToken{});
    *same = AddedToken{spelling.content, entry->second, spelling.normalized};
    return absl::OkStatus();
  };
  for (const auto& [spelling, id] : tokens.listed) {
    if (id.has_value()) RSIDIFF_RETURN_IF_ERROR(add(spelling, id));
  }
  for (const char* name : kTokenNames) {
    auto found = tokens.named.find(name);
    if (found != tokens.named.end()) RSIDIFF_RETURN_IF_ERROR(add(found->second, std::nullopt));
  }
  for (const auto& [spelling, id] : tokens.listed) {
    if (!id.has_value()) RSIDIFF_RETURN_IF_ERROR(add(spelling, std::nullopt));
  }
  return absl::OkStatus();
}

void FillByteTokens(const TokenIds& ids, int32_t unknown, BytePairEncoder::ByteTokens& bytes) {
  auto id_of = [&](const std::string& token) {
    auto found = ids.find(token);
    return found == ids.end() ? unknown : found->second;
  };
  for (int byte = 0; byte < 256; ++byte) {
    const std::string symbol = ByteSymbol(static_cast<uint8_t>(byte));
    bytes.inner[byte] = id_of(symbol);
    bytes.last[byte] = id_of(absl::StrCat(symbol, kWordEnd));
  }
}

}  // namespace

absl::StatusOr<ClipVocabulary> ReadClipVocabulary(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / "added_tokens.json")) {
    return absl::UnimplementedError(
        absl::StrCat((folder / "added_tokens.json").string(), ": added tokens are not supported"));
  }
  RSIDIFF_ASSIGN_OR_RETURN(Model model, ReadModel(folder));
  TokenIds& ids = model.ids;
  RSIDIFF_ASSIGN_OR_RETURN(const json config, ReadOptionalJsonObject(folder / "tokenizer_config.json"));
  RSIDIFF_ASSIGN_OR_RETURN(const SpecialTokens tokens, ReadSpecialTokens(folder, config, model));
  ClipVocabulary vocabulary;
  for (const auto& [token, id] : ids) vocabulary.size = std::max<int64_t>(vocabulary.size, id + 1);
  vocabulary.merges = std::move(model.merges);
  RSIDIFF_ASSIGN_OR_RETURN(const int32_t unknown,
                           LookUp(ids, tokens.named.at("unk_token").content, folder.string()));
  FillByteTokens(ids, unknown, vocabulary.bytes);
  RSIDIFF_RETURN_IF_ERROR(AddSpecialTokens(tokens, ids, folder.string(), vocabulary));
  vocabulary.bos = ids.at(tokens.named.at("bos_token").content);
  vocabulary.eos = ids.at(tokens.named.at("eos_token").content);
  vocabulary.pad = ids.at(tokens.named.at("pad_token").content);
  if (auto length = config.find("model_max_length"); length != config.end() && length->is_number()) {
    // transformers writes 1e30 for "no limit".
    const double value = length->get<double>();
    if (value >= 2 && value <= std::numeric_limits<int>::max())
      vocabulary.model_max_length = static_cast<int>(value);
  }
  if (auto cleaning = config.find("text_cleaning"); cleaning != config.end()) {
    if (!cleaning->is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat((folder / "tokenizer_config.json").string(), ": text_cleaning is not a text"));
    }
    vocabulary.text_cleaning = cleaning->get<std::string>();
  }
  return vocabulary;
}

}  // namespace rsidiff
