#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/yaml_tree.h"

namespace rsidiff {

/// The tree with one value replaced or added: `KEY.KEY=VALUE`, VALUE read as YAML ("rounds=2",
/// "train.lora={rank: 8}"). Missing maps on the way are made; whether the keys exist in the schema is for
/// the reader to say. INVALID_ARGUMENT: no '=', an empty key, a value that is no YAML, or a key under a value
/// that is no map. `root` is not changed.
absl::StatusOr<std::shared_ptr<const YamlNode>> Override(const std::shared_ptr<const YamlNode>& root,
                                                         absl::string_view assignment);

}  // namespace rsidiff
