#pragma once

#include <optional>
#include <string>

namespace rsidiff::coordinator {

/// The database's tables; one RocksDB column family each. docs/formats.md gives keys and values.
enum class Table {
  kMeta,
  kRuns,
  kRounds,
  kTasks,
  kJudgements,
  kSamples,
  kPrompts,
  kWorkers,
  kGenerations,
  kRequests,
  kEvents
};

/// One stored row: a serialized message of round.proto under a fixed-width big-endian key.
struct Row {
  Table table;
  std::string key;
  std::string value;
};

/// A row to write, or to delete when it has no value.
struct RowWrite {
  Table table;
  std::string key;
  std::optional<std::string> value;
};

}  // namespace rsidiff::coordinator
