#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config/diagnostic.h"

namespace rsidiff {

/// A YAML value that knows where it stands. Aliases share their anchor's node.
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  struct Entry {
    std::string key;
    Position key_position;
    std::shared_ptr<const YamlNode> value;
  };

  Kind kind = Kind::kNull;
  Position position;
  std::string scalar;                                  // kScalar
  bool quoted = false;                                 // kScalar: "50" is a string, 50 a number
  std::vector<std::shared_ptr<const YamlNode>> items;  // kSequence
  std::vector<Entry> entries;                          // kMap, in file order, duplicates included
};

/// A parsed document, or what is wrong with it: `root` is null exactly when `errors` is not empty.
struct YamlDocument {
  std::shared_ptr<const YamlNode> root;
  std::vector<Diagnostic> errors;
};

/// Largest text and most nodes that ParseYaml takes; nesting ends at 64 levels.
inline constexpr size_t kMaxYamlBytes = 1 << 20;
inline constexpr size_t kMaxYamlNodes = 100'000;
inline constexpr size_t kMaxYamlDepth = 64;

/// Parses one document. Never throws and never recurses deeper than the limits, whatever the bytes.
YamlDocument ParseYaml(absl::string_view text);

}  // namespace rsidiff
