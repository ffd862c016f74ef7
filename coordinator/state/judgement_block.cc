#include "coordinator/state/judgement_block.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

namespace rsidiff::coordinator {

absl::Span<const Judgement> BlockOf(absl::Span<const Judgement> judgements, uint32_t block) {
  const size_t begin = size_t{block} * kJudgementBlock;
  return begin < judgements.size() ? judgements.subspan(begin, kJudgementBlock)
                                   : absl::Span<const Judgement>();
}

v1::JudgementBlock ToBlock(absl::Span<const Judgement> judgements) {
  v1::JudgementBlock block;
  const int count = static_cast<int>(judgements.size());
  block.mutable_reward()->Reserve(count);
  block.mutable_rank()->Reserve(count);
  block.mutable_selected()->Reserve(count);
  block.mutable_distance()->Reserve(count);
  block.mutable_weight()->Reserve(count);
  for (const Judgement& judgement : judgements) {
    block.add_reward(judgement.reward);
    block.add_rank(judgement.rank);
    block.add_selected(judgement.selected);
    block.add_distance(judgement.distance.value_or(std::numeric_limits<double>::quiet_NaN()));
    block.add_weight(judgement.weight);
  }
  return block;
}

absl::StatusOr<std::vector<Judgement>> FromBlock(const v1::JudgementBlock& block) {
  const int count = block.reward_size();
  if (block.rank_size() != count || block.selected_size() != count || block.distance_size() != count ||
      block.weight_size() != count) {
    return absl::InvalidArgumentError("lists of different lengths");
  }
  if (count == 0 || count > static_cast<int>(kJudgementBlock)) {
    return absl::InvalidArgumentError(absl::StrCat(count, " samples; a block has 1 to ", kJudgementBlock));
  }
  std::vector<Judgement> judgements(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    if (!std::isfinite(block.reward(i)) || !std::isfinite(block.weight(i)) || std::isinf(block.distance(i))) {
      return absl::InvalidArgumentError(
          absl::StrCat("reward, distance or weight of entry ", i, " is not finite"));
    }
    Judgement& judgement = judgements[static_cast<size_t>(i)];
    judgement.reward = block.reward(i);
    judgement.rank = block.rank(i);
    judgement.selected = block.selected(i);
    if (!std::isnan(block.distance(i))) judgement.distance = block.distance(i);
    judgement.weight = block.weight(i);
  }
  return judgements;
}

absl::StatusOr<std::vector<Judgement>> ParseBlock(const std::string& value) {
  v1::JudgementBlock block;
  if (block.ParseFromString(value)) return FromBlock(block);
  return absl::InvalidArgumentError(absl::StrCat("value is not a ", block.GetTypeName()));
}

}  // namespace rsidiff::coordinator
