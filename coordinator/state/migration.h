#pragma once

#include "absl/status/status.h"
#include "coordinator/state/database.h"

namespace rsidiff::coordinator {

/// Rewrites what earlier schemas stored otherwise, a part at a time, and raises the schema version last: cut
/// off and begun again it comes to the same end. Database's errors, and DATA_LOSS names a row that cannot be
/// moved.
///   1 -> 2  what a round found about a sample moves out of the sample's row, into table judgements
absl::Status MigrateSchema(Database& database);

}  // namespace rsidiff::coordinator
