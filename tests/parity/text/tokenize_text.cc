// tokenize_text TOKENIZER_FOLDER < lines of JSON strings > lines of {"raw", "padded", "truncated"}
#include <cstdio>
#include <iostream>
#include <string>

#include "common/text/clip_tokenizer.h"
#include "nlohmann/json.hpp"

int main(int argc, char** argv) {
  auto tokenizer = rsidiff::ClipTokenizer::Load(argc > 1 ? argv[1] : "");
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text = nlohmann::json::parse(line).get<std::string>();
    const rsidiff::PaddedTokens padded = (*tokenizer)->EncodePadded(text, 77);
    const nlohmann::json answer = {
        {"raw", (*tokenizer)->Encode(text)}, {"padded", padded.ids}, {"truncated", padded.truncated}};
    std::cout << answer.dump() << "\n";
  }
  return 0;
}
