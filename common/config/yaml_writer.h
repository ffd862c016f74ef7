#pragma once

#include <string>

#include "rsidiff/v1/run.pb.h"

namespace rsidiff {

/// The spec as a run file, in the order of run.proto. Values that are absent, and enums at their
/// unspecified value, are left out. Reading it back gives the same spec.
std::string RunSpecToYaml(const v1::RunSpec& spec);

}  // namespace rsidiff
