#include "coordinator/cli/picture_grid.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "coordinator/cli/bitmap_font.h"
#include "coordinator/cli/terminal.h"

namespace rsidiff::coordinator {
namespace {

constexpr int kGap = 6;
constexpr int kTextScale = 2;
constexpr int kLabelCharacters = 28;
constexpr int kSmallestCell = 96;
constexpr uint64_t kMaxPixels = 64u << 20;
constexpr Color kInk{40, 40, 40};

// Lines of at most `width` characters, broken at blanks where there are any.
std::vector<std::string> Wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    absl::StrAppend(&lines.back(), lines.back().empty() ? "" : " ", word);
  }
  for (std::string& line : lines) line = Truncated(line, static_cast<int>(width));
  return lines;
}

// Copies `from` to the given corner, every pixel `factor` times `factor` large.
void Paste(const Image& from, int left, int top, int factor, Image& to) {
  for (int y = 0; y < from.height * factor && top + y < to.height; ++y) {
    const uint8_t* source = from.row(y / factor);
    uint8_t* target = to.row(top + y);
    for (int x = 0; x < from.width * factor && left + x < to.width; ++x) {
      std::copy_n(source + 3 * (x / factor), 3, target + 3 * (left + x));
    }
  }
}

absl::StatusOr<std::vector<std::vector<Image>>> Decode(const PictureGrid& grid, ArtifactStore& store) {
  std::vector<std::vector<Image>> pictures;
  for (const std::vector<std::string>& row : grid.images) {
    pictures.emplace_back();
    for (const std::string& digest : row) {
      pictures.back().emplace_back();
      if (digest.empty()) continue;
      RSIDIFF_ASSIGN_OR_RETURN(const std::string png, store.Get(digest));
      absl::StatusOr<Image> image = DecodePng(png);
      if (!image.ok()) return Annotate(image.status(), absl::StrCat("picture ", digest));
      pictures.back().back() = *std::move(image);
    }
  }
  return pictures;
}

}  // namespace

absl::StatusOr<PictureGrid> CollectGrid(ControlClient& client, const v1::RunStatus& status, size_t rows) {
  PictureGrid grid;
  std::map<uint32_t, size_t> row_of_prompt;
  for (const v1::RoundRecord& round : status.rounds()) {
    if (!round.evaluation().complete()) continue;
    RSIDIFF_ASSIGN_OR_RETURN(const std::vector<v1::SampleRecord> samples,
                             client.ListSamples(status.run().id(), round.round(), v1::PURPOSE_EVALUATION));
    const size_t column = grid.rounds.size();
    grid.rounds.push_back(round.round());
    for (std::vector<std::string>& row : grid.images) row.resize(column + 1);
    for (const v1::SampleRecord& sample : samples) {
      if (sample.sample_index() != 0) continue;
      auto row = row_of_prompt.find(sample.prompt_id());
      if (row == row_of_prompt.end()) {
        if (row_of_prompt.size() == rows) continue;
        row = row_of_prompt.emplace(sample.prompt_id(), grid.prompts.size()).first;
        grid.prompts.push_back(sample.prompt());
        grid.images.emplace_back(column + 1);
      }
      grid.images[row->second][column] = sample.image();
    }
  }
  if (grid.prompts.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", status.run().id(), " has no round whose evaluation is complete"));
  }
  return grid;
}

absl::StatusOr<Image> DrawGrid(const PictureGrid& grid, ArtifactStore& store) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<std::vector<Image>> pictures, Decode(grid, store));
  int width = 1;
  int height = 1;
  for (const std::vector<Image>& row : pictures) {
    for (const Image& picture : row) {
      width = std::max(width, picture.width);
      height = std::max(height, picture.height);
    }
  }
  const int factor = std::max(1, (kSmallestCell + width - 1) / width);
  const int line = kGlyphLine * kTextScale;
  const int labels = kLabelCharacters * kGlyphAdvance * kTextScale + kGap;
  const int header = line + kGap;
  const int column_step = width * factor + kGap;
  const int row_step = height * factor + kGap;
  const uint64_t total_width = labels + uint64_t{grid.rounds.size()} * column_step + kGap;
  const uint64_t total_height = header + uint64_t{grid.prompts.size()} * row_step + kGap;
  if (total_width * total_height > kMaxPixels) {
    return absl::InvalidArgumentError(absl::StrCat("the grid would have ", total_width, " x ", total_height,
                                                   " pixels; ask for fewer rows"));
  }
  Image canvas = MakeImage(static_cast<int>(total_width), static_cast<int>(total_height));
  std::fill(canvas.rgb.begin(), canvas.rgb.end(), uint8_t{255});
  for (size_t column = 0; column < grid.rounds.size(); ++column) {
    const std::string title = grid.rounds[column] == 0 ? "base" : absl::StrCat("round ", grid.rounds[column]);
    const int x = labels + static_cast<int>(column) * column_step;
    DrawText(title, {x, kGap, kTextScale, kInk}, canvas);
    for (size_t row = 0; row < pictures.size(); ++row) {
      Paste(pictures[row][column], x, header + static_cast<int>(row) * row_step, factor, canvas);
    }
  }
  for (size_t row = 0; row < grid.prompts.size(); ++row) {
    int y = header + static_cast<int>(row) * row_step;
    const int bottom = y + row_step - kGap;
    for (const std::string& text : Wrapped(grid.prompts[row], kLabelCharacters)) {
      if (y + line > bottom) break;
      DrawText(text, {kGap, y, kTextScale, kInk}, canvas);
      y += line;
    }
  }
  return canvas;
}

}  // namespace rsidiff::coordinator
