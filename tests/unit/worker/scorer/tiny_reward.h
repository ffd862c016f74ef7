#pragma once

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

using NamedShapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

inline void AddLinear(NamedShapes& shapes, const std::string& name, int64_t outputs, int64_t inputs) {
  shapes.push_back({name + ".weight", {outputs, inputs}});
  shapes.push_back({name + ".bias", {outputs}});
}

inline void AddNorm(NamedShapes& shapes, const std::string& name) {
  shapes.push_back({name + ".weight", {8}});
  shapes.push_back({name + ".bias", {8}});
}

/// ImageReward's tensors, with towers 8 wide and of one layer each.
inline NamedShapes TinyRewardShapes() {
  NamedShapes shapes;
  const std::string vision = "blip.visual_encoder.";
  shapes.push_back({vision + "cls_token", {1, 1, 8}});
  shapes.push_back({vision + "pos_embed", {1, 5, 8}});
  shapes.push_back({vision + "patch_embed.proj.weight", {8, 3, 8, 8}});
  shapes.push_back({vision + "patch_embed.proj.bias", {8}});
  AddLinear(shapes, vision + "blocks.0.attn.qkv", 24, 8);
  AddLinear(shapes, vision + "blocks.0.attn.proj", 8, 8);
  AddLinear(shapes, vision + "blocks.0.mlp.fc1", 16, 8);
  AddLinear(shapes, vision + "blocks.0.mlp.fc2", 8, 16);
  for (const char* norm : {"blocks.0.norm1", "blocks.0.norm2", "norm"}) AddNorm(shapes, vision + norm);

  const std::string text = "blip.text_encoder.";
  shapes.push_back({text + "embeddings.word_embeddings.weight", {40, 8}});
  shapes.push_back({text + "embeddings.position_embeddings.weight", {40, 8}});
  AddNorm(shapes, text + "embeddings.LayerNorm");
  const std::string layer = text + "encoder.layer.0.";
  for (const std::string attention : {"attention.", "crossattention."}) {
    for (const char* part : {"self.query", "self.key", "self.value", "output.dense"})
      AddLinear(shapes, absl::StrCat(layer, attention, part), 8, 8);
    AddNorm(shapes, absl::StrCat(layer, attention, "output.LayerNorm"));
  }
  AddLinear(shapes, layer + "intermediate.dense", 16, 8);
  AddLinear(shapes, layer + "output.dense", 8, 16);
  AddNorm(shapes, layer + "output.LayerNorm");

  const std::vector<std::pair<int, std::vector<int64_t>>> head = {
      {0, {6, 8}}, {2, {5, 6}}, {4, {4, 5}}, {6, {3, 4}}, {7, {1, 3}}};
  for (const auto& [place, sizes] : head)
    AddLinear(shapes, absl::StrCat("mlp.layers.", place), sizes[0], sizes[1]);
  return shapes;
}

/// Writes the folder of a `blip-reward` of a few kilobytes, whose vocabulary is the letters.
inline absl::Status WriteTinyReward(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  NamedTensors tensors;
  for (const auto& [name, shape] : TinyRewardShapes()) {
    const int64_t count = at::empty(shape, at::kFloat).numel();
    const double start = static_cast<double>(tensors.size());
    tensors.emplace_back(name, at::arange(count, at::kFloat).mul(1.7).add(start).sin().reshape(shape));
  }
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (char letter = 'a'; letter <= 'z'; ++letter) absl::StrAppend(&vocabulary, std::string(1, letter), "\n");
  const absl::Status weights = WriteSafetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  if (!weights.ok()) return weights;
  const absl::Status words = WriteFileAtomically(folder / "vocab.txt", vocabulary);
  if (!words.ok()) return words;
  return WriteFileAtomically(folder / "config.json", R"({
    "model_type": "image_reward", "head_sizes": [6, 5, 4, 3, 1],
    "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
                      "num_attention_heads": 2, "image_size": 16, "patch_size": 8},
    "text_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
                    "num_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 40}})");
}

}  // namespace rsidiff::worker
