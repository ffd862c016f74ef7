#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/schedule/weights.h"
#include "coordinator/state/core_impl.h"
#include "coordinator/state/manifest.h"

namespace rsidiff::coordinator {
namespace {

// The arithmetic of scores and weights, and freeing a sample, are so much cheaper than writing a sample's
// row.
constexpr size_t kCheapSlice = 8;

/// About `count` samples from index `next` on, up to the end of a prompt.
std::vector<const v1::SampleRecord*> SliceOf(const SampleMap& samples, uint32_t next, size_t count) {
  std::vector<const v1::SampleRecord*> slice;
  for (auto sample = samples.lower_bound(next); sample != samples.end(); ++sample) {
    if (slice.size() >= count && sample->second.prompt_id() != slice.back()->prompt_id()) break;
    slice.push_back(&sample->second);
  }
  return slice;
}

/// The samples at the positions from `next` on of Round.selected, at most `count`.
std::vector<const v1::SampleRecord*> SelectedSlice(const Round& round, size_t next, size_t count) {
  std::vector<const v1::SampleRecord*> slice;
  if (next >= round.selected.size()) return slice;
  auto sample = round.samples.at(v1::PURPOSE_TRAINING).find(round.selected[next]);
  for (; next < round.selected.size() && slice.size() < count; ++next) {
    while (sample->first != round.selected[next]) ++sample;
    slice.push_back(&sample->second);
  }
  return slice;
}

// The rounds whose training the round's model went through, newest first: not those that were rolled back.
std::vector<uint32_t> Lineage(const Run& run, const Round& round) {
  std::vector<uint32_t> rounds;
  for (uint32_t start = round.record.starts_from(); start > 0;
       start = run.rounds.at(start).record.starts_from()) {
    rounds.push_back(start);
  }
  return rounds;
}

}  // namespace

bool Core::Impl::Reducible(const Run& run, const Round& round) const {
  if (run.ended()) return false;
  if (round.record.phase() == v1::ROUND_PHASE_SELECT) return true;
  if (round.record.phase() == v1::ROUND_PHASE_FILTER) {
    return AllDone(round, v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING);
  }
  return round.record.phase() == v1::ROUND_PHASE_WEIGHT &&
         (!NeedsReference(run.record.spec()) || AllDone(round, v1::TASK_KIND_WEIGHT, v1::PURPOSE_TRAINING));
}

void Core::Impl::ContinueReduction() {
  DiscardSlice();
  if (reducing_.empty()) return;
  Run& run = runs_.at(reducing_.begin()->first);
  Round& round = run.rounds.at(reducing_.begin()->second);
  const v1::RoundPhase phase = round.record.phase();
  if (!ReduceSlice(run, round)) return;
  StopReduction(round);
  if (run.ended()) return;
  EnterPhase(run, round, NextPhase(run.record.spec(), round.record.round(), phase));
  Advance(run);
}

bool Core::Impl::ReduceSlice(Run& run, Round& round) {
  switch (round.record.phase()) {
    case v1::ROUND_PHASE_FILTER:
      return FilterSlice(run, round);
    case v1::ROUND_PHASE_SELECT:
      return SelectSlice(run, round);
    default:
      return WeighSlice(run, round);
  }
}

void Core::Impl::StopReduction(Round& round) {
  reducing_.erase({round.record.run_id(), round.record.round()});
  round.filtering.reset();
  round.selecting.reset();
  round.weighing.reset();
}

bool Core::Impl::SelectSlice(Run& run, Round& round) {
  if (round.selecting == nullptr) {
    round.selecting = std::make_unique<Selecting>(run.record.spec());
    round.selected.clear();
    round.judgements.reserve(round.samples.at(v1::PURPOSE_TRAINING).size());
    if (!run.record.statistics().empty()) {
      round.selecting->statistics = {run.record.statistics().begin(), run.record.statistics().end()};
      round.selecting->stage = Selecting::Stage::kSelect;
    }
  }
  Selecting& work = *round.selecting;
  const std::vector<const v1::SampleRecord*> slice =
      SliceOf(round.samples.at(v1::PURPOSE_TRAINING), work.next, options_.slice_samples);
  if (!slice.empty()) work.next = slice.back()->index() + 1;
  if (work.stage == Selecting::Stage::kStatistics) {
    for (const v1::SampleRecord* sample : slice) work.scores.Add(*sample);
    if (!slice.empty() || !work.scores.Advance(kCheapSlice * options_.slice_samples)) return false;
    work.statistics = work.scores.Statistics();
    run.record.mutable_statistics()->insert(work.statistics.begin(), work.statistics.end());
    PutRun(run);
    if (!TellsSamplesApart(run, work.statistics)) return true;
    work.stage = Selecting::Stage::kSelect;
    work.next = 0;
    return false;
  }
  if (slice.empty()) {
    return work.tally.Advance(kCheapSlice * options_.slice_samples) && FinishSelection(run, round);
  }
  Select(run.record.spec(), round, slice);
  return false;
}

void Core::Impl::Select(const v1::RunSpec& spec, Round& round, SampleView slice) {
  Selecting& work = *round.selecting;
  const std::vector<Judgement> judgements = SelectSamples(spec, work.statistics, slice);
  // After a restart those of before are there, and come out the same again.
  round.judgements.resize(std::max<size_t>(round.judgements.size(), work.next));
  for (size_t i = 0; i < slice.size(); ++i) {
    const uint32_t index = slice[i]->index();
    round.judgements[index] = judgements[i];
    if (judgements[i].selected) round.selected.push_back(index);
    work.tally.Add(*slice[i], judgements[i]);
  }
  PutJudgements(round, slice.front()->index(), slice.back()->index());
}

bool Core::Impl::TellsSamplesApart(Run& run, const StatisticsMap& statistics) {
  std::vector<std::string> constant;
  for (const auto& [scorer, scores] : statistics) {
    if (!TellsNothingApart(scores)) continue;
    constant.push_back(absl::StrCat(scorer, " gave ", scores.mean()));
    Warn(run, 1,
         absl::StrCat("scorer ", scorer, " has no say in the selection: it gave ", scores.mean(),
                      " to each of round 1's ", scores.count(), " samples"));
  }
  if (constant.size() < statistics.size() ||
      run.record.spec().selection().method() == v1::SELECTION_METHOD_ALL) {
    return true;
  }
  EndRun(run, v1::RUN_STATE_FAILED,
         absl::StrCat("round 1 has nothing to select by: each scorer gave the same to every sample: ",
                      absl::StrJoin(constant, ", ")));
  return false;
}

bool Core::Impl::FinishSelection(Run& run, Round& round) {
  v1::SelectionSummary& summary = *round.record.mutable_selection();
  summary = round.selecting->tally.Summary();
  PutRound(round);
  if (summary.selected() > 0) return true;
  EndRun(run, v1::RUN_STATE_FAILED,
         absl::StrCat("round ", round.record.round(), " has nothing to train on: selection.gate ",
                      run.record.spec().selection().gate(), " refused the best samples of all ",
                      summary.prompts(), " prompts; `rsidiff samples ", run.id(), " --round ",
                      round.record.round(), " --json` shows each one's z"));
  return true;
}

bool Core::Impl::WeighSlice(Run& run, Round& round) {
  if (round.weighing == nullptr) {
    round.weighing = std::make_unique<Weighing>();
    round.weighing->inputs.reserve(round.selected.size());
  }
  Weighing& work = *round.weighing;
  switch (work.stage) {
    case Weighing::Stage::kGather:
      GatherWeights(run, round);
      return false;
    case Weighing::Stage::kCompute:
      if (!work.computation->done()) {
        work.computation->Advance(kCheapSlice * options_.slice_samples);
        return false;
      }
      work.weights = work.computation->Take();
      work.stage = Weighing::Stage::kStore;
      work.next = 0;
      return false;
    case Weighing::Stage::kStore:
      StoreWeights(run, round);
      return false;
    case Weighing::Stage::kReplay:
      ReplaySlice(run, round);
      return false;
    case Weighing::Stage::kFinish:
      FinishWeights(round);
      return true;
  }
  return true;
}

void Core::Impl::GatherWeights(const Run& run, Round& round) {
  Weighing& work = *round.weighing;
  const std::vector<const v1::SampleRecord*> slice = SelectedSlice(round, work.next, options_.slice_samples);
  for (const v1::SampleRecord* sample : slice) {
    const Judgement& judgement = round.judgements.at(sample->index());
    const double distance = judgement.distance.value_or(0);
    work.inputs.push_back({sample->prompt_id(), judgement.reward, distance});
    work.distance_sum += distance;
  }
  work.next += slice.size();
  if (work.next < round.selected.size()) return;
  work.computation.emplace(run.record.spec().weights(), std::move(work.inputs));
  work.stage = Weighing::Stage::kCompute;
}

void Core::Impl::StoreWeights(const Run& run, Round& round) {
  Weighing& work = *round.weighing;
  const std::vector<const v1::SampleRecord*> slice = SelectedSlice(round, work.next, options_.slice_samples);
  for (const v1::SampleRecord* sample : slice) {
    const double weight = work.weights.weights[work.next++];
    round.judgements.at(sample->index()).weight = weight;
    work.manifest.Add(ManifestLine(run.train_prompts.at(sample->prompt_id()), *sample, weight, Replay::kNo));
  }
  PutJudgements(round, slice.front()->index(), slice.back()->index());
  StoreManifest(work);
  if (work.next < round.selected.size()) return;
  work.stage = Weighing::Stage::kReplay;
  work.next = 0;
  if (run.record.spec().train().replay() > 0) work.replayed = Lineage(run, round);
}

void Core::Impl::ReplaySlice(const Run& run, Round& round) {
  Weighing& work = *round.weighing;
  if (work.replayed.empty()) {
    work.manifest.Finish();
    StoreManifest(work);
    work.stage = Weighing::Stage::kFinish;
    return;
  }
  const Round& earlier = run.rounds.at(work.replayed.back());
  const SampleMap& samples = earlier.samples.at(v1::PURPOSE_TRAINING);
  const size_t end = std::min(earlier.selected.size(), work.next + options_.slice_samples);
  for (; work.next < end; ++work.next) {
    const uint32_t index = earlier.selected[work.next];
    const v1::SampleRecord& sample = samples.at(index);
    const double weight = earlier.judgements.at(index).weight;
    work.manifest.Add(ManifestLine(run.train_prompts.at(sample.prompt_id()), sample, weight, Replay::kYes));
  }
  StoreManifest(work);
  if (work.next < earlier.selected.size()) return;
  work.replayed.pop_back();
  work.next = 0;
}

void Core::Impl::StoreManifest(Weighing& work) {
  for (std::string& part : work.manifest.TakeComplete()) artifacts_.push_back(std::move(part));
}

bool Core::Impl::NextTickNamesArtifacts() const {
  if (reducing_.empty()) return false;
  const auto& [run, round] = *reducing_.begin();
  const std::unique_ptr<Weighing>& work = runs_.at(run).rounds.at(round).weighing;
  return work != nullptr && work->stage == Weighing::Stage::kFinish;
}

void Core::Impl::FinishWeights(Round& round) {
  const Weighing& work = *round.weighing;
  v1::SelectionSummary& summary = *round.record.mutable_selection();
  summary.set_effective_sample_size(work.weights.effective_sample_size);
  summary.set_clipped_share(work.weights.clipped_share);
  summary.set_distance_mean(work.distance_sum / static_cast<double>(round.selected.size()));
  round.record.clear_manifest_parts();
  for (const std::string& digest : work.manifest.digests()) round.record.add_manifest_parts(digest);
  name_artifacts_ = true;
}

void Core::Impl::DiscardSlice() {
  ThinSlice();
  if (discarded_.empty()) return;
  SampleMap& samples = discarded_.front();
  auto end = samples.begin();
  for (size_t i = 0; i < kCheapSlice * options_.slice_samples && end != samples.end(); ++i) ++end;
  samples.erase(samples.begin(), end);
  if (samples.empty()) discarded_.pop_front();
}

void Core::Impl::ThinSlice() {
  if (thinning_.empty()) return;
  auto& [where, next] = *thinning_.begin();
  Round& round = runs_.at(where.first).rounds.at(where.second);
  SampleMap& samples = round.samples[v1::PURPOSE_TRAINING];
  auto sample = samples.lower_bound(next);
  for (size_t i = 0; i < kCheapSlice * options_.slice_samples && sample != samples.end(); ++i) {
    sample = round.IsSelected(sample->first) ? std::next(sample) : samples.erase(sample);
  }
  if (sample == samples.end()) {
    thinning_.erase(thinning_.begin());
  } else {
    next = sample->first;
  }
}

}  // namespace rsidiff::coordinator
