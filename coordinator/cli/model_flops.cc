#include "coordinator/cli/model_flops.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/model_config.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr double kFlopsOfAMultiplyAdd = 2;
constexpr double kPromptTokens = 77;
constexpr uint64_t kLargest = 1u << 20;  // of any number in a configuration
constexpr size_t kMostBlocks = 16;

/// A model's config.json. A value that makes no sense is noted, and 1 is taken in its place.
class Config {
 public:
  Config(nlohmann::json json, std::string name) : json_(std::move(json)), name_(std::move(name)) {}

  static absl::StatusOr<Config> Read(const fs::path& path) {
    RSIDIFF_ASSIGN_OR_RETURN(nlohmann::json json, ReadModelConfig(path));
    return Config(std::move(json), path.string());
  }

  bool Has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }

  Config Section(const char* key) const {
    const bool there = Has(key) && json_.at(key).is_object();
    return Config(there ? json_.at(key) : nlohmann::json::object(), absl::StrCat(name_, ": ", key));
  }

  double Number(const char* key, double otherwise) {
    return Has(key) ? Checked(json_.at(key), key) : otherwise;
  }

  /// One number for each of `count` blocks, or one for all of them.
  std::vector<double> Numbers(const char* key, size_t count, double otherwise) {
    if (!Has(key) || !json_.at(key).is_array()) return std::vector<double>(count, Number(key, otherwise));
    std::vector<double> values;
    for (const nlohmann::json& value : json_.at(key)) values.push_back(Checked(value, key));
    if (values.size() != count) Note(key);
    values.resize(count, 1);
    return values;
  }

  std::vector<double> Channels(std::vector<double> otherwise) {
    constexpr const char* kKey = "block_out_channels";
    if (!Has(kKey)) return otherwise;
    const nlohmann::json& list = json_.at(kKey);
    if (!list.is_array() || list.empty() || list.size() > kMostBlocks) {
      Note(kKey);
      return {1};
    }
    return Numbers(kKey, list.size(), 1);
  }

  /// Which blocks have attention.
  std::vector<bool> CrossAttention(const char* key, std::vector<bool> otherwise) {
    if (!Has(key)) return otherwise;
    std::vector<bool> blocks;
    for (const nlohmann::json& type : json_.at(key)) {
      blocks.push_back(type.is_string() && absl::StartsWith(type.get<std::string>(), "CrossAttn"));
    }
    return blocks;
  }

  absl::Status status() const {
    if (bad_key_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(bad_key_, " makes no sense: ", name_));
  }

 private:
  double Checked(const nlohmann::json& value, const char* key) {
    if (value.is_number_unsigned() && value.get<uint64_t>() <= kLargest) return value.get<double>();
    Note(key);
    return 1;
  }
  void Note(const char* key) {
    if (bad_key_.empty()) bad_key_ = key;
  }

  nlohmann::json json_;
  std::string name_;
  std::string bad_key_;
};

/// Multiply-adds of the layers that a latent of `cells` cells goes through.
struct Plane {
  double cells = 0;

  double Conv(double in, double out, double kernel) const { return in * out * kernel * kernel * cells; }
  /// Two 3x3 convolutions, the time embedding's projection, and a shortcut where the width changes.
  double Resnet(double in, double out, double time) const {
    return Conv(in, out, 3) + time * out + Conv(out, out, 3) + (in == out ? 0 : Conv(in, out, 1));
  }
  double SelfAttention(double width) const { return 4 * width * width * cells + 2 * cells * cells * width; }
  /// Projections in and out, and `layers` of self-attention, cross-attention and a GEGLU of 4 times the
  /// width.
  double Transformer(double width, double context, double layers) const {
    const double cross =
        2 * width * width * cells + 2 * context * width * kPromptTokens + 2 * cells * kPromptTokens * width;
    return 2 * width * width * cells + layers * (SelfAttention(width) + cross + 12 * width * width * cells);
  }
  Plane Halved() const { return {cells / 4}; }
  Plane Doubled() const { return {cells * 4}; }
};

