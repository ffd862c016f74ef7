#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

/// A network address.
struct HostPort {
  std::string host;  // name or number, an IPv6 number without its brackets
  uint16_t port = 0;

  /// HOST:PORT, or [HOST]:PORT for an IPv6 number.
  std::string ToString() const;
};

/// What keeps ParseHostPort from taking `text`, empty where nothing does: a check of a command line's option.
std::string HostPortFault(const std::string& text);

/// Parses "host:port" or "[ipv6]:port". INVALID_ARGUMENT quotes the text.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

}  // namespace rsidiff
