#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace rsidiff::worker {

/// Reader of a model's config.json (or scheduler_config.json, preprocessor_config.json ...).
///
/// Getters return the value or the default and remember what was wrong; CheckAllRead() reports everything at
/// once. A key of the file that nobody asked for is an error as well: a setting is used or refused, never
/// ignored.
///
///     RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(folder / "config.json"));
///     config.in_channels = json.Int("in_channels", 4);
///     json.RequireValue("class_embed_type", {"null"});
///     RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
///
/// An explicit null counts as absent, as it does in diffusers. Not thread-safe.
class JsonConfig {
 public:
  /// More than any model has; keeps hostile numbers from being allocated for.
  static constexpr int64_t kMaxSize = int64_t{1} << 24;

  /// NOT_FOUND, or INVALID_ARGUMENT when the file is no JSON object.
  static absl::StatusOr<JsonConfig> Load(const std::filesystem::path& file);
  /// `name` stands before error messages.
  static absl::StatusOr<JsonConfig> Parse(absl::string_view text, std::string name);

  /// True when the key is there and not null. Does not count as reading it.
  bool Has(const std::string& key) const;
  /// True when the key is there, be it null.
  bool Contains(const std::string& key) const;

  int64_t Int(const std::string& key, int64_t fallback);
  double Number(const std::string& key, double fallback);
  bool Bool(const std::string& key, bool fallback);
  std::string String(const std::string& key, const std::string& fallback);
  /// As above; an absent key is an error.
  int64_t RequiredInt(const std::string& key);
  double RequiredNumber(const std::string& key);
  std::string RequiredString(const std::string& key);
  std::optional<int64_t> OptionalInt(const std::string& key);
  std::optional<double> OptionalNumber(const std::string& key);

  /// Lists; absent gives the fallback.
  std::vector<int64_t> Ints(const std::string& key, std::vector<int64_t> fallback);
  std::vector<double> Numbers(const std::string& key, std::vector<double> fallback);
  std::vector<std::string> Strings(const std::string& key, std::vector<std::string> fallback);
  /// One value for all of `count` places, or a list of that length.
  std::vector<int64_t> IntOrInts(const std::string& key, size_t count, int64_t fallback);
  std::vector<bool> BoolOrBools(const std::string& key, size_t count, bool fallback);

  /// A size of a model, 1 to `limit`. Another one is a problem, and gives 1.
  int64_t Size(const std::string& key, int64_t fallback, int64_t limit = kMaxSize);
  /// A size that is one number or a pair of equal ones; 0 when absent.
  int64_t SquareSize(const std::string& key);

  /// A nested object; it has its own CheckAllRead(). An absent key gives an empty one.
  JsonConfig Object(const std::string& key);

  /// The key may be absent or have one of these values, written as JSON: {"null", "\"default\"", "1"}.
  void RequireValue(const std::string& key, std::initializer_list<absl::string_view> allowed);
  /// Keys that do not change what is computed. Names starting with "_" are ignored by themselves.
  void Ignore(std::initializer_list<absl::string_view> keys);
  /// Adds a problem found by the caller: "NAME: MESSAGE" in the report.
  void AddProblem(std::string message);

  /// OK, or INVALID_ARGUMENT with every problem so far and every key that was not read.
  absl::Status CheckAllRead();

  /// What messages start with.
  const std::string& name() const { return name_; }

 private:
  JsonConfig(std::string name, nlohmann::json object);

  // The value of `key`, marked as read; null when absent.
  const nlohmann::json& Read(const std::string& key);
  void WrongType(const std::string& key, absl::string_view expected);

  std::string name_;
  std::shared_ptr<const nlohmann::json> object_;
  std::set<std::string> read_;
  std::vector<std::string> problems_;
};

}  // namespace rsidiff::worker
