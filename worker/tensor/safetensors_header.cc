#include "worker/tensor/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace rsidiff::worker {
namespace {

constexpr size_t kLengthBytes = 8;

struct DtypeSize {
  absl::string_view name;
  size_t bytes;
};

constexpr DtypeSize kDtypeSizes[] = {
    {"BOOL", 1},    {"U8", 1},          {"I8", 1},          {"F8_E4M3", 1}, {"F8_E5M2", 1},
    {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}, {"U16", 2},     {"I16", 2},
    {"F16", 2},     {"BF16", 2},        {"U32", 4},         {"I32", 4},     {"F32", 4},
    {"U64", 8},     {"I64", 8},         {"F64", 8},         {"C64", 8},
};

uint64_t ReadLittleEndian64(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = kLengthBytes; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// Receives the header's JSON as a stream of events, so that a key given twice is seen, nesting is bounded by
// the states below, and no tree of hostile size is built. Offsets are relative to the data section here.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(SafetensorsHeader* header) : header_(header) {}

  const std::string& problem() const { return problem_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Fail("extent too large in the shape of ", name_, ": ", value);
      }
      tensor_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (offsets_seen_ == 2) return Fail("more than two data_offsets in ", name_);
      (offsets_seen_ == 0 ? tensor_.begin : tensor_.end) = value;
      ++offsets_seen_;
      return true;
    }
    return Unexpected("a number");
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadata) {
      if (!header_->metadata.emplace(field_, std::move(value)).second) {
        return Fail("metadata key given twice: ", field_);
      }
      return true;
    }
    if (state_ == State::kTensor && field_ == "dtype") {
      tensor_.dtype = std::move(value);
      return true;
    }
    return Unexpected("a string");
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kTop;
        return true;
      case State::kTop:
        state_ = name_ == "__metadata__" ? State::kMetadata : State::kTensor;
        tensor_ = TensorInfo();
        offsets_seen_ = 0;
        fields_.clear();
        return true;
      default:
        return Unexpected("an object");
    }
  }

  bool key(string_t& value) override {
    if (state_ == State::kTop) {
      name_ = std::move(value);
      if (name_ == "__metadata__" ? std::exchange(metadata_seen_, true) : header_->tensors.count(name_) > 0) {
        return Fail("name given twice: ", name_);
      }
      return true;
    }
    field_ = std::move(value);
    if (state_ != State::kTensor) return true;
    if (field_ != "dtype" && field_ != "shape" && field_ != "data_offsets") {
      return Fail("unknown field of tensor ", name_, ": ", field_);
    }
    if (std::find(fields_.begin(), fields_.end(), field_) != fields_.end()) {
      return Fail("field given twice in tensor ", name_, ": ", field_);
    }
    fields_.push_back(field_);
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTensor) {
      if (fields_.size() != 3) return Fail("tensor lacks dtype, shape or data_offsets: ", name_);
      header_->tensors.emplace(name_, std::move(tensor_));
    }
    state_ = state_ == State::kTop ? State::kEnd : State::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ != State::kTensor || field_ == "dtype") return Unexpected("an array");
    state_ = field_ == "shape" ? State::kShape : State::kOffsets;
    return true;
  }

  bool end_array() override {
    if (state_ == State::kOffsets && offsets_seen_ != 2) {
      return Fail("data_offsets is not a pair in ", name_);
    }
    state_ = State::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail("not valid JSON at header byte ", position);
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };

  template <typename... Parts>
  bool Fail(const Parts&... parts) {
    problem_ = absl::StrCat(parts...);
    return false;
  }
  bool Unexpected(absl::string_view what) {
    return Fail("unexpected ", what, " in the header", name_.empty() ? "" : " at ", name_);
  }

  SafetensorsHeader* header_;
  State state_ = State::kStart;
  std::string name_;   // Of the tensor being read.
  std::string field_;  // Key inside it.
  std::vector<std::string> fields_;
  TensorInfo tensor_;
  int offsets_seen_ = 0;
  bool metadata_seen_ = false;
  std::string problem_;
};

