#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/config/diagnostic.h"
#include "common/config/yaml_tree.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff {

/// Where the file gives each value. Keys are paths as in `sampling.steps`, `scorers[1].path`; the root's
/// own is "".
using Positions = std::map<std::string, Position>;

struct ReadSpec {
  v1::RunSpec spec;  // what could be read; no defaults
  Positions positions;
  std::vector<Diagnostic> errors;
  std::set<std::string> unreadable;  // paths whose value is among the errors
};

/// Maps a YAML tree onto RunSpec by reflection: keys are field names, enum values are written in lower
/// case without their prefix. Reports every unknown or repeated key, wrong type, number out of the
/// field's range and unknown enum value; goes on after each.
ReadSpec ReadRunSpec(const YamlNode& root);

/// How a run file writes the value of an enum: `SCHEDULER_TYPE_DDIM` of SchedulerType is "ddim".
std::string EnumName(const google::protobuf::EnumValueDescriptor& value);

}  // namespace rsidiff
