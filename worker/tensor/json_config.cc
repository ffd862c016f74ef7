#include "worker/tensor/json_config.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace rsidiff::worker {
namespace {

using nlohmann::json;

// Enough of a refused value to recognise it.
std::string Excerpt(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 80) + "...";
  return text;
}

bool IsInt64(const json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return value.is_number_integer();
}

bool IsListOf(const json& value, bool (*matches)(const json&)) {
  return value.is_array() && std::all_of(value.begin(), value.end(), matches);
}

bool IsNumber(const json& value) {
  return value.is_number();
}
bool IsString(const json& value) {
  return value.is_string();
}
bool IsBool(const json& value) {
  return value.is_boolean();
}

}  // namespace

JsonConfig::JsonConfig(std::string name, json object)
    : name_(std::move(name)), object_(std::make_shared<const json>(std::move(object))) {}

absl::StatusOr<JsonConfig> JsonConfig::Load(const std::filesystem::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  return Parse(text, file.string());
}

absl::StatusOr<JsonConfig> JsonConfig::Parse(absl::string_view text, std::string name) {
  json object = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(name, ": not a JSON object"));
  return JsonConfig(std::move(name), std::move(object));
}

bool JsonConfig::Has(const std::string& key) const {
  auto entry = object_->find(key);
  return entry != object_->end() && !entry->is_null();
}

bool JsonConfig::Contains(const std::string& key) const {
  return object_->contains(key);
}

const json& JsonConfig::Read(const std::string& key) {
  static const json* const kAbsent = new json();
  read_.insert(key);
  auto entry = object_->find(key);
  return entry == object_->end() ? *kAbsent : *entry;
}

void JsonConfig::WrongType(const std::string& key, absl::string_view expected) {
  AddProblem(absl::StrCat(key, " should be ", expected, ", not ", Excerpt((*object_)[key])));
}

int64_t JsonConfig::Int(const std::string& key, int64_t fallback) {
  return OptionalInt(key).value_or(fallback);
}

double JsonConfig::Number(const std::string& key, double fallback) {
  return OptionalNumber(key).value_or(fallback);
}

bool JsonConfig::Bool(const std::string& key, bool fallback) {
  const json& value = Read(key);
  if (value.is_null()) return fallback;
  if (value.is_boolean()) return value.get<bool>();
  WrongType(key, "true or false");
  return fallback;
}

std::string JsonConfig::String(const std::string& key, const std::string& fallback) {
  const json& value = Read(key);
  if (value.is_null()) return fallback;
  if (value.is_string()) return value.get<std::string>();
  WrongType(key, "a string");
  return fallback;
}

int64_t JsonConfig::RequiredInt(const std::string& key) {
  if (!Has(key)) AddProblem(absl::StrCat(key, " is missing"));
  return Int(key, 0);
}

double JsonConfig::RequiredNumber(const std::string& key) {
  if (!Has(key)) AddProblem(absl::StrCat(key, " is missing"));
  return Number(key, 0);
}

std::string JsonConfig::RequiredString(const std::string& key) {
  if (!Has(key)) AddProblem(absl::StrCat(key, " is missing"));
  return String(key, "");
}

std::optional<int64_t> JsonConfig::OptionalInt(const std::string& key) {
  const json& value = Read(key);
  if (value.is_null()) return std::nullopt;
  if (IsInt64(value)) return value.get<int64_t>();
  WrongType(key, "an integer");
  return std::nullopt;
}

std::optional<double> JsonConfig::OptionalNumber(const std::string& key) {
  const json& value = Read(key);
  if (value.is_null()) return std::nullopt;
  if (value.is_number()) return value.get<double>();
  WrongType(key, "a number");
  return std::nullopt;
}

std::vector<int64_t> JsonConfig::Ints(const std::string& key, std::vector<int64_t> fallback) {
  const json& value = Read(key);
  if (value.is_null()) return fallback;
  if (IsListOf(value, IsInt64)) return value.get<std::vector<int64_t>>();
  WrongType(key, "a list of integers");
  return fallback;
}

