#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace rsidiff::worker {

/// The address of this machine from which it reaches `peer` (HOST:PORT); sends nothing. INVALID_ARGUMENT:
/// no HOST:PORT. UNAVAILABLE: the host's name is not known or no route leads there.
absl::StatusOr<std::string> AddressTowards(const std::string& peer);

/// A name for a worker of this process: host name and process id, with every character that a worker's name
/// may not have replaced by '-'.
std::string DefaultWorkerName();

}  // namespace rsidiff::worker
