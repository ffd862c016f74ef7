#include "worker/train/gradient_buckets.h"

#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "common/base/fault_point.h"

namespace rsidiff::worker {

class GradientBuckets::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientBuckets& buckets, size_t slot) : buckets_(buckets), slot_(slot) {}
  void operator()(const torch::autograd::Variable& leaf) override { buckets_.OnGradient(slot_, leaf); }

 private:
  GradientBuckets& buckets_;
  size_t slot_;
};

GradientBuckets::GradientBuckets(const FlatLayout& layout, const NamedTensors& leaves, at::Device device)
    : layout_(layout), flats_(layout.Allocate(device)), slots_of_(layout.bucket_count(), 0) {
  for (size_t i = 0; i < leaves.size(); ++i) {
    at::Tensor leaf = leaves[i].second;
    leaf.set_requires_grad(true);
    views_.push_back(layout.View(flats_, layout.slots()[i]));
    ++slots_of_[layout.slots()[i].bucket];
    torch::autograd::impl::set_post_acc_grad_hooks(leaf, std::make_unique<Hook>(*this, i));
    leaves_.push_back(std::move(leaf));
  }
}

GradientBuckets::~GradientBuckets() {
  for (at::Tensor& leaf : leaves_) {
    torch::autograd::impl::set_post_acc_grad_hooks(leaf, nullptr);
    leaf.mutable_grad().reset();
    leaf.set_requires_grad(false);
  }
}

void GradientBuckets::Begin(ProcessGroup* group) {
  group_ = group;
  reducing_ = false;
  next_bucket_ = 0;
  remaining_ = slots_of_;
  pending_.clear();
  status_ = absl::OkStatus();
  for (const at::Tensor& flat : flats_) flat.zero_();
  for (size_t i = 0; i < leaves_.size(); ++i) {
    if (leaves_[i].scalar_type() == at::kFloat) leaves_[i].mutable_grad() = views_[i];
  }
}

void GradientBuckets::OnGradient(size_t slot, const at::Tensor& leaf) {
  if (!leaf.grad().is_alias_of(views_[slot])) {
    views_[slot].add_(leaf.grad());
    leaf.mutable_grad().reset();
  }
  if (!reducing_) return;
  --remaining_[layout_.slots()[slot].bucket];
  StartReady();
}

void GradientBuckets::StartReady() {
  while (status_.ok() && next_bucket_ < flats_.size() && remaining_[next_bucket_] == 0) {
    absl::StatusOr<ProcessGroup::Pending> pending = group_->StartSum(flats_[next_bucket_]);
    if (!pending.ok()) {
      status_ = pending.status();
      return;
    }
    pending_.push_back(*std::move(pending));
    ++next_bucket_;
    FaultPoint("train.reduce");
  }
}

absl::Status GradientBuckets::Finish() {
  if (group_ == nullptr) return absl::OkStatus();
  // A member without samples ran no backward, and a parameter may have got no gradient.
  remaining_.assign(remaining_.size(), 0);
  StartReady();
  for (const ProcessGroup::Pending& pending : pending_) {
    const absl::Status waited = group_->Wait(pending);
    if (status_.ok()) status_ = waited;
  }
  pending_.clear();
  return status_;
}

}  // namespace rsidiff::worker
