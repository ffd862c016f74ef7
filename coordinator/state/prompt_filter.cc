#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kQuotedBytes = 200;

struct Rejection {
  uint32_t prompt = 0;
  uint32_t nearest = 0;  // itself: the empty prompt
  double distance = 0;
  bool vague() const { return nearest == prompt; }
};

TaskId FilterTask(const Round& round) {
  return {round.record.run_id(), round.record.round(), v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING, 0};
}

std::string RejectedLine(const Run& run, const Rejection& rejection) {
  const bool vague = rejection.vague();
  nlohmann::ordered_json line;
  line["prompt"] = run.train_prompts[rejection.prompt];
  line["rejected_by"] = vague ? "specificity" : "diversity";
  line["reason"] = vague ? std::string("means little more than no prompt")
                         : absl::StrCat("means the same as another: \"",
                                        Excerpt(run.train_prompts[rejection.nearest], kQuotedBytes), "\"");
  line["embedding_distance"] = rejection.distance;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace

void Core::Impl::AddFilterTask(Run& run, Round& round) {
  const bool added = round.groups.count({v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING}) > 0;
  if (!added && AllDone(round, v1::TASK_KIND_EMBED, v1::PURPOSE_TRAINING)) {
    AddTask(run, round, FilterTask(round));
  }
}

void Core::Impl::ApplyEmbed(Run& run, Round& round, const TaskId& task, const v1::EmbedResult& result) {
  auto& files = *round.record.mutable_prompt_embeddings();
  const auto blocks = static_cast<int>(ChunkCount(run.record.train_prompt_count(), kEmbedBlock));
  while (files.size() < blocks) files.Add();
  files[static_cast<int>(task.index)] = result.embeddings();
  PutRound(round);
}

bool Core::Impl::FilterSlice(Run& run, Round& round) {
  const v1::FilterResult& result = round.tasks.at(FilterTask(round)).record.filter();
  if (round.filtering == nullptr) round.filtering = std::make_unique<Filtering>();
  Filtering& work = *round.filtering;
  v1::EmbeddingFilterSummary& summary = *run.record.mutable_embedding_filter();
  summary.set_judged(run.record.train_prompt_count());
  for (size_t i = 0; i < options_.slice_samples && work.next < result.rejected_size(); ++i, ++work.next) {
    const Rejection rejection{result.rejected(work.next), result.nearest(work.next),
                              result.distances(work.next)};
    const std::string line = RejectedLine(run, rejection);
    work.lines += line;
    work.digest.Update(line);
    if (run.rejected[rejection.prompt]) continue;  // before a restart
    if (rejection.vague()) {
      summary.set_specificity(summary.specificity() + 1);
    } else {
      summary.set_diversity(summary.diversity() + 1);
    }
    run.rejected[rejection.prompt] = true;
    PutPrompt(run, PromptList::kTrain, rejection.prompt);
  }
  // At any time the run counts the prompts that are marked.
  Put(Table::kRuns, RunKey(run.id()), run.record);
  if (work.next < result.rejected_size()) return false;
  FinishFilter(run, round);
  return true;
}

void Core::Impl::FinishFilter(Run& run, Round& round) {
  v1::EmbeddingFilterSummary& summary = *run.record.mutable_embedding_filter();
  if (Filtering& work = *round.filtering; !work.lines.empty()) {
    summary.set_rejected_prompts(work.digest.FinishHex());
    artifacts_.push_back(std::move(work.lines));
    name_artifacts_ = true;
  }
  round.record.clear_prompt_embeddings();
  PutRun(run);
  PutRound(round);
  Log(run.id(), round.record.round(), "",
      absl::StrCat("embeddings reject ", summary.specificity() + summary.diversity(), " of ",
                   summary.judged(), " training prompts: ", summary.specificity(), " by specificity, ",
                   summary.diversity(), " by diversity"));
  if (!run.Pool().empty()) return;
  EndRun(run, v1::RUN_STATE_FAILED,
         absl::StrCat("prompts.filter rejects all ", run.train_prompts.size(),
                      " training prompts by their embeddings: embedding_specificity is too high"));
}

}  // namespace rsidiff::coordinator
