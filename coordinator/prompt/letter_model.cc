#include "coordinator/prompt/letter_model.h"

#include <cstddef>
#include <cstdint>

namespace rsidiff::coordinator {
namespace {

constexpr size_t kSymbols = 27;  // 0 is the beginning; as the last letter of three, the end
constexpr uint8_t kSixteenthsOfABit[kSymbols * kSymbols * kSymbols] = {
#include "coordinator/prompt/letter_model.inc"
};

}  // namespace

double LetterBits(absl::string_view word) {
  size_t before = 0;
  size_t last = 0;
  uint64_t cost = 0;
  for (const char letter : word) {
    const size_t symbol = static_cast<size_t>(letter - 'a') + 1;
    cost += kSixteenthsOfABit[(before * kSymbols + last) * kSymbols + symbol - 1];
    before = last;
    last = symbol;
  }
  cost += kSixteenthsOfABit[(before * kSymbols + last) * kSymbols + kSymbols - 1];
  return static_cast<double>(cost) / 16 / static_cast<double>(word.size() + 1);
}

}  // namespace rsidiff::coordinator
