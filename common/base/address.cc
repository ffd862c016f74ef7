#include "common/base/address.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace rsidiff {

std::string HostPort::ToString() const {
  if (absl::StrContains(host, ':')) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("not a HOST:PORT address, ", why, ": '", text, "'"));
  };
  size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return refuse("no port");
  absl::string_view host = text.substr(0, colon);
  absl::string_view port = text.substr(colon + 1);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':')) {
    return refuse("an IPv6 number needs brackets");
  }
  if (host.empty()) return refuse("no host");
  uint32_t number = 0;
  if (!absl::SimpleAtoi(port, &number) || number > 65535) return refuse("the port is not a number to 65535");
  return HostPort{std::string(host), static_cast<uint16_t>(number)};
}

std::string HostPortFault(const std::string& text) {
  return std::string(ParseHostPort(text).status().message());
}

}  // namespace rsidiff
