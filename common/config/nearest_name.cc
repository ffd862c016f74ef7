#include "common/config/nearest_name.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace rsidiff {
namespace {

// Longer names are not typing errors, and the distance costs the product of both lengths.
constexpr size_t kLongestName = 64;

std::string Normalised(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"-", "_"}});
}

// Optimal string alignment distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      cost[i][j] =
          std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::optional<std::string> NearestName(absl::string_view name, const std::vector<std::string>& valid) {
  if (name.size() > kLongestName) return std::nullopt;
  std::optional<std::string> nearest;
  size_t smallest = 0;
  for (const std::string& candidate : valid) {
    const size_t distance = EditDistance(Normalised(name), Normalised(candidate));
    if (distance * 3 > std::max(name.size(), candidate.size())) continue;
    if (!nearest || distance < smallest) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}

std::string SuggestName(absl::string_view name, const std::vector<std::string>& valid,
                        absl::string_view label) {
  if (std::optional<std::string> nearest = NearestName(name, valid)) {
    return absl::StrCat("did you mean \"", *nearest, "\"?");
  }
  return absl::StrCat("valid ", label, ": ", absl::StrJoin(valid, ", "));
}

}  // namespace rsidiff
