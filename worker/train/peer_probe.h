#pragma once

#include "absl/time/time.h"
#include "common/base/address.h"

namespace rsidiff::worker {

/// True when the address refuses a connection: its host answers, and no process listens there any more. False
/// when it accepts one (a stopped process does, its kernel answers), cannot be resolved, or says nothing
/// within `patience`. Blocks so long at most, name resolution aside.
bool RefusesConnections(const HostPort& address, absl::Duration patience);

}  // namespace rsidiff::worker
