#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "common/image/image.h"
#include "coordinator/cli/client.h"

namespace rsidiff::coordinator {

/// The same evaluation prompts, with the same seeds, in every round.
struct PictureGrid {
  std::vector<uint32_t> rounds;                  // columns
  std::vector<std::string> prompts;              // rows
  std::vector<std::vector<std::string>> images;  // [row][column]: digest of a PNG; "" where there is none
};

/// Collects the first `rows` evaluation prompts (the first sample of each) of the rounds whose
/// evaluation is complete. FAILED_PRECONDITION: no round is that far.
absl::StatusOr<PictureGrid> CollectGrid(ControlClient& client, const v1::RunStatus& status, size_t rows);

/// One picture with the prompts on the left and the rounds on top. Small pictures are enlarged by whole
/// factors. Errors as ArtifactStore::Get and DecodePng, with the digest.
absl::StatusOr<Image> DrawGrid(const PictureGrid& grid, ArtifactStore& store);

}  // namespace rsidiff::coordinator
