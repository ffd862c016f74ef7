#pragma once

#include "absl/status/status.h"
#include "coordinator/state/database.h"

namespace rsidiff::coordinator {

/// Rewrites what earlier schemas stored otherwise, a part at a time: cut off and begun again it comes to the
/// same end. The schema version is left for the coordinator to raise when it starts on the database.
/// Database's errors.
///   1 -> 2  what a round found about a sample moves out of the sample's row, into table judgements
absl::Status MigrateSchema(Database& database);

}  // namespace rsidiff::coordinator
