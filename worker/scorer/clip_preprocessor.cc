#include "worker/scorer/clip_preprocessor.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/resize.h"
#include "nlohmann/json.hpp"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {
namespace {

constexpr int64_t kMaxSide = 1 << 14;
constexpr int64_t kMaxResizedBytes = int64_t{1} << 28;

/// Reads the file; sizes that older files write as a number become the objects of newer ones.
absl::StatusOr<JsonConfig> LoadWithSizeObjects(const std::filesystem::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": not a JSON object"));
  if (auto size = json.find("size"); size != json.end() && size->is_number()) {
    *size = nlohmann::json{{"shortest_edge", *size}};
  }
  if (auto crop = json.find("crop_size"); crop != json.end() && crop->is_number()) {
    *crop = nlohmann::json{{"height", *crop}, {"width", *crop}};
  }
  return JsonConfig::Parse(json.dump(), file.string());
}

int64_t Side(JsonConfig& json, const std::string& key) {
  const int64_t side = json.RequiredInt(key);
  if (side >= 1 && side <= kMaxSide) return side;
  json.AddProblem(absl::StrCat(key, " should be between 1 and ", kMaxSide, ", not ", side));
  return 1;
}

/// The keys that every image processor may carry and that change nothing for an RGB picture.
void CheckRemainingKeys(JsonConfig& json) {
  json.RequireValue("resample", {"3", "null"});  // bicubic
  json.RequireValue("data_format", {"\"channels_first\"", "null"});
  json.RequireValue("default_to_square", {"false", "null"});
  json.RequireValue("use_square_size", {"false", "null"});
  json.RequireValue("do_pad", {"false", "null"});
  json.RequireValue("crop_pct", {"null"});
  json.RequireValue("image_processor_type",
                    {"\"CLIPImageProcessor\"", "\"CLIPImageProcessorFast\"", "\"CLIPImageProcessorPil\"",
                     "\"CLIPFeatureExtractor\"", "null"});
  json.RequireValue("feature_extractor_type", {"\"CLIPFeatureExtractor\"", "\"CLIPImageProcessor\"", "null"});
  json.Ignore({"do_convert_rgb", "device", "disable_grouping", "input_data_format", "return_tensors",
               "pad_size", "processor_class", "image_seq_length"});
}

std::vector<double> Channels(JsonConfig& json, const std::string& key, std::vector<double> fallback) {
  std::vector<double> values = json.Numbers(key, std::move(fallback));
  if (values.size() == 3) return values;
  json.AddProblem(absl::StrCat(key, " should have 3 numbers, not ", values.size()));
  return {1, 1, 1};
}

}  // namespace

absl::StatusOr<ClipPreprocessor> ClipPreprocessor::Load(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, LoadWithSizeObjects(folder / "preprocessor_config.json"));
  ClipPreprocessor made;
  JsonConfig size = json.Object("size");
  if (json.Bool("do_resize", true)) {
    made.resize_ = size.Has("height") ? ResizeRule::kExact : ResizeRule::kShortestEdge;
    if (made.resize_ == ResizeRule::kExact) {
      made.exact_size_ = {Side(size, "height"), Side(size, "width")};
    } else {
      made.shortest_edge_ = json.Has("size") ? Side(size, "shortest_edge") : 224;
    }
    RSIDIFF_RETURN_IF_ERROR(size.CheckAllRead());
  }
  JsonConfig crop = json.Object("crop_size");
  if (json.Bool("do_center_crop", true)) {
    made.output_size_ =
        json.Has("crop_size") ? Size{Side(crop, "height"), Side(crop, "width")} : Size{224, 224};
    RSIDIFF_RETURN_IF_ERROR(crop.CheckAllRead());
  } else if (made.resize_ == ResizeRule::kExact) {
    made.output_size_ = made.exact_size_;
  } else {
    json.AddProblem(
        "do_center_crop false needs do_resize and a size with height and width, or pictures differ in size");
  }

  const bool rescale = json.Bool("do_rescale", true);
  const double factor = json.Number("rescale_factor", 1.0 / 255.0);
  const bool normalise = json.Bool("do_normalize", true);
  const std::vector<double> mean = Channels(json, "image_mean", {0.48145466, 0.4578275, 0.40821073});
  const std::vector<double> deviation = Channels(json, "image_std", {0.26862954, 0.26130258, 0.27577711});
  for (int channel = 0; channel < 3; ++channel) {
    for (int level = 0; level < 256; ++level) {
      // transformers multiplies in double, rounds to float, and normalises in float.
      float value = rescale ? static_cast<float>(level * factor) : static_cast<float>(level);
      if (normalise) {
        value = (value - static_cast<float>(mean[channel])) / static_cast<float>(deviation[channel]);
      }
      made.levels_[channel][level] = value;
    }
  }
  CheckRemainingKeys(json);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return made;
}

absl::StatusOr<ClipPreprocessor::Size> ClipPreprocessor::ResizedSize(const Image& image) const {
  if (resize_ == ResizeRule::kNone) return Size{image.height, image.width};
  if (resize_ == ResizeRule::kExact) return exact_size_;
  const int64_t shorter = std::min(image.height, image.width);
  const int64_t longer = std::max(image.height, image.width);
  const auto scaled =
      static_cast<int64_t>(static_cast<double>(shortest_edge_ * longer) / static_cast<double>(shorter));
  if (scaled * shortest_edge_ * 3 > kMaxResizedBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("picture too elongated to resize: ", image.width, "x", image.height));
  }
  if (image.width <= image.height) return Size{scaled, shortest_edge_};
  return Size{shortest_edge_, scaled};
}

absl::StatusOr<at::Tensor> ClipPreprocessor::Preprocess(const Image& image) const {
  if (image.width < 1 || image.height < 1 || image.rgb.size() != size_t{3} * image.width * image.height) {
    return absl::InvalidArgumentError(absl::StrCat("empty or torn picture: ", image.width, "x", image.height,
                                                   ", ", image.rgb.size(), " bytes"));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const Size size, ResizedSize(image));
  if (size.height == image.height && size.width == image.width) return CropAndNormalise(image);
  return CropAndNormalise(ResizeBicubic(image, static_cast<int>(size.width), static_cast<int>(size.height)));
}

at::Tensor ClipPreprocessor::CropAndNormalise(const Image& image) const {
  const auto [height, width] = output_size_;
  // Floor division: transformers' offsets, also where the picture is the smaller and they are negative.
  const int64_t top = (image.height - height) >> 1;
  const int64_t left = (image.width - width) >> 1;
  at::Tensor pixels = at::empty({3, height, width}, at::kFloat);
  float* out = pixels.mutable_data_ptr<float>();
  for (int channel = 0; channel < 3; ++channel) {
    const std::array<float, 256>& levels = levels_[channel];
    for (int64_t y = 0; y < height; ++y) {
      const int64_t source_y = y + top;
      const bool row_inside = source_y >= 0 && source_y < image.height;
      for (int64_t x = 0; x < width; ++x) {
        const int64_t source_x = x + left;
        const bool inside = row_inside && source_x >= 0 && source_x < image.width;
        *out++ = levels[inside ? image.row(static_cast<int>(source_y))[3 * source_x + channel] : 0];
      }
    }
  }
  return pixels;
}

}  // namespace rsidiff::worker
