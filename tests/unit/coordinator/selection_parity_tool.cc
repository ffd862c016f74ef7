// selection_parity_tool < CASES > RESULTS: selects from the samples of each case and weighs what is selected,
// as a round does. CASES is a JSON list of {"spec", "reference", "samples"}: a RunSpec, the SampleRecords of
// round 1, and those to select from, prompt by prompt, with their distances. RESULTS is a list of {"samples",
// "summary"}: the same SampleRecords, filled in, and a SelectionSummary. Messages are protobuf's JSON.

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/schedule/selection.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/schedule/weights.h"

namespace rsidiff::coordinator {
namespace {

template <class Status>
void Check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <class Message>
Message Parse(const nlohmann::json& json) {
  Message message;
  Check(google::protobuf::util::JsonStringToMessage(json.dump(), &message));
  return message;
}

nlohmann::json Print(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  Check(google::protobuf::util::MessageToJsonString(message, &text, options));
  return nlohmann::json::parse(text);
}

std::vector<v1::SampleRecord> ParseSamples(const nlohmann::json& list) {
  std::vector<v1::SampleRecord> samples;
  for (const nlohmann::json& sample : list) samples.push_back(Parse<v1::SampleRecord>(sample));
  return samples;
}

std::vector<const v1::SampleRecord*> Pointers(const std::vector<v1::SampleRecord>& samples) {
  std::vector<const v1::SampleRecord*> pointers;
  for (const v1::SampleRecord& sample : samples) pointers.push_back(&sample);
  return pointers;
}

/// Fills in distances and weights of the selected ones.
SampleWeights Weigh(const v1::WeightSpec& spec, const std::vector<v1::SampleRecord>& samples,
                    std::vector<Judgement>& judgements) {
  std::vector<WeightInput> inputs;
  std::vector<Judgement*> selected;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (!judgements[i].selected) continue;
    judgements[i].distance = samples[i].distance();
    inputs.push_back({samples[i].prompt_id(), judgements[i].reward, samples[i].distance()});
    selected.push_back(&judgements[i]);
  }
  SampleWeights weights = ComputeWeights(spec, inputs);
  for (size_t i = 0; i < selected.size(); ++i) selected[i]->weight = weights.weights[i];
  return weights;
}

nlohmann::json Result(const nlohmann::json& one) {
  const auto spec = Parse<v1::RunSpec>(one.at("spec"));
  std::vector<v1::SampleRecord> reference = ParseSamples(one.at("reference"));
  std::vector<v1::SampleRecord> samples = ParseSamples(one.at("samples"));
  const StatisticsMap statistics =
      ScoreStatistics(Pointers(reference), ScorersFor(spec, v1::PURPOSE_TRAINING));
  std::vector<Judgement> judgements = SelectSamples(spec, statistics, Pointers(samples));
  v1::SelectionSummary summary = SummarizeSelection(spec, Pointers(samples), judgements);
  const SampleWeights weights = Weigh(spec.weights(), samples, judgements);
  summary.set_effective_sample_size(weights.effective_sample_size);
  summary.set_clipped_share(weights.clipped_share);
  nlohmann::json result = {{"samples", nlohmann::json::array()}, {"summary", Print(summary)}};
  for (size_t i = 0; i < samples.size(); ++i) {
    Explain(spec, statistics, judgements[i], samples[i]);
    result["samples"].push_back(Print(samples[i]));
  }
  return result;
}

}  // namespace
}  // namespace rsidiff::coordinator

int main() {
  nlohmann::json results = nlohmann::json::array();
  for (const nlohmann::json& one : nlohmann::json::parse(std::cin)) {
    results.push_back(rsidiff::coordinator::Result(one));
  }
  std::cout << results.dump() << "\n";
}
