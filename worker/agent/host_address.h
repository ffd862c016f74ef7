#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace rsidiff::worker {

/// The address of this machine from which it reaches `peer` (HOST:PORT); sends nothing. INVALID_ARGUMENT:
/// no HOST:PORT. UNAVAILABLE: the host's name is not known or no route leads there.
absl::StatusOr<std::string> AddressTowards(const std::string& peer);

/// What others are told of an HTTP server bound to `bound` (HOST:PORT): with `host`, an address of this
/// machine, in place of a wildcard, which is no address to call.
std::string AddressToCall(const std::string& bound, const std::string& host);

/// Whether only this machine reaches `host`, a number or name.
bool IsLoopback(const std::string& host);

/// A name for a worker of this process: host name and process id, with every character that a worker's name
/// may not have replaced by '-'.
std::string DefaultWorkerName();

}  // namespace rsidiff::worker
