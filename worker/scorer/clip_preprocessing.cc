#include "worker/scorer/clip_preprocessing.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {
namespace {

using ResizeRule = ClipPreprocessing::ResizeRule;

constexpr int64_t kMaxSide = 1 << 14;

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

std::array<double, 3> Channels(JsonConfig& json, const std::string& key,
                               const std::array<double, 3>& fallback) {
  const std::vector<double> values = json.Numbers(key, {fallback.begin(), fallback.end()});
  if (values.size() == 3) return {values[0], values[1], values[2]};
  json.AddProblem(absl::StrCat(key, " should have 3 numbers, not ", values.size()));
  return {1, 1, 1};
}

absl::Status ReadSizes(JsonConfig& json, ClipPreprocessing& made) {
  JsonConfig size = json.Object("size");
  if (!json.Bool("do_resize", true)) {
    made.resize = ResizeRule::kNone;
  } else {
    if (size.Has("height")) {
      made.resize = ResizeRule::kExact;
      made.exact_size = {Side(size, "height"), Side(size, "width")};
    } else {
      made.resize = ResizeRule::kShortestEdge;
      if (json.Has("size")) made.shortest_edge = Side(size, "shortest_edge");
    }
    RSIDIFF_RETURN_IF_ERROR(size.CheckAllRead());
  }
  JsonConfig crop = json.Object("crop_size");
  if (json.Bool("do_center_crop", true)) {
    if (json.Has("crop_size")) made.output_size = {Side(crop, "height"), Side(crop, "width")};
    return crop.CheckAllRead();
  }
  if (made.resize == ResizeRule::kExact) {
    made.output_size = made.exact_size;
  } else {
    json.AddProblem(
        "do_center_crop false needs do_resize and a size with height and width, or pictures differ in size");
  }
  return absl::OkStatus();
}

void ReadArithmetic(JsonConfig& json, ClipPreprocessing& made) {
  const std::string arithmetic = json.String("resize_arithmetic", "");
  if (arithmetic == "pillow") {
    made.arithmetic = ResizeArithmetic::kPillow;
  } else if (arithmetic == "float_antialias") {
    made.arithmetic = ResizeArithmetic::kFloatAntialias;
  } else if (arithmetic == "float") {
    made.arithmetic = ResizeArithmetic::kFloat;
  } else if (!arithmetic.empty()) {
    json.AddProblem(absl::StrCat("resize_arithmetic should be pillow, float_antialias or float, not \"",
                                 arithmetic, "\""));
  }
  const std::string rounding = json.String("crop_rounding", "");
  if (rounding == "down") {
    made.crop_rounding = CropRounding::kDown;
  } else if (rounding == "to_even") {
    made.crop_rounding = CropRounding::kToEven;
  } else if (!rounding.empty()) {
    json.AddProblem(absl::StrCat("crop_rounding should be down or to_even, not \"", rounding, "\""));
  }
}

std::string SizeText(const ClipPreprocessing::Size& size) {
  return absl::StrCat(size.height, "x", size.width);
}

const char* ArithmeticText(ResizeArithmetic arithmetic) {
  switch (arithmetic) {
    case ResizeArithmetic::kPillow:
      return "pillow";
    case ResizeArithmetic::kFloatAntialias:
      return "float_antialias";
    case ResizeArithmetic::kFloat:
      return "float";
  }
  return "unknown";
}

std::string ResizeText(const ClipPreprocessing& preprocessing) {
  switch (preprocessing.resize) {
    case ResizeRule::kNone:
      return "no resize";
    case ResizeRule::kShortestEdge:
      return absl::StrCat("shortest edge ", preprocessing.shortest_edge);
    case ResizeRule::kExact:
      return SizeText(preprocessing.exact_size);
  }
  return "unknown";
}

std::string ChannelsText(const std::optional<std::array<double, 3>>& channels) {
  return channels.has_value() ? absl::StrJoin(*channels, " ") : "none";
}

}  // namespace

absl::StatusOr<ClipPreprocessing> LoadClipPreprocessing(const std::filesystem::path& folder,
                                                        const ClipPreprocessing& defaults) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, LoadWithSizeObjects(folder / "preprocessor_config.json"));
  ClipPreprocessing made = defaults;
  RSIDIFF_RETURN_IF_ERROR(ReadSizes(json, made));
  ReadArithmetic(json, made);
  made.rescale_factor = json.Number("rescale_factor", defaults.rescale_factor);
  if (!json.Bool("do_rescale", true)) made.rescale_factor = 1;
  const ClipPreprocessing clip;
  made.mean = Channels(json, "image_mean", defaults.mean.value_or(*clip.mean));
  made.deviation = Channels(json, "image_std", defaults.deviation.value_or(*clip.deviation));
  if (!json.Bool("do_normalize", true)) made.mean = made.deviation = std::nullopt;
  CheckRemainingKeys(json);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return made;
}

absl::Status CheckSamePreprocessing(const ClipPreprocessing& found, const ClipPreprocessing& wanted) {
  std::vector<std::string> differences;
  const auto compare = [&differences](absl::string_view key, const std::string& is,
                                      const std::string& should) {
    if (is != should) differences.push_back(absl::StrCat(key, " is ", is, ", not ", should));
  };
  compare("size", ResizeText(found), ResizeText(wanted));
  compare("crop_size", SizeText(found.output_size), SizeText(wanted.output_size));
  compare("resize_arithmetic", ArithmeticText(found.arithmetic), ArithmeticText(wanted.arithmetic));
  const auto rounding = [](CropRounding r) { return r == CropRounding::kDown ? "down" : "to_even"; };
  compare("crop_rounding", rounding(found.crop_rounding), rounding(wanted.crop_rounding));
  // Six digits, so that 0.00392156862745098 and 1/255 are one.
  compare("rescale_factor", absl::StrCat(found.rescale_factor), absl::StrCat(wanted.rescale_factor));
  compare("image_mean", ChannelsText(found.mean), ChannelsText(wanted.mean));
  compare("image_std", ChannelsText(found.deviation), ChannelsText(wanted.deviation));
  if (differences.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("preprocessor_config.json: ", absl::StrJoin(differences, "; ")));
}

}  // namespace rsidiff::worker
