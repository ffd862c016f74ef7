#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/image/image.h"
#include "worker/scorer/scorer.h"
#include "worker/scorer/scorer_parts.h"
#include "worker/scorer/scorer_type.h"

namespace rsidiff::worker {

/// Where one scorer's files are.
struct ScorerSource {
  std::string name;  // unique in a set: the scorer's column
  ScorerType type = ScorerType::kClipScore;
  std::filesystem::path folder;
  /// Folder of CLIP's tokenizer (vocab.json and merges.txt, or tokenizer.json), for a BLIP reward with
  /// vocab.txt; empty: `folder`. Not for the aesthetic types.
  std::filesystem::path tokenizer;
  /// The aesthetic types only: the CLIPModel folder whose embedding is read.
  std::filesystem::path clip;
};

/// Several scorers over the same pictures. Scorers of the same model share it (see ScorerParts), and the
/// image features of a model are computed once a call. Not thread-safe.
class ScorerSet {
 public:
  using Options = ScorerParts::Options;

  struct Request {
    absl::Span<const Image> images;
    absl::Span<const std::string> prompts;  // as many as images
    /// What an error calls each picture ("samples.jsonl line 3"); empty: "sample INDEX".
    absl::Span<const std::string> labels;
    std::vector<std::string> scorers;  // names; empty: all, in the order they were loaded
    std::string features;              // name of the scorer whose image embedding is wanted; empty: none
    /// Called before each scorer with the share of them that is done, on the calling thread; false cancels.
    std::function<bool(double fraction)> on_progress;
  };

  struct Column {
    std::string scorer;
    std::vector<double> scores;  // one a picture, every one finite
  };

  struct Result {
    std::vector<Column> columns;  // in the order of Request::scorers
    at::Tensor features;          // fp32 [N, D] on the CPU, L2-normalised; undefined where none was asked for
  };

  /// Loads every scorer, but for what other sets of `parts` have loaded. Errors name the scorer, and the file
  /// or tensor. `parts` may go before the set does.
  static absl::StatusOr<std::unique_ptr<ScorerSet>> Load(absl::Span<const ScorerSource> sources,
                                                         ScorerParts& parts);
  /// The same alone.
  static absl::StatusOr<std::unique_ptr<ScorerSet>> Load(absl::Span<const ScorerSource> sources,
                                                         const Options& options);

  /// Of the scorers, in the order they were loaded.
  std::vector<std::string> names() const;

  /// NOT_FOUND for an unknown scorer name; DATA_LOSS when a score or feature is NaN or infinite, or an
  /// embedding has zero length and so no direction, naming scorer, picture and prompt; CANCELLED when
  /// on_progress says so. An empty request gives empty columns.
  absl::StatusOr<Result> Score(const Request& request);

 private:
  struct Entry {
    std::string name;
    std::unique_ptr<Scorer> scorer;
  };

  ScorerSet() = default;
  absl::StatusOr<Scorer*> Find(absl::string_view name) const;

  std::vector<Entry> entries_;
};

}  // namespace rsidiff::worker
