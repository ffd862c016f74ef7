#include "worker/phase/task.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace rsidiff::worker {

std::string TaskKindName(v1::TaskKind kind) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::TaskKind_Name(kind), "TASK_KIND_"));
}

std::string TaskName(const v1::TaskKey& task) {
  return absl::StrCat(TaskKindName(task.kind()), " task ", task.index(), " of run ", task.run_id(),
                      ", round ", task.round(),
                      task.purpose() == v1::PURPOSE_EVALUATION ? " (evaluation)" : "");
}

}  // namespace rsidiff::worker
