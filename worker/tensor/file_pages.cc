#include "worker/tensor/file_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace rsidiff::worker {
namespace {

// A page's entry in /proc/self/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst).
constexpr uint64_t kOfAFile = uint64_t{1} << 61;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kPresent = uint64_t{1} << 63;

// Whether none of the pages [first, last), by number, holds bytes that only this process has.
bool AllOfAFile(uint64_t first, uint64_t last) {
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return false;
  bool all = true;
  std::array<uint64_t, 512> entries;
  for (uint64_t page = first; all && page < last;) {
    const size_t count = std::min<uint64_t>(entries.size(), last - page);
    const ssize_t read = pread(pagemap, entries.data(), count * sizeof(uint64_t), page * sizeof(uint64_t));
    if (read < static_cast<ssize_t>(sizeof(uint64_t))) {
      all = false;
      break;
    }
    const size_t known = static_cast<size_t>(read) / sizeof(uint64_t);
    all = std::all_of(entries.begin(), entries.begin() + known, [](uint64_t entry) {
      return (entry & kSwapped) == 0 && ((entry & kPresent) == 0 || (entry & kOfAFile) != 0);
    });
    page += known;
  }
  close(pagemap);
  return all;
}

}  // namespace

int64_t ReleaseFilePages(const at::Tensor& tensor) {
  if (!tensor.is_cpu() || !tensor.is_non_overlapping_and_dense()) return 0;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uint64_t first = (begin + page - 1) / page, last = (begin + tensor.nbytes()) / page;
  if (first >= last || !AllOfAFile(first, last)) return 0;
  const uint64_t bytes = (last - first) * page;
  if (madvise(reinterpret_cast<void*>(first * page), bytes, MADV_DONTNEED) != 0) return 0;
  return static_cast<int64_t>(bytes);
}

}  // namespace rsidiff::worker
