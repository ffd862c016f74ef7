#pragma once

#include <string>
#include <vector>

#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// A round's tasks:
///
///   (round 1, embedding filter: EMBED[i] --all--> FILTER ->)
///   GENERATE[i] -> SCORE[i] --all--> (round 1, gaussian: MOMENTS[k] --all-->) (round 1: FIT_REFERENCE ->)
///     selection (by the core) -> (gaussian, knn: WEIGHT[j]) -> weights (by the core) -> TRAIN -> checkpoint
///     -> evaluation GENERATE[i] -> SCORE[i] --all--> MEASURE     beside GENERATE of the next round
///
/// Round 0 is the base model: its evaluation only, beside round 1's sampling.

/// Samples that one WEIGHT task takes.
inline constexpr uint32_t kWeightBlock = 4096;

/// Samples that one MOMENTS task takes, in whole chunks.
inline constexpr uint32_t kMomentsBlock = 4096;

/// Prompts that one EMBED task takes.
inline constexpr uint32_t kEmbedBlock = 1024;

/// True when the run file asks for a look at the embeddings of the training prompts.
bool NeedsEmbeddings(const v1::RunSpec& spec);

/// True when the run's weights need the distance to the base model's samples.
bool NeedsReference(const v1::RunSpec& spec);

/// True when that distance is one to a Gaussian, which is fitted to moments of the samples.
bool NeedsMoments(const v1::RunSpec& spec);

/// Chunks whose samples make `samples`: at least one.
uint32_t ChunksOf(const v1::RunSpec& spec, uint32_t samples);

/// Number of MOMENTS tasks of a round of `samples` samples.
uint32_t MomentsTasks(const v1::RunSpec& spec, uint32_t samples);

/// The phase that a round begins with.
v1::RoundPhase FirstPhase(const v1::RunSpec& spec, uint32_t round);

/// The phase that follows `phase` of `round` once all its work is done. DONE follows itself.
v1::RoundPhase NextPhase(const v1::RunSpec& spec, uint32_t round, v1::RoundPhase phase);

/// Place of a phase in the life of a round, in the order above; DONE, FAILED and ABANDONED come last. The
/// numbers of the enum do not tell: they stay as they were stored first.
int PhaseOrder(v1::RoundPhase phase);

/// Names of the scorers that judge samples of `purpose`: the selection scorers, and for an evaluation
/// the held-out ones too. In the order of the run file.
std::vector<std::string> ScorersFor(const v1::RunSpec& spec, v1::Purpose purpose);

/// Name of the scorer whose image embedding is kept for samples of `purpose`: the one that the run file
/// names, else the first CLIP model's. Empty when there is none.
std::string FeatureScorer(const v1::RunSpec& spec, v1::Purpose purpose);

/// Kind and purpose in words: "generate", "evaluation generate", "train".
std::string TaskName(v1::TaskKind kind, v1::Purpose purpose);

}  // namespace rsidiff::coordinator
