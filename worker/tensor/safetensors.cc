#include "worker/tensor/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "worker/tensor/mapped_file.h"

namespace rsidiff::worker {
namespace {

struct DtypeName {
  absl::string_view name;
  at::ScalarType type;
};

constexpr DtypeName kDtypeNames[] = {
    {"BOOL", at::kBool},
    {"U8", at::kByte},
    {"I8", at::kChar},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
    {"F8_E4M3FNUZ", at::kFloat8_e4m3fnuz},
    {"F8_E5M2FNUZ", at::kFloat8_e5m2fnuz},
    {"U16", at::kUInt16},
    {"I16", at::kShort},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"U32", at::kUInt32},
    {"I32", at::kInt},
    {"F32", at::kFloat},
    {"U64", at::kUInt64},
    {"I64", at::kLong},
    {"F64", at::kDouble},
    {"C64", at::kComplexFloat},
};

absl::StatusOr<absl::string_view> SafetensorsName(at::ScalarType type) {
  for (const DtypeName& entry : kDtypeNames) {
    if (entry.type == type) return entry.name;
  }
  return absl::InvalidArgumentError(absl::StrCat("no safetensors dtype for torch's ", c10::toString(type)));
}

// A tensor over `data`, which `owner` keeps alive. Copies where the address does not suit the element type.
absl::StatusOr<at::Tensor> ViewBytes(const std::shared_ptr<void>& owner, uint8_t* data,
                                     const TensorInfo& info) {
  RSIDIFF_ASSIGN_OR_RETURN(at::ScalarType type, ScalarTypeFromSafetensors(info.dtype));
  size_t bytes = info.end - info.begin;
  if (type == at::kBool) {
    // Any other byte would be an invalid bool.
    if (!std::all_of(data, data + bytes, [](uint8_t byte) { return byte <= 1; })) {
      return absl::DataLossError("a BOOL tensor holds a byte other than 0 and 1");
    }
  }
  if (bytes == 0) return at::empty(info.shape, type);
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) != 0) {
    at::Tensor copy = at::empty(info.shape, type);
    std::memcpy(copy.data_ptr(), data, bytes);
    return copy;
  }
  return at::from_blob(
      data, info.shape, [owner](void*) {}, at::TensorOptions().dtype(type));
}

// What a file will hold, in the order of its data.
struct Layout {
  std::string header;  // Length bytes included.
  std::vector<const at::Tensor*> tensors;
};

absl::StatusOr<std::string> EncodeHeader(nlohmann::ordered_json json) {
  // dump() throws for invalid UTF-8 only.
  std::string text;
  try {
    text = json.dump();
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("a tensor name or metadata text is not valid UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string header;
  for (int shift = 0; shift < 64; shift += 8) {
    header.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> shift & 0xff));
  }
  return header + text;
}

absl::StatusOr<Layout> PlanLayout(const NamedTensors& tensors,
                                  const std::map<std::string, std::string>& metadata) {
  std::vector<const std::pair<std::string, at::Tensor>*> order;
  for (const auto& entry : tensors) {
    if (!entry.second.defined() || entry.second.layout() != at::kStrided) {
      return absl::InvalidArgumentError(absl::StrCat("tensor cannot be written: ", entry.first));
    }
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(-a->second.element_size(), a->first) < std::pair(-b->second.element_size(), b->first);
  });
  Layout layout;
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    if (name == "__metadata__" || json.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor name given twice or reserved: ", name));
    }
    RSIDIFF_ASSIGN_OR_RETURN(absl::string_view dtype, SafetensorsName(tensor.scalar_type()));
    uint64_t bytes = static_cast<uint64_t>(tensor.numel()) * tensor.element_size();
    json[name] = {{"dtype", std::string(dtype)},
                  {"shape", tensor.sizes().vec()},
                  {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
    layout.tensors.push_back(&tensor);
  }
  RSIDIFF_ASSIGN_OR_RETURN(layout.header, EncodeHeader(std::move(json)));
  return layout;
}

using Sink = std::function<absl::Status(absl::string_view)>;

