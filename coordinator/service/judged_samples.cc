#include "coordinator/service/judged_samples.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/state/judgement_block.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {

JudgedSamples::JudgedSamples(const Database* database, const v1::RunRecord& run, uint32_t round,
                             v1::Purpose purpose)
    : database_(database),
      spec_(run.spec()),
      statistics_(run.statistics().begin(), run.statistics().end()),
      run_id_(run.id()),
      round_(round),
      purpose_(purpose) {}

absl::StatusOr<std::vector<v1::SampleRecord>> JudgedSamples::Read(uint32_t start, uint32_t limit) {
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<v1::SampleRecord> samples,
                           database_->ReadSamples(run_id_, round_, purpose_, start, limit));
  if (purpose_ == v1::PURPOSE_EVALUATION) return samples;
  for (v1::SampleRecord& sample : samples) {
    RSIDIFF_RETURN_IF_ERROR(ReadBlock(sample.index() / kJudgementBlock));
    const uint32_t entry = sample.index() % kJudgementBlock;
    if (entry < judgements_.size()) Explain(spec_, statistics_, judgements_[entry], sample);
  }
  return samples;
}

absl::Status JudgedSamples::ReadBlock(uint32_t block) {
  if (any_block_ && block_ == block) return absl::OkStatus();
  any_block_ = true;
  block_ = block;
  judgements_.clear();
  RSIDIFF_ASSIGN_OR_RETURN(const std::optional<std::string> value,
                           database_->Read(Table::kJudgements, JudgementKey(run_id_, round_, block)));
  if (!value.has_value()) return absl::OkStatus();
  absl::StatusOr<std::vector<Judgement>> judgements = ParseBlock(*value);
  if (!judgements.ok()) {
    return absl::DataLossError(absl::StrCat("stored judgements ", block, " of round ", round_, " in run ",
                                            run_id_, " cannot be read: ", judgements.status().message()));
  }
  judgements_ = *std::move(judgements);
  return absl::OkStatus();
}

}  // namespace rsidiff::coordinator
