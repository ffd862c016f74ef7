#pragma once

#include <cstdint>

#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// A result that a worker could give for `payload`: a function of the payload alone, so that whoever
/// computes it, however often, answers with the same bytes.
v1::TaskResult FakeResult(const v1::TaskPayload& payload);

/// A small run: 4 training prompts, 2 of them a round, K = 3, chunks of 2; 2 evaluation prompts; selection
/// scorers "a" and "b" and the held-out one "h"; gaussian weights; `rounds` rounds of 10 steps.
v1::SubmitRunRequest SmallRun(const std::string& request_id, uint32_t rounds);

/// Training samples that SmallRun draws a round, and evaluation samples.
inline constexpr uint32_t kSmallRunTrainingSamples = 6;
inline constexpr uint32_t kSmallRunEvaluationSamples = 2;

}  // namespace rsidiff::coordinator
