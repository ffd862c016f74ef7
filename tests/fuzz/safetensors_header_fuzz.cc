// libFuzzer target: any bytes as a safetensors file. Built with RSIDIFF_FUZZ (clang); under other compilers
// safetensors_header_replay_test.cc runs it over the corpus and over mutations of it.
#include "tests/fuzz/safetensors_header_fuzz.h"

#include <cstdlib>
#include <map>

#include "worker/tensor/safetensors_header.h"

namespace rsidiff::worker {

bool CheckSafetensorsHeader(absl::string_view bytes) {
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(bytes, bytes.size(), "fuzz");
  if (!header.ok()) return false;
  // What a reader relies on: every tensor inside the file, its size as its shape says, none overlapping.
  std::map<uint64_t, uint64_t> ranges;
  for (const auto& [name, tensor] : header->tensors) {
    unsigned __int128 size = SafetensorsElementSize(tensor.dtype);
    for (int64_t extent : tensor.shape) {
      if (extent < 0) std::abort();
      size *= static_cast<uint64_t>(extent);
    }
    if (tensor.begin < header->data_begin || tensor.end > bytes.size() || tensor.begin > tensor.end)
      std::abort();
    if (size != tensor.end - tensor.begin) std::abort();
    if (size > 0 && !ranges.emplace(tensor.begin, tensor.end).second) std::abort();
  }
  uint64_t covered = header->data_begin;
  for (const auto& [begin, end] : ranges) {
    if (begin != covered) std::abort();
    covered = end;
  }
  if (covered != bytes.size()) std::abort();
  return true;
}

}  // namespace rsidiff::worker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rsidiff::worker::CheckSafetensorsHeader({reinterpret_cast<const char*>(data), size});
  return 0;
}
