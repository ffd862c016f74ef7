#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "coordinator/cli/picture_grid.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// A page with the run's facts, the table round x metric, the picture grid (may be empty) and the run
/// file. Self-contained: pictures are inside it, and nothing is loaded from elsewhere.
absl::StatusOr<std::string> ReportHtml(const v1::RunStatus& status, const PictureGrid& grid,
                                       ArtifactStore& store);

}  // namespace rsidiff::coordinator
