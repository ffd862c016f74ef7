#include "coordinator/state/migration.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/state/judgement_block.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {
namespace {

absl::StatusOr<uint32_t> SchemaOf(const Database& database) {
  RSIDIFF_ASSIGN_OR_RETURN(const auto value, database.Read(Table::kMeta, std::string(kMetaKey)));
  v1::MetaRecord meta;
  if (!value.has_value()) return kSchemaVersion;  // a fresh one
  if (!meta.ParseFromString(*value)) return absl::DataLossError("table meta cannot be read");
  return meta.schema_version();
}

/// Takes what the round found out of a row of schema 1; nothing where it has found nothing yet.
std::optional<Judgement> TakeJudgement(v1::SampleRecord& sample) {
  if (sample.reason().empty()) return std::nullopt;
  Judgement judgement;
  judgement.reward = sample.reward();
  judgement.rank = sample.rank();
  judgement.selected = sample.selected();
  if (sample.has_distance()) judgement.distance = sample.distance();
  judgement.weight = sample.weight();
  sample.clear_z();
  sample.clear_reward();
  sample.clear_rank();
  sample.clear_selected();
  sample.clear_distance();
  sample.clear_weight();
  sample.clear_reason();
  return judgement;
}

/// Moves judgements of schema 1, the samples' rows given in key order. A block is written together with its
/// samples, so it is moved or not.
class JudgementMove {
 public:
  explicit JudgementMove(Database& database) : database_(database) {}

  absl::Status Add(const std::string& key, const std::string& value) {
    KeyReader reader(key);
    const uint64_t run_id = reader.Take(8);
    const auto round = static_cast<uint32_t>(reader.Take(4));
    const uint64_t purpose = reader.Take(1);
    const auto index = static_cast<uint32_t>(reader.Take(4));
    if (!reader.Complete()) return absl::DataLossError("table samples has a key of a wrong length");
    if (purpose != v1::PURPOSE_TRAINING) return absl::OkStatus();
    const std::string block = JudgementKey(run_id, round, index / kJudgementBlock);
    if (block != block_) {
      RSIDIFF_RETURN_IF_ERROR(Write());
      block_ = block;
    }
    v1::SampleRecord sample;
    if (!sample.ParseFromString(value)) {
      return absl::DataLossError(absl::StrCat("table samples: sample ", index, " of round ", round,
                                              " of run ", run_id, " cannot be read"));
    }
    std::optional<Judgement> judgement = TakeJudgement(sample);
    if (!judgement.has_value()) return absl::OkStatus();
    judgements_.resize(index % kJudgementBlock + 1);
    judgements_.back() = *judgement;
    rows_.push_back({Table::kSamples, key, DeterministicBytes(sample)});
    return absl::OkStatus();
  }

  /// What is left of the last block.
  absl::Status Write() {
    if (rows_.empty()) return absl::OkStatus();
    rows_.push_back({Table::kJudgements, block_, DeterministicBytes(ToBlock(judgements_))});
    judgements_.clear();
    return database_.Write(std::exchange(rows_, {}), Database::Durability::kWal);
  }

 private:
  Database& database_;
  std::string block_;
  std::vector<Judgement> judgements_;
  std::vector<RowWrite> rows_;
};

}  // namespace

absl::Status MigrateSchema(Database& database) {
  RSIDIFF_ASSIGN_OR_RETURN(const uint32_t schema, SchemaOf(database));
  if (schema >= 2) return absl::OkStatus();
  JudgementMove move(database);
  RSIDIFF_RETURN_IF_ERROR(database.VisitRows(
      Table::kSamples,
      [&move](const std::string& key, const std::string& value) { return move.Add(key, value); }));
  return move.Write();
}

}  // namespace rsidiff::coordinator
