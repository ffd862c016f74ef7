#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// A line of a training manifest: a JSON object
///   {"prompt": TEXT, "file": PICTURE} or {"prompt": TEXT, "latent": SAFETENSORS, "row": N}
/// with, optional, "weight" (default 1) and "replay" (default false). `latent` holds "latents" [N, C, h, w]
/// with the VAE's scaling factor, as `generate --save-latents` writes them. Paths are relative to the
/// manifest's folder. The other keys of samples.jsonl and scores.jsonl (index, sample, seed, sha256, scores)
/// may be there, so those files are manifests too.
struct ManifestEntry {
  std::string prompt;
  std::string file;    // empty when `latent` is given
  std::string latent;  // empty when `file` is given
  int64_t row = 0;
  double weight = 1.0;
  bool replay = false;
  size_t line = 0;  // from 1
};

/// INVALID_ARGUMENT names `name`, line and key: a line that is no such object, an unknown key, a weight that
/// is negative or not finite, both or none of file and latent, no line at all. Blank lines are skipped.
absl::StatusOr<std::vector<ManifestEntry>> ParseManifest(absl::string_view text, absl::string_view name);

}  // namespace rsidiff::worker
