#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/state/row.h"

namespace rsidiff::coordinator {

/// One row that is not as the coordinator writes it, or one that is missing.
struct Violation {
  Table table;
  std::string key;   // as stored
  std::string what;  // a sentence fragment that names the row in words
};

/// "table tasks, key 0000...: score 3 of round 2 of run 1 is leased and has no token"
std::string ToString(const Violation& violation);

/// What a digest in the database names.
struct ArtifactUse {
  enum class Kind { kFile, kFolder };  // a folder's digest is that of its manifest
  Kind kind = Kind::kFile;
  Table table = Table::kMeta;
  std::string key;
  std::string owner;  // "latents of sample 3 of round 1 of run 1"; the first one found
};

struct CheckReport {
  std::vector<Violation> violations;  // in table order, at most 10'000
  std::map<Table, size_t> rows;
  std::map<std::string, ArtifactUse> artifacts;  // by digest; kWhole has those of samples too
  // Earlier states of trainings under way, which a damaged one gives way to. They may be missing.
  std::set<std::string> spare_artifacts;
};

/// Which rows there are: all of a database, or those that Database::ScanForRecovery gives.
enum class CheckScope { kWhole, kRecovery };

/// Holds the rows against every rule about them: keys and values have their form; counters lie beyond what
/// was handed out; a run has its prompts and rounds, a round its tasks, in the states that its phase
/// allows; a token is valid for one task and one live worker; what a finished task stored is there, with
/// the seeds that the run file gives, and nothing that no finished task stored; generations grow. Rows of
/// schema 1 have no judgements to look at. No input makes it fail: what cannot be parsed is a violation too.
CheckReport CheckRows(const std::vector<Row>& rows, CheckScope scope);

/// DATA_LOSS with the first violations, OK if there is none.
absl::Status ToStatus(const CheckReport& report);

}  // namespace rsidiff::coordinator
