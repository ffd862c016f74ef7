#include "coordinator/state/payload.h"

#include <algorithm>

#include "common/run/distance.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

const std::string& PromptText(const Run& run, v1::Purpose purpose, uint32_t id) {
  return purpose == v1::PURPOSE_EVALUATION ? run.evaluation_prompts.at(id) : run.train_prompts.at(id);
}

v1::GenerateWork Generate(const Run& run, const TaskId& task) {
  v1::GenerateWork work = GenerateSettings(run.record.spec(), task.purpose);
  for (const PlannedSample& sample : ChunkSamples(run, task)) {
    auto* item = work.add_items();
    item->set_index(sample.index);
    item->set_prompt(PromptText(run, task.purpose, sample.prompt_id));
    item->set_seed(sample.seed);
  }
  return work;
}

v1::ScoreWork Score(const Run& run, const TaskId& task) {
  v1::ScoreWork work;
  const auto& samples = run.rounds.at(task.round).samples.at(task.purpose);
  for (const PlannedSample& sample : ChunkSamples(run, task)) {
    work.add_indices(sample.index);
    work.add_prompts(PromptText(run, task.purpose, sample.prompt_id));
    work.add_images(samples.at(sample.index).image());
  }
  for (const std::string& scorer : ScorersFor(run.record.spec(), task.purpose)) work.add_scorers(scorer);
  work.set_features(FeatureScorer(run.record.spec(), task.purpose));
  return work;
}

/// Features files of chunks of a round's training samples, in chunk order.
google::protobuf::RepeatedPtrField<std::string> FeaturesFiles(const Run& run, const Round& round,
                                                              Chunk chunks) {
  google::protobuf::RepeatedPtrField<std::string> files;
  const auto& samples = round.samples.at(v1::PURPOSE_TRAINING);
  const uint32_t chunk = std::max<uint32_t>(run.record.spec().sampling().chunk(), 1);
  for (uint32_t i = chunks.begin; i < chunks.end; ++i) *files.Add() = samples.at(i * chunk).features();
  return files;
}

uint32_t TrainingChunks(const Run& run, const Round& round) {
  return ChunkCount(round.samples.at(v1::PURPOSE_TRAINING).size(), run.record.spec().sampling().chunk());
}

v1::MomentsWork Moments(const Run& run, const TaskId& task) {
  const Round& round = run.rounds.at(task.round);
  const Chunk block =
      ChunkAt(TrainingChunks(run, round), ChunksOf(run.record.spec(), kMomentsBlock), task.index);
  v1::MomentsWork work;
  *work.mutable_features() = FeaturesFiles(run, round, block);
  return work;
}

v1::FitReferenceWork FitReference(const Run& run, const TaskId& task) {
  const Round& round = run.rounds.at(task.round);
  uint32_t chunks = TrainingChunks(run, round);
  v1::FitReferenceWork work;
  *work.mutable_moments() = round.record.reference_moments();
  if (!work.moments().empty()) chunks = std::min(chunks, ChunksOf(run.record.spec(), kOwnDistances));
  *work.mutable_features() = FeaturesFiles(run, round, {0, chunks});
  return work;
}

v1::EmbedWork Embed(const Run& run, const TaskId& task) {
  v1::EmbedWork work;
  const Chunk block = ChunkAt(run.record.train_prompt_count(), kEmbedBlock, task.index);
  for (uint32_t i = block.begin; i < block.end; ++i) work.add_prompts(run.train_prompts.at(i));
  return work;
}

v1::FilterWork Filter(const Run& run, const TaskId& task) {
  const v1::PromptFilterSpec& filter = run.record.spec().prompts().filter();
  v1::FilterWork work;
  *work.mutable_embeddings() = run.rounds.at(task.round).record.prompt_embeddings();
  work.set_distance(filter.embedding_distance());
  work.set_specificity(filter.embedding_specificity());
  work.set_prompts(run.record.train_prompt_count());
  return work;
}

v1::MeasureWork Measure(const Run& run, const TaskId& task) {
  v1::MeasureWork work;
  *work.mutable_features() = run.rounds.at(task.round).record.evaluation_features();
  *work.mutable_reference_features() = run.rounds.at(0).record.evaluation_features();
  return work;
}

