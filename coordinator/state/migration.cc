#include "coordinator/state/migration.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/state/judgement_block.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {
namespace {

/// Without a version where the database is a fresh one.
absl::StatusOr<v1::MetaRecord> MetaOf(const Database& database) {
  RSIDIFF_ASSIGN_OR_RETURN(const auto value, database.Read(Table::kMeta, std::string(kMetaKey)));
  v1::MetaRecord meta;
  if (value.has_value() && !meta.ParseFromString(*value)) {
    return absl::DataLossError("table meta cannot be read");
  }
  return meta;
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

/// Fills what is missing before and between a round's blocks, given in key order. Of the rounds that a fork
/// shares schema 1 stored the selected samples only: so a block that was moved ends with the last of them,
/// and one without any is not there. A round's last block may be short.
class JudgementGaps {
 public:
  explicit JudgementGaps(Database& database) : database_(database) {}

  absl::Status Add(const std::string& key, const std::string& value) {
    KeyReader reader(key);
    const uint64_t run_id = reader.Take(8);
    const RoundName round(run_id, static_cast<uint32_t>(reader.Take(4)));
    const auto block = static_cast<uint32_t>(reader.Take(4));
    if (!reader.Complete()) return BadRow(key, "key has a wrong length");
    absl::StatusOr<std::vector<Judgement>> judgements = ParseBlock(value);
    if (!judgements.ok()) return BadRow(key, judgements.status().message());
    if (round != round_) {
      round_ = round;
      next_ = 0;
      before_.clear();
    }
    const bool cut_short = !before_.empty() && before_.size() < kJudgementBlock;
    if (cut_short || next_ < block) {
      RSIDIFF_ASSIGN_OR_RETURN(const uint32_t samples, SampleCount());
      // A damaged number may ask for millions of rows.
      if (uint64_t{block} * kJudgementBlock >= samples) return BadRow(key, "is beyond the round's samples");
    }
    if (cut_short) {
      before_.resize(kJudgementBlock);
      RSIDIFF_RETURN_IF_ERROR(Write(next_ - 1, before_));
    }
    for (; next_ < block; ++next_) {
      RSIDIFF_RETURN_IF_ERROR(Write(next_, std::vector<Judgement>(kJudgementBlock)));
    }
    before_ = *std::move(judgements);
    next_ = block + 1;
    return absl::OkStatus();
  }

 private:
  using RoundName = std::pair<uint64_t, uint32_t>;

  static absl::Status BadRow(const std::string& key, absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat("table judgements, key ", absl::BytesToHexString(key), ": ", what));
  }

  /// Those that the round selected from; 0 where it is missing or cannot be read.
  absl::StatusOr<uint32_t> SampleCount() const {
    RSIDIFF_ASSIGN_OR_RETURN(const auto value,
                             database_.Read(Table::kRounds, RoundKey(round_.first, round_.second)));
    v1::RoundRecord round;
    if (!value.has_value() || !round.ParseFromString(*value)) return 0;
    return round.selection().samples();
  }

  absl::Status Write(uint32_t block, const std::vector<Judgement>& judgements) {
    return database_.Write({{Table::kJudgements, JudgementKey(round_.first, round_.second, block),
                             DeterministicBytes(ToBlock(judgements))}},
                           Database::Durability::kWal);
  }

  Database& database_;
  RoundName round_;
  uint32_t next_ = 0;              // the block after those that are there
  std::vector<Judgement> before_;  // of block next_ - 1
};

absl::Status MoveJudgements(Database& database) {
  JudgementMove move(database);
  RSIDIFF_RETURN_IF_ERROR(database.VisitRows(
      Table::kSamples,
      [&move](const std::string& key, const std::string& value) { return move.Add(key, value); }));
  RSIDIFF_RETURN_IF_ERROR(move.Write());
  // Looks at what is stored by now, so also at what a move that was cut off stored.
  JudgementGaps gaps(database);
  return database.VisitRows(Table::kJudgements, [&gaps](const std::string& key, const std::string& value) {
    return gaps.Add(key, value);
  });
}

}  // namespace

absl::Status MigrateSchema(Database& database) {
  RSIDIFF_ASSIGN_OR_RETURN(v1::MetaRecord meta, MetaOf(database));
  if (meta.schema_version() != 1) return absl::OkStatus();
  RSIDIFF_RETURN_IF_ERROR(MoveJudgements(database));
  meta.set_schema_version(2);
  return database.Write({{Table::kMeta, std::string(kMetaKey), DeterministicBytes(meta)}},
                        Database::Durability::kSync);
}

}  // namespace rsidiff::coordinator
