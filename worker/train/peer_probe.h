#pragma once

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/address.h"

namespace rsidiff::worker {

enum class PeerAnswer {
  kAccepts,  // a connection; a stopped process does that too, its kernel answers
  kRefuses,  // its host answers, and no process listens there any more
  kNone,     // within the patience; or the name cannot be resolved, or no way leads there
};

/// "does not answer", say.
absl::string_view PeerAnswerText(PeerAnswer answer);

/// What the address says to a connection. Blocks for `patience` at most, name resolution aside.
PeerAnswer ProbePeer(const HostPort& address, absl::Duration patience);

}  // namespace rsidiff::worker
