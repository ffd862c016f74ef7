#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "coordinator/schedule/selection.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// Samples that a row of table judgements is about; those of block b have the indices from b times this on.
inline constexpr uint32_t kJudgementBlock = 1024;

/// Of `judgements`, those in row `block`: fewer than kJudgementBlock at the end of the round, or while its
/// selection is under way.
absl::Span<const Judgement> BlockOf(absl::Span<const Judgement> judgements, uint32_t block);

v1::JudgementBlock ToBlock(absl::Span<const Judgement> judgements);

/// INVALID_ARGUMENT: the lists differ in length, are empty or longer than a block, or a number is not finite.
absl::StatusOr<std::vector<Judgement>> FromBlock(const v1::JudgementBlock& block);

/// Of a row's value; INVALID_ARGUMENT also when it is no JudgementBlock.
absl::StatusOr<std::vector<Judgement>> ParseBlock(const std::string& value);

}  // namespace rsidiff::coordinator
