// tokenize_text clip|open_clip|wordpiece FOLDER < lines of JSON strings > lines of {"raw", "padded", "used",
// "truncated"}
// tokenize_text repair < lines of JSON strings > lines of JSON strings
#include <cstdio>
#include <iostream>
#include <string>

#include "common/base/status_macros.h"
#include "common/text/clip_tokenizer.h"
#include "common/text/text_repair.h"
#include "common/text/wordpiece_tokenizer.h"
#include "nlohmann/json.hpp"

namespace rsidiff {
namespace {

template <typename Tokenizer>
void TokenizeLines(const Tokenizer& tokenizer, int length) {
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text = nlohmann::json::parse(line).get<std::string>();
    const PaddedTokens padded = tokenizer.EncodePadded(text, length);
    const nlohmann::json answer = {{"raw", tokenizer.Encode(text)},
                                   {"padded", padded.ids},
                                   {"used", padded.used},
                                   {"truncated", padded.truncated}};
    std::cout << answer.dump() << "\n";
  }
}

absl::Status Run(const std::string& kind, const std::string& folder) {
  if (kind == "wordpiece") {
    RSIDIFF_ASSIGN_OR_RETURN(const auto tokenizer, WordPieceTokenizer::Load(folder, {"[DEC]", "[ENC]"}));
    TokenizeLines(*tokenizer, 35);
    return absl::OkStatus();
  }
  if (kind == "repair") {
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << nlohmann::json(RepairText(nlohmann::json::parse(line).get<std::string>())).dump() << "\n";
    }
    return absl::OkStatus();
  }
  const TextCleaning cleaning = kind == "open_clip" ? TextCleaning::kOpenClip : TextCleaning::kTransformers;
  RSIDIFF_ASSIGN_OR_RETURN(const auto tokenizer, ClipTokenizer::Load(folder, cleaning));
  TokenizeLines(*tokenizer, 77);
  return absl::OkStatus();
}

}  // namespace
}  // namespace rsidiff

int main(int argc, char** argv) {
  const absl::Status status = rsidiff::Run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
