#include "coordinator/cli/submission_size.h"

#include "absl/strings/str_cat.h"

namespace rsidiff::coordinator {
namespace {

// For a scorer's digests under its name, or the model's and the rejected prompts'; half of it would do.
constexpr size_t kDigestRoom = 1024;

}  // namespace

absl::Status CheckSubmissionSize(const v1::SubmitRunRequest& request, size_t limit) {
  const auto scorers = static_cast<size_t>(request.spec().scorers_size());
  const size_t bytes = request.ByteSizeLong() + (scorers + 1) * kDigestRoom;
  if (bytes <= limit) return absl::OkStatus();
  const int prompts = request.inputs().train_prompts_size() + request.inputs().evaluation_prompts_size();
  return absl::InvalidArgumentError(absl::StrCat(
      "the run and its ", prompts, " prompts take ", bytes, " bytes; a coordinator takes at most ", limit,
      " in one submission: give fewer or shorter prompts, or spread them over several runs"));
}

}  // namespace rsidiff::coordinator