v1::WeightWork Weight(const Run& run, const TaskId& task) {
  v1::WeightWork work;
  work.set_reference(run.record.reference());
  const auto& samples = run.rounds.at(task.round).samples.at(v1::PURPOSE_TRAINING);
  for (uint32_t index : WeightBlock(run, task)) {
    const v1::SampleRecord& sample = samples.at(index);
    work.add_indices(index);
    v1::FeatureRow* row = work.add_rows();
    row->set_features(sample.features());
    row->set_row(sample.row());
  }
  return work;
}

/// The UNet that a task works with: an evaluation's is its own round's, everything else's the one that the
/// round starts from.
std::string Checkpoint(const Run& run, const TaskId& task) {
  const v1::RoundRecord& round = run.rounds.at(task.round).record;
  if (task.purpose == v1::PURPOSE_EVALUATION) return round.checkpoint();
  return run.rounds.at(round.starts_from()).record.checkpoint();
}

}  // namespace

std::vector<PlannedSample> ChunkSamples(const Run& run, const TaskId& task) {
  const SamplePlan& plan = run.rounds.at(task.round).plan.at(task.purpose);
  return plan.Slice(ChunkAt(plan.size(), run.record.spec().sampling().chunk(), task.index));
}

std::vector<uint32_t> WeightBlock(const Run& run, const TaskId& task) {
  const std::vector<uint32_t>& selected = run.rounds.at(task.round).selected;
  Chunk block = ChunkAt(selected.size(), kWeightBlock, task.index);
  return {selected.begin() + block.begin, selected.begin() + block.end};
}

v1::GenerateWork GenerateSettings(const v1::RunSpec& spec, v1::Purpose purpose) {
  const bool evaluation = purpose == v1::PURPOSE_EVALUATION;
  v1::GenerateWork work;
  work.set_chunk(std::max<uint32_t>(spec.sampling().chunk(), 1));
  work.set_steps(evaluation && spec.evaluation().has_steps() ? spec.evaluation().steps()
                                                             : spec.sampling().steps());
  work.set_guidance_scale(evaluation && spec.evaluation().has_guidance_scale()
                              ? spec.evaluation().guidance_scale()
                              : spec.sampling().guidance_scale());
  return work;
}

v1::TaskPayload RunPayload(const v1::RunRecord& run, const std::string& checkpoint) {
  v1::TaskPayload payload;
  *payload.mutable_spec() = run.spec();
  payload.mutable_spec()->clear_prompts();
  *payload.mutable_inputs() = run.inputs();
  payload.set_checkpoint(checkpoint);
  return payload;
}

v1::TaskPayload MakeWork(const Run& run, const TaskId& task) {
  v1::TaskPayload payload;
  switch (task.kind) {
    case v1::TASK_KIND_GENERATE:
      *payload.mutable_generate() = Generate(run, task);
      break;
    case v1::TASK_KIND_SCORE:
      *payload.mutable_score() = Score(run, task);
      break;
    case v1::TASK_KIND_MOMENTS:
      *payload.mutable_moments() = Moments(run, task);
      break;
    case v1::TASK_KIND_FIT_REFERENCE:
      *payload.mutable_fit_reference() = FitReference(run, task);
      break;
    case v1::TASK_KIND_WEIGHT:
      *payload.mutable_weight() = Weight(run, task);
      break;
    case v1::TASK_KIND_TRAIN:
      *payload.mutable_train()->mutable_manifest_parts() = run.rounds.at(task.round).record.manifest_parts();
      payload.mutable_train()->set_seed(TrainSeed(run.record.spec(), task.round));
      break;
    case v1::TASK_KIND_EMBED:
      *payload.mutable_embed() = Embed(run, task);
      break;
    case v1::TASK_KIND_FILTER:
      *payload.mutable_filter() = Filter(run, task);
      break;
    case v1::TASK_KIND_MEASURE:
      *payload.mutable_measure() = Measure(run, task);
      break;
    default:
      break;
  }
  return payload;
}

v1::TaskPayload MakePayload(const Run& run, const TaskId& task) {
  v1::TaskPayload payload = MakeWork(run, task);
  v1::TaskPayload common = RunPayload(run.record, Checkpoint(run, task));
  payload.mutable_spec()->Swap(common.mutable_spec());
  payload.mutable_inputs()->Swap(common.mutable_inputs());
  payload.set_checkpoint(common.checkpoint());
  return payload;
}

}  // namespace rsidiff::coordinator
