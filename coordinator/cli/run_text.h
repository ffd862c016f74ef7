#pragma once

#include <string>

#include "absl/time/time.h"
#include "coordinator/cli/table.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// Enum values as people read them: "active", "sample".
std::string StateName(v1::RunState state);
std::string PhaseName(v1::RoundPhase phase);
std::string WorkerStateName(v1::WorkerState state);

/// "1:02:03", "4:05"; "-" for an infinite or negative duration.
std::string DurationText(absl::Duration duration);

/// "2026-11-23 18:00:00" in UTC; "-" for 0.
std::string TimeText(int64_t microseconds);

/// With `digits` after the point; "-" for what is not finite.
std::string NumberText(double value, int digits);

/// "1.5 GiB"
std::string BytesText(double bytes);

bool HasEnded(v1::RunState state);

/// The table round x metric: phase, samples kept, effective sample size, loss, each scorer's evaluation
/// mean (held-out ones marked `*`), diversity, Fréchet distance; the best round is marked and green.
Table RoundTable(const v1::RunStatus& status);

/// What the look at the training prompts' embeddings found, in a sentence.
std::string EmbeddingFilterText(const v1::EmbeddingFilterSummary& found);

/// Sentences on what is wrong with a run that goes on: its warnings, and which round collapsed.
std::vector<std::string> WarningsOf(const v1::RunRecord& run);

/// What the marks in RoundTable mean, the run's warnings and its reason.
std::string RoundTableLegend(const v1::RunStatus& status);

}  // namespace rsidiff::coordinator
