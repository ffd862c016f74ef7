#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kQuotedBytes = 200;

struct Rejection {
  uint32_t prompt = 0;
  uint32_t nearest = 0;  // itself: the empty prompt
  double distance = 0;
};

std::string RejectedLine(const Run& run, const Rejection& rejection) {
  const bool vague = rejection.nearest == rejection.prompt;
  nlohmann::ordered_json line;
  line["prompt"] = run.train_prompts[rejection.prompt];
  line["rejected_by"] = vague ? "specificity" : "diversity";
  line["reason"] = vague ? std::string("means little more than no prompt")
                         : absl::StrCat("means the same as another: \"",
                                        run.train_prompts[rejection.nearest].substr(0, kQuotedBytes), "\"");
  line["embedding_distance"] = rejection.distance;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace

bool Core::Impl::AdvanceFilter(Run& run, Round& round) {
  if (!AllDone(round, v1::TASK_KIND_EMBED, v1::PURPOSE_TRAINING)) return false;
  if (round.groups.count({v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING}) == 0) {
    AddTask(run, round, {run.id(), round.record.round(), v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING, 0});
    return false;
  }
  if (!AllDone(round, v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING)) return false;
  if (!run.Pool().empty()) return true;
  EndRun(run, v1::RUN_STATE_FAILED,
         absl::StrCat("prompts.filter rejects all ", run.train_prompts.size(),
                      " training prompts by their embeddings: embedding_specificity is too high"));
  return false;
}

void Core::Impl::ApplyEmbed(Run& run, Round& round, const TaskId& task, const v1::EmbedResult& result) {
  auto& files = *round.record.mutable_prompt_embeddings();
  const auto blocks = static_cast<int>(ChunkCount(run.record.train_prompt_count(), kEmbedBlock));
  while (files.size() < blocks) files.Add();
  files[static_cast<int>(task.index)] = result.embeddings();
  PutRound(round);
}

void Core::Impl::ApplyFilter(Run& run, Round& round, const v1::FilterResult& result) {
  v1::EmbeddingFilterSummary& summary = *run.record.mutable_embedding_filter();
  summary.set_judged(run.record.train_prompt_count());
  std::string lines;
  for (int i = 0; i < result.rejected_size(); ++i) {
    const Rejection rejection{result.rejected(i), result.nearest(i), result.distances(i)};
    lines += RejectedLine(run, rejection);
    if (rejection.nearest == rejection.prompt) {
      summary.set_specificity(summary.specificity() + 1);
    } else {
      summary.set_diversity(summary.diversity() + 1);
    }
    run.rejected[rejection.prompt] = true;
    PutPrompt(run, PromptList::kTrain, rejection.prompt);
  }
  if (!lines.empty()) {
    summary.set_rejected_prompts(Sha256Hex(lines));
    artifacts_.push_back(std::move(lines));
  }
  round.record.clear_prompt_embeddings();
  PutRun(run);
  PutRound(round);
  Log(run.id(), round.record.round(), "",
      absl::StrCat("embeddings reject ", summary.specificity() + summary.diversity(), " of ",
                   summary.judged(), " training prompts: ", summary.specificity(), " by specificity, ",
                   summary.diversity(), " by diversity"));
}

}  // namespace rsidiff::coordinator
