#include "worker/phase/prompt_cover.h"

#include <algorithm>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"

namespace rsidiff::worker {
namespace {

// Kept prompts that lie in one tensor, and that a block is compared with at once: bounds the product's size.
constexpr int64_t kAtOnce = 16'384;

class Cover {
 public:
  Cover(const v1::FilterWork& work, c10::Device device) : work_(work), device_(device) {}

  // Judges the next prompts: `block` [n, D] fp32 on the CPU.
  void Add(const at::Tensor& block, const at::Tensor& empty);
  uint32_t judged() const { return judged_; }
  v1::FilterResult TakeResult() { return std::move(result_); }

 private:
  struct Near {
    float similarity = -2;
    uint32_t prompt = 0;
  };
  // The nearest kept prompt to each row of `block`, of those before it.
  std::vector<Near> NearestKept(const at::Tensor& block) const;
  void Reject(uint32_t prompt, uint32_t nearest, double similarity);
  void Keep(const at::Tensor& rows, const std::vector<uint32_t>& prompts);

  const v1::FilterWork& work_;
  const c10::Device device_;
  uint32_t judged_ = 0;
  std::vector<uint32_t> kept_;  // prompts
  // Their embeddings on the device: kAtOnce a tensor, the last one with room for more. Growing copies
  // nothing, so that never more than the kept rows are held.
  std::vector<at::Tensor> rows_;
  v1::FilterResult result_;
};

std::vector<Cover::Near> Cover::NearestKept(const at::Tensor& block) const {
  std::vector<Near> nearest(static_cast<size_t>(block.size(0)));
  const at::Tensor here = block.to(device_);
  for (int64_t begin = 0; begin < static_cast<int64_t>(kept_.size()); begin += kAtOnce) {
    const int64_t end = std::min(begin + kAtOnce, static_cast<int64_t>(kept_.size()));
    const at::Tensor& rows = rows_[static_cast<size_t>(begin / kAtOnce)];
    const auto [best, at] = here.matmul(rows.slice(0, 0, end - begin).t()).max(1);
    const at::Tensor similarities = best.to(at::kCPU).contiguous();
    const at::Tensor places = at.to(at::kCPU).contiguous();
    for (size_t i = 0; i < nearest.size(); ++i) {
      const float similarity = similarities.const_data_ptr<float>()[i];
      if (similarity <= nearest[i].similarity) continue;
      nearest[i] = {similarity, kept_[static_cast<size_t>(begin + places.const_data_ptr<int64_t>()[i])]};
    }
  }
  return nearest;
}

void Cover::Reject(uint32_t prompt, uint32_t nearest, double similarity) {
  result_.add_rejected(prompt);
  result_.add_nearest(nearest);
  result_.add_distances(std::max(0.0, 1 - similarity));
}

void Cover::Keep(const at::Tensor& rows, const std::vector<uint32_t>& prompts) {
  for (int64_t begin = 0; begin < rows.size(0);) {
    const int64_t place = (static_cast<int64_t>(kept_.size()) + begin) % kAtOnce;
    if (place == 0) rows_.push_back(at::empty({kAtOnce, rows.size(1)}, rows.options().device(device_)));
    const int64_t count = std::min(kAtOnce - place, rows.size(0) - begin);
    rows_.back().slice(0, place, place + count).copy_(rows.slice(0, begin, begin + count));
    begin += count;
  }
  kept_.insert(kept_.end(), prompts.begin(), prompts.end());
}

void Cover::Add(const at::Tensor& block, const at::Tensor& empty) {
  const bool covers = work_.distance() > 0;
  std::vector<Near> nearest(static_cast<size_t>(block.size(0)));
  if (covers) nearest = NearestKept(block);
  const at::Tensor to_empty = block.matmul(empty).contiguous();
  const at::Tensor among = covers ? block.matmul(block.t()).contiguous() : at::Tensor();
  std::vector<int64_t> kept;  // rows of the block
  std::vector<uint32_t> prompts;
  for (int64_t row = 0; row < block.size(0); ++row) {
    const uint32_t prompt = judged_ + static_cast<uint32_t>(row);
    const double vague = to_empty.const_data_ptr<float>()[row];
    if (1 - vague < work_.specificity()) {
      Reject(prompt, prompt, vague);
      continue;
    }
    Near near = nearest[static_cast<size_t>(row)];
    for (int64_t other : kept) {
      if (!covers) break;
      const float similarity = among.const_data_ptr<float>()[row * block.size(0) + other];
      if (similarity > near.similarity) near = {similarity, judged_ + static_cast<uint32_t>(other)};
    }
    if (covers && 1 - static_cast<double>(near.similarity) < work_.distance()) {
      Reject(prompt, near.prompt, near.similarity);
      continue;
    }
    kept.push_back(row);
    prompts.push_back(prompt);
  }
  judged_ += static_cast<uint32_t>(block.size(0));
  if (covers && !kept.empty()) Keep(block.index_select(0, at::tensor(kept)), prompts);
}

}  // namespace

absl::StatusOr<v1::FilterResult> CoverPrompts(const v1::FilterWork& work, PhaseContext& context,
                                              TaskControl& control) {
  Cover cover(work, context.device);
  TaskParts parts(control, work.embeddings_size());
  int64_t width = 0;
  for (const std::string& digest : work.embeddings()) {
    RSIDIFF_RETURN_IF_ERROR(parts.Begin());
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor block, ReadTensor(context.store, digest, "embeddings", 2));
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor empty, ReadTensor(context.store, digest, "empty", 1));
    if (width == 0) width = block.size(1);
    if (block.size(1) != width || empty.size(0) != width) {
      return absl::InvalidArgumentError(absl::StrCat("artifact ", digest, ": embeddings of length ",
                                                     block.size(1), " and ", empty.size(0), ", not ", width));
    }
    cover.Add(block.to(at::kFloat).contiguous(), empty.to(at::kFloat));
  }
  if (cover.judged() != work.prompts()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the embeddings files hold ", cover.judged(), " prompts, not ", work.prompts()));
  }
  return cover.TakeResult();
}

}  // namespace rsidiff::worker
