#include "coordinator/state/task_id.h"

#include "absl/strings/str_cat.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {

TaskId TaskId::From(const v1::TaskKey& key) {
  return {key.run_id(), key.round(), key.kind(), key.purpose(), key.index()};
}

v1::TaskKey TaskId::ToKey() const {
  v1::TaskKey key;
  key.set_run_id(run_id);
  key.set_round(round);
  key.set_kind(kind);
  key.set_purpose(purpose);
  key.set_index(index);
  return key;
}

std::string TaskId::ToString() const {
  bool numbered =
      kind == v1::TASK_KIND_GENERATE || kind == v1::TASK_KIND_SCORE || kind == v1::TASK_KIND_WEIGHT;
  return absl::StrCat(TaskName(kind, purpose), numbered ? absl::StrCat(" ", index) : "", " of round ", round,
                      " of run ", run_id);
}

}  // namespace rsidiff::coordinator
