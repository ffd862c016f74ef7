#include "common/text/byte_pair_encoder.h"

#include <queue>
#include <tuple>

namespace rsidiff {
namespace {

// A token of the word under way, linked to its neighbours; -1 is none. A merged-away symbol has token -1.
struct Symbol {
  int32_t token;
  int32_t previous;
  int32_t next;
};

// A merge that was possible when it was queued. Ordered so that the queue's top is the lowest rank, then the
// leftmost.
struct Candidate {
  int32_t rank;
  int32_t position;
  int32_t left, right, merged;
  bool operator<(const Candidate& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);
  }
};

}  // namespace

std::string ByteSymbol(uint8_t byte) {
  // Bytes that are printable Latin-1 characters stand for themselves, the others for U+0100 onwards.
  auto printable = [](int b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
  int code_point = byte;
  if (!printable(byte)) {
    code_point = 0x100;
    for (int b = 0; b < byte; ++b) code_point += printable(b) ? 0 : 1;
  }
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3F))};
}

BytePairEncoder::BytePairEncoder(const ByteTokens& bytes, const std::vector<BpeMerge>& merges)
    : bytes_(bytes) {
  rules_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    rules_[{merges[rank].left, merges[rank].right}] = Rule{static_cast<int32_t>(rank), merges[rank].merged};
  }
}

const BytePairEncoder::Rule* BytePairEncoder::Find(int32_t left, int32_t right) const {
  auto found = rules_.find({left, right});
  return found == rules_.end() ? nullptr : &found->second;
}

void BytePairEncoder::Append(absl::string_view word, std::vector<int64_t>& ids) const {
  const int32_t length = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  for (int32_t i = 0; i < length; ++i) {
    const uint8_t byte = static_cast<uint8_t>(word[i]);
    symbols[i] = {i + 1 == length ? bytes_.last[byte] : bytes_.inner[byte], i - 1,
                  i + 1 == length ? -1 : i + 1};
  }
  std::priority_queue<Candidate> queue;
  auto consider = [&](int32_t position) {
    if (position < 0 || symbols[position].next < 0) return;
    const int32_t left = symbols[position].token, right = symbols[symbols[position].next].token;
    if (const Rule* rule = Find(left, right)) queue.push({rule->rank, position, left, right, rule->merged});
  };
  for (int32_t i = 0; i < length; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    // A neighbour may have been merged since this was queued.
    if (left.token != best.left || left.next < 0 || symbols[left.next].token != best.right) continue;
    Symbol& right = symbols[left.next];
    left.token = best.merged;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    consider(left.previous);
    consider(best.position);
  }
  for (int32_t i = 0; i >= 0 && i < length; i = symbols[i].next) ids.push_back(symbols[i].token);
}

}  // namespace rsidiff
