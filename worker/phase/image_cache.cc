#include "worker/phase/image_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"

namespace rsidiff::worker {

void ImageCache::Put(const std::string& digest, std::shared_ptr<const Image> image) {
  if (index_.count(digest) > 0) return;
  bytes_ += image->rgb.size();
  entries_.push_front({digest, std::move(image)});
  index_[digest] = entries_.begin();
  Evict();
}

absl::StatusOr<std::shared_ptr<const Image>> ImageCache::Get(const std::string& digest,
                                                             ArtifactStore& store) {
  auto found = index_.find(digest);
  if (found != index_.end()) {
    entries_.splice(entries_.begin(), entries_, found->second);
    return entries_.front().image;
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::string bytes, store.Get(digest));
  absl::StatusOr<Image> image = DecodePng(bytes);
  if (!image.ok()) return Annotate(image.status(), absl::StrCat("picture ", digest));
  auto shared = std::make_shared<const Image>(*std::move(image));
  Put(digest, shared);
  return shared;
}

void ImageCache::Evict() {
  while (bytes_ > capacity_bytes_ && !entries_.empty()) {
    bytes_ -= entries_.back().image->rgb.size();
    index_.erase(entries_.back().digest);
    entries_.pop_back();
  }
}

}  // namespace rsidiff::worker
