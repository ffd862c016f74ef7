#include "worker/phase/task.h"

#include "absl/strings/str_cat.h"
#include "common/base/enum_label.h"

namespace rsidiff::worker {

std::string TaskKindName(v1::TaskKind kind) {
  return EnumLabel(v1::TaskKind_Name(kind), "TASK_KIND_");
}

std::string TaskName(const v1::TaskKey& task) {
  return absl::StrCat(TaskKindName(task.kind()), " task ", task.index(), " of run ", task.run_id(),
                      ", round ", task.round(),
                      task.purpose() == v1::PURPOSE_EVALUATION ? " (evaluation)" : "");
}

bool IsObstacle(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

}  // namespace rsidiff::worker