// Bytes that a tensor of this dtype and shape takes; nothing when the product overflows.
std::optional<uint64_t> ByteSize(const TensorInfo& tensor, size_t element_size) {
  uint64_t bytes = element_size;
  for (int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) return std::nullopt;
  }
  if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return bytes;
}

// What is wrong with one tensor taken by itself; empty when nothing is.
std::string TensorProblem(const TensorInfo& tensor) {
  size_t element_size = SafetensorsElementSize(tensor.dtype);
  if (element_size == 0) return absl::StrCat("unsupported dtype ", tensor.dtype);
  std::optional<uint64_t> bytes = ByteSize(tensor, element_size);
  if (!bytes.has_value()) return "shape product overflows";
  if (tensor.begin > tensor.end || tensor.end - tensor.begin != *bytes) {
    return absl::StrCat("shape needs ", *bytes, " bytes, data_offsets are ", tensor.begin, " to ",
                        tensor.end);
  }
  return "";
}

// Checks that the tensors, in order of their offsets, cover [0, data_bytes) exactly.
std::string CoverageProblem(const SafetensorsHeader& header, uint64_t data_bytes) {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  order.reserve(header.tensors.size());
  for (const auto& entry : header.tensors) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t expected = 0;
  for (const auto* entry : order) {
    if (entry->second.begin != expected) {
      return absl::StrCat("tensor ", entry->first, " leaves a hole or overlaps another: starts at data byte ",
                          entry->second.begin, ", expected ", expected);
    }
    expected = entry->second.end;
  }
  if (expected != data_bytes) {
    return absl::StrCat("tensors take ", expected, " bytes, the file holds ", data_bytes,
                        expected > data_bytes ? " (truncated)" : "");
  }
  return "";
}

}  // namespace

size_t SafetensorsElementSize(absl::string_view dtype) {
  for (const DtypeSize& entry : kDtypeSizes) {
    if (entry.name == dtype) return entry.bytes;
  }
  return 0;
}

absl::StatusOr<uint64_t> SafetensorsHeaderLength(absl::string_view first_bytes, uint64_t file_size,
                                                 absl::string_view name) {
  if (file_size < kLengthBytes || first_bytes.size() < kLengthBytes) {
    return absl::DataLossError(
        absl::StrCat(name, ": too short for a safetensors file: ", file_size, " bytes"));
  }
  uint64_t length = ReadLittleEndian64(first_bytes);
  if (length > kMaxSafetensorsHeaderBytes) {
    return absl::DataLossError(absl::StrCat(name, ": safetensors header longer than the limit: ", length));
  }
  if (length > file_size - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(name, ": safetensors header of ", length,
                                            " bytes does not fit the file of ", file_size, " (truncated)"));
  }
  return length + kLengthBytes;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view first_bytes, uint64_t file_size,
                                                         absl::string_view name) {
  absl::StatusOr<uint64_t> length = SafetensorsHeaderLength(first_bytes, file_size, name);
  if (!length.ok()) return length.status();
  if (first_bytes.size() < *length) {
    return absl::DataLossError(absl::StrCat(name, ": safetensors header truncated"));
  }
  absl::string_view json = first_bytes.substr(kLengthBytes, *length - kLengthBytes);
  if (json.empty() || json[0] != '{') {
    return absl::DataLossError(absl::StrCat(name, ": safetensors header does not start with {"));
  }
  SafetensorsHeader header;
  header.data_begin = *length;
  HeaderHandler handler(&header);
  auto failed = [&](absl::string_view problem) {
    return absl::DataLossError(absl::StrCat(name, ": bad safetensors header: ", problem));
  };
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) return failed(handler.problem());
  for (const auto& [tensor_name, tensor] : header.tensors) {
    std::string problem = TensorProblem(tensor);
    if (!problem.empty()) return failed(absl::StrCat("tensor ", tensor_name, ": ", problem));
  }
  std::string problem = CoverageProblem(header, file_size - header.data_begin);
  if (!problem.empty()) return failed(problem);
  for (auto& entry : header.tensors) {
    entry.second.begin += header.data_begin;
    entry.second.end += header.data_begin;
  }
  return header;
}

}  // namespace rsidiff::worker