std::vector<double> JsonConfig::Numbers(const std::string& key, std::vector<double> fallback) {
  const json& value = Read(key);
  if (value.is_null()) return fallback;
  if (IsListOf(value, IsNumber)) return value.get<std::vector<double>>();
  WrongType(key, "a list of numbers");
  return fallback;
}

std::vector<std::string> JsonConfig::Strings(const std::string& key, std::vector<std::string> fallback) {
  const json& value = Read(key);
  if (value.is_null()) return fallback;
  if (IsListOf(value, IsString)) return value.get<std::vector<std::string>>();
  WrongType(key, "a list of strings");
  return fallback;
}

std::vector<int64_t> JsonConfig::IntOrInts(const std::string& key, size_t count, int64_t fallback) {
  const json& value = Read(key);
  if (value.is_null()) return std::vector<int64_t>(count, fallback);
  if (IsInt64(value)) return std::vector<int64_t>(count, value.get<int64_t>());
  if (IsListOf(value, IsInt64) && value.size() == count) return value.get<std::vector<int64_t>>();
  WrongType(key, absl::StrCat("an integer or a list of ", count, " integers"));
  return std::vector<int64_t>(count, fallback);
}

std::vector<bool> JsonConfig::BoolOrBools(const std::string& key, size_t count, bool fallback) {
  const json& value = Read(key);
  if (value.is_null()) return std::vector<bool>(count, fallback);
  if (value.is_boolean()) return std::vector<bool>(count, value.get<bool>());
  if (IsListOf(value, IsBool) && value.size() == count) return value.get<std::vector<bool>>();
  WrongType(key, absl::StrCat("a boolean or a list of ", count, " booleans"));
  return std::vector<bool>(count, fallback);
}

int64_t JsonConfig::Size(const std::string& key, int64_t fallback, int64_t limit) {
  const int64_t value = Int(key, fallback);
  if (value >= 1 && value <= limit) return value;
  AddProblem(absl::StrCat(key, " should be between 1 and ", limit, ", not ", value));
  return 1;
}

int64_t JsonConfig::SquareSize(const std::string& key) {
  const json& value = Read(key);
  if (value.is_null()) return 0;
  const json& side = value.is_array() && value.size() == 2 && value[0] == value[1] ? value[0] : value;
  if (IsInt64(side) && side.get<int64_t>() > 0) return side.get<int64_t>();
  WrongType(key, "a positive integer or a pair of equal ones");
  return 0;
}

JsonConfig JsonConfig::Object(const std::string& key) {
  const json& value = Read(key);
  std::string name = absl::StrCat(name_, ": ", key);
  if (value.is_object()) return JsonConfig(std::move(name), value);
  if (!value.is_null()) WrongType(key, "an object");
  return JsonConfig(std::move(name), json::object());
}

void JsonConfig::RequireValue(const std::string& key, std::initializer_list<absl::string_view> allowed) {
  read_.insert(key);
  auto entry = object_->find(key);
  if (entry == object_->end()) return;
  for (absl::string_view text : allowed) {
    if (*entry == json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false)) return;
  }
  AddProblem(absl::StrCat("unsupported value for ", key, ": ", Excerpt(*entry),
                          " (supported: ", absl::StrJoin(allowed, ", "), ")"));
}

void JsonConfig::Ignore(std::initializer_list<absl::string_view> keys) {
  read_.insert(keys.begin(), keys.end());
}

void JsonConfig::AddProblem(std::string message) {
  problems_.push_back(std::move(message));
}

absl::Status JsonConfig::CheckAllRead() {
  std::vector<std::string> problems = problems_;
  for (const auto& [key, value] : object_->items()) {
    if (read_.count(key) > 0 || value.is_null() || (!key.empty() && key[0] == '_')) continue;
    problems.push_back(absl::StrCat("unsupported key ", key, ": ", Excerpt(value)));
  }
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name_, ": ", absl::StrJoin(problems, "; ")));
}

}  // namespace rsidiff::worker