absl::Status Emit(const Layout& layout, const Sink& sink) {
  RSIDIFF_RETURN_IF_ERROR(sink(layout.header));
  for (const at::Tensor* tensor : layout.tensors) {
    at::Tensor contiguous = tensor->detach().cpu().contiguous();
    RSIDIFF_RETURN_IF_ERROR(
        sink(absl::string_view(static_cast<const char*>(contiguous.const_data_ptr()), contiguous.nbytes())));
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& name) {
  while (!bytes.empty()) {
    // Linux writes at most 2 GiB a call.
    ssize_t written = write(fd, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", name));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<at::ScalarType> ScalarTypeFromSafetensors(absl::string_view dtype) {
  for (const DtypeName& entry : kDtypeNames) {
    if (entry.name == dtype) return entry.type;
  }
  return absl::InvalidArgumentError(absl::StrCat("unsupported safetensors dtype ", dtype));
}

SafetensorsFile::SafetensorsFile(std::string path, std::shared_ptr<MappedFile> file, SafetensorsHeader header)
    : path_(std::move(path)), file_(std::move(file)), header_(std::move(header)) {}

absl::StatusOr<std::shared_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::filesystem::path& path) {
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> file, MappedFile::Open(path));
  RSIDIFF_ASSIGN_OR_RETURN(SafetensorsHeader header,
                           ParseSafetensorsHeader(file->bytes(), file->size(), path.string()));
  return std::shared_ptr<SafetensorsFile>(
      new SafetensorsFile(path.string(), std::move(file), std::move(header)));
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  names.reserve(header_.tensors.size());
  for (const auto& entry : header_.tensors) names.push_back(entry.first);
  return names;
}

absl::StatusOr<at::Tensor> SafetensorsFile::Get(const std::string& name) const {
  auto entry = header_.tensors.find(name);
  if (entry == header_.tensors.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": no tensor ", name));
  }
  absl::StatusOr<at::Tensor> tensor = ViewBytes(file_, file_->data() + entry->second.begin, entry->second);
  if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat(path_, ": tensor ", name));
  return tensor;
}

absl::StatusOr<NamedTensors> SafetensorsFile::GetAll() const {
  NamedTensors tensors;
  for (const auto& entry : header_.tensors) {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor tensor, Get(entry.first));
    tensors.emplace_back(entry.first, std::move(tensor));
  }
  return tensors;
}

absl::StatusOr<std::string> SerializeSafetensors(const NamedTensors& tensors,
                                                 const std::map<std::string, std::string>& metadata) {
  RSIDIFF_ASSIGN_OR_RETURN(Layout layout, PlanLayout(tensors, metadata));
  size_t size = layout.header.size();
  for (const at::Tensor* tensor : layout.tensors) size += tensor->nbytes();
  std::string bytes;
  bytes.reserve(size);
  RSIDIFF_RETURN_IF_ERROR(Emit(layout, [&](absl::string_view piece) {
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  }));
  return bytes;
}

absl::Status WriteSafetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  RSIDIFF_ASSIGN_OR_RETURN(Layout layout, PlanLayout(tensors, metadata));
  const std::filesystem::path temporary = TemporaryBeside(path);
  int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot create ", temporary.string()));
  absl::Status status =
      Emit(layout, [&](absl::string_view piece) { return WriteAll(fd, piece, temporary.string()); });
  if (close(fd) != 0 && status.ok()) {
    status = ErrnoStatus(errno, absl::StrCat("cannot close ", temporary.string()));
  }
  if (status.ok()) status = CommitFile(temporary, path);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

absl::StatusOr<NamedTensors> ParseSafetensors(std::string bytes, absl::string_view name) {
  auto owner = std::make_shared<std::string>(std::move(bytes));
  RSIDIFF_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseSafetensorsHeader(*owner, owner->size(), name));
  NamedTensors tensors;
  for (const auto& [tensor_name, info] : header.tensors) {
    uint8_t* data = reinterpret_cast<uint8_t*>(owner->data()) + info.begin;
    absl::StatusOr<at::Tensor> tensor = ViewBytes(owner, data, info);
    if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat(name, ": tensor ", tensor_name));
    tensors.emplace_back(tensor_name, *std::move(tensor));
  }
  return tensors;
}

}  // namespace rsidiff::worker
