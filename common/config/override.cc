#include "common/config/override.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "common/base/status_macros.h"

namespace rsidiff {
namespace {

using NodePointer = std::shared_ptr<const YamlNode>;

absl::StatusOr<NodePointer> Replace(const NodePointer& node, absl::Span<const std::string> keys,
                                    const NodePointer& value) {
  if (keys.empty()) return value;
  if (keys.front().empty()) return absl::InvalidArgumentError("empty key");
  auto map = std::make_shared<YamlNode>();
  if (node != nullptr && node->kind != YamlNode::Kind::kNull) {
    if (node->kind != YamlNode::Kind::kMap) {
      return absl::InvalidArgumentError(absl::StrCat("what stands above '", keys.front(), "' has no keys"));
    }
    *map = *node;
  }
  map->kind = YamlNode::Kind::kMap;
  auto entry = std::find_if(map->entries.begin(), map->entries.end(),
                            [&](const YamlNode::Entry& candidate) { return candidate.key == keys.front(); });
  if (entry == map->entries.end()) {
    map->entries.push_back({keys.front(), {}, nullptr});
    entry = map->entries.end() - 1;
  }
  RSIDIFF_ASSIGN_OR_RETURN(entry->value, Replace(entry->value, keys.subspan(1), value));
  return NodePointer(std::move(map));
}

// A value of the command line stands in no line of the file.
NodePointer WithoutPlace(const YamlNode& node) {
  auto copy = std::make_shared<YamlNode>(node);
  copy->position = {};
  for (NodePointer& item : copy->items) item = WithoutPlace(*item);
  for (YamlNode::Entry& entry : copy->entries) {
    entry.key_position = {};
    entry.value = WithoutPlace(*entry.value);
  }
  return copy;
}

}  // namespace

absl::StatusOr<NodePointer> Override(const NodePointer& root, absl::string_view assignment) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(assignment, absl::MaxSplits('=', 1));
  if (parts.first.size() == assignment.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected KEY=VALUE: '", assignment, "'"));
  }
  if (parts.second.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no value behind the '=': '", assignment, "'"));
  }
  const YamlDocument value = ParseYaml(parts.second);
  if (value.root == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("'", assignment, "': ", value.errors.front().message));
  }
  const std::vector<std::string> keys = absl::StrSplit(parts.first, '.');
  absl::StatusOr<NodePointer> replaced = Replace(root, keys, WithoutPlace(*value.root));
  if (!replaced.ok()) return Annotate(replaced.status(), absl::StrCat("'", assignment, "'"));
  return replaced;
}

}  // namespace rsidiff