struct UnetShape {
  std::vector<double> channels;
  std::vector<bool> down, up;  // have attention
  std::vector<double> layers, transformers, context;
  double in = 4;
  double out = 4;
  double time() const { return 4 * channels[0]; }
};

absl::StatusOr<UnetShape> ReadUnet(const fs::path& path) {
  RSIDIFF_ASSIGN_OR_RETURN(Config config, Config::Read(path));
  UnetShape shape;
  shape.channels = config.Channels({320, 640, 1280, 1280});
  const size_t blocks = shape.channels.size();
  shape.down = config.CrossAttention("down_block_types", {true, true, true, false});
  shape.up = config.CrossAttention("up_block_types", {false, true, true, true});
  shape.layers = config.Numbers("layers_per_block", blocks, 2);
  shape.transformers = config.Numbers("transformer_layers_per_block", blocks, 1);
  shape.context = config.Numbers("cross_attention_dim", blocks, 1280);
  shape.in = config.Number("in_channels", 4);
  shape.out = config.Number("out_channels", 4);
  RSIDIFF_RETURN_IF_ERROR(config.status());
  if (shape.down.size() != blocks || shape.up.size() != blocks) {
    return absl::InvalidArgumentError(absl::StrCat(
        "down_block_types, up_block_types and block_out_channels differ in length: ", path.string()));
  }
  return shape;
}

double UnetMultiplyAdds(const UnetShape& shape, Plane plane) {
  const std::vector<double>& channels = shape.channels;
  const size_t blocks = channels.size();
  double sum =
      channels[0] * shape.time() + shape.time() * shape.time() + plane.Conv(shape.in, channels[0], 3);
  double width = channels[0];
  std::vector<double> skips = {width};
  for (size_t i = 0; i < blocks; ++i) {
    for (int layer = 0; layer < static_cast<int>(shape.layers[i]); ++layer) {
      sum += plane.Resnet(width, channels[i], shape.time());
      width = channels[i];
      if (shape.down[i]) sum += plane.Transformer(width, shape.context[i], shape.transformers[i]);
      skips.push_back(width);
    }
    if (i + 1 == blocks) continue;
    plane = plane.Halved();
    sum += plane.Conv(width, width, 3);
    skips.push_back(width);
  }
  sum += 2 * plane.Resnet(width, width, shape.time()) +
         plane.Transformer(width, shape.context.back(), shape.transformers.back());
  for (size_t up = 0; up < blocks; ++up) {
    const size_t i = blocks - 1 - up;
    for (int layer = 0; layer < static_cast<int>(shape.layers[i]) + 1; ++layer) {
      const double skip = skips.empty() ? 0 : skips.back();
      if (!skips.empty()) skips.pop_back();
      sum += plane.Resnet(width + skip, channels[i], shape.time());
      width = channels[i];
      if (shape.up[up]) sum += plane.Transformer(width, shape.context[i], shape.transformers[i]);
    }
    if (up + 1 == blocks) continue;
    plane = plane.Doubled();
    sum += plane.Conv(width, width, 3);
  }
  return sum + plane.Conv(width, shape.out, 3);
}

struct VaeShape {
  std::vector<double> channels;
  double layers = 1;
  double latents = 4;
  double pictures = 3;
};

absl::StatusOr<VaeShape> ReadVae(const fs::path& path) {
  RSIDIFF_ASSIGN_OR_RETURN(Config config, Config::Read(path));
  VaeShape shape;
  shape.channels = config.Channels({64});
  shape.layers = config.Number("layers_per_block", 1);
  shape.latents = config.Number("latent_channels", 4);
  shape.pictures = config.Number("out_channels", 3);
  RSIDIFF_RETURN_IF_ERROR(config.status());
  return shape;
}

double VaeMiddle(double width, Plane plane) {
  return 2 * plane.Resnet(width, width, 0) + plane.SelfAttention(width);
}

double DecoderMultiplyAdds(const VaeShape& shape, Plane plane) {
  double width = shape.channels.back();
  double sum = plane.Conv(shape.latents, shape.latents, 1) + plane.Conv(shape.latents, width, 3) +
               VaeMiddle(width, plane);
  for (size_t i = shape.channels.size(); i-- > 0;) {
    for (int layer = 0; layer < static_cast<int>(shape.layers) + 1; ++layer) {
      sum += plane.Resnet(width, shape.channels[i], 0);
      width = shape.channels[i];
    }
    if (i == 0) continue;
    plane = plane.Doubled();
    sum += plane.Conv(width, width, 3);
  }
  return sum + plane.Conv(width, shape.pictures, 3);
}

double EncoderMultiplyAdds(const VaeShape& shape, Plane latent) {
  Plane plane = latent;
  for (size_t i = 1; i < shape.channels.size(); ++i) plane = plane.Doubled();
  double width = shape.channels[0];
  double sum = plane.Conv(shape.pictures, width, 3);
  for (size_t i = 0; i < shape.channels.size(); ++i) {
    for (int layer = 0; layer < static_cast<int>(shape.layers); ++layer) {
      sum += plane.Resnet(width, shape.channels[i], 0);
      width = shape.channels[i];
    }
    if (i + 1 == shape.channels.size()) continue;
    plane = plane.Halved();
    sum += plane.Conv(width, width, 3);
  }
  const double moments = 2 * shape.latents;
  return sum + VaeMiddle(width, plane) + plane.Conv(width, moments, 3) + plane.Conv(moments, moments, 1);
}

/// A CLIP tower over `tokens` tokens.
double TowerMultiplyAdds(Config& config, double tokens, double width, double inner) {
  width = config.Number("hidden_size", width);
  inner = config.Number("intermediate_size", inner);
  const double layer = Plane{tokens}.SelfAttention(width) + 2 * width * inner * tokens;
  return config.Number("num_hidden_layers", 12) * layer;
}

double TextTower(Config& config) {
  return TowerMultiplyAdds(config, config.Number("max_position_embeddings", kPromptTokens), 512, 2048);
}

}  // namespace

absl::StatusOr<PipelineFlops> CountPipelineFlops(const fs::path& model, PictureSize picture) {
  RSIDIFF_ASSIGN_OR_RETURN(const UnetShape unet, ReadUnet(model / "unet/config.json"));
  RSIDIFF_ASSIGN_OR_RETURN(const VaeShape vae, ReadVae(model / "vae/config.json"));
  RSIDIFF_ASSIGN_OR_RETURN(Config text, Config::Read(model / "text_encoder/config.json"));
  const double scale = static_cast<double>(1u << (vae.channels.size() - 1));
  const Plane latent{picture.width / scale * (picture.height / scale)};
  PipelineFlops flops;
  flops.unet = kFlopsOfAMultiplyAdd * UnetMultiplyAdds(unet, latent);
  flops.vae_decode = kFlopsOfAMultiplyAdd * DecoderMultiplyAdds(vae, latent);
  flops.vae_encode = kFlopsOfAMultiplyAdd * EncoderMultiplyAdds(vae, latent);
  flops.text = kFlopsOfAMultiplyAdd * TextTower(text);
  RSIDIFF_RETURN_IF_ERROR(text.status());
  return flops;
}

absl::StatusOr<ClipFlops> CountClipFlops(const fs::path& folder) {
  const absl::StatusOr<Config> config = Config::Read(folder / "config.json");
  if (!config.ok() || !config->Has("vision_config") || !config->Has("text_config")) {
    return absl::NotFoundError(absl::StrCat("no CLIP model: ", folder.string()));
  }
  Config vision = config->Section("vision_config");
  Config text = config->Section("text_config");
  const double patch = vision.Number("patch_size", 32);
  const double side = vision.Number("image_size", 224) / (patch > 0 ? patch : 1);
  const double patches = side * side;
  const double width = vision.Number("hidden_size", 768);
  const double image =
      Plane{patches}.Conv(3, width, patch) + TowerMultiplyAdds(vision, patches + 1, 768, 3072);
  ClipFlops flops;
  flops.image = kFlopsOfAMultiplyAdd * image;
  flops.text = kFlopsOfAMultiplyAdd * TextTower(text);
  RSIDIFF_RETURN_IF_ERROR(vision.status());
  RSIDIFF_RETURN_IF_ERROR(text.status());
  return flops;
}

}  // namespace rsidiff::coordinator
