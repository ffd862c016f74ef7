#include "worker/agent/host_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/address.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

// Connecting a datagram socket only chooses a route.
absl::StatusOr<std::string> LocalAddress(const addrinfo& peer) {
  int fd = socket(peer.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(std::strerror(errno));
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  bool found = connect(fd, peer.ai_addr, peer.ai_addrlen) == 0 &&
               getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) == 0;
  int error = errno;
  close(fd);
  std::array<char, NI_MAXHOST> text{};
  if (!found || getnameinfo(reinterpret_cast<sockaddr*>(&local), length, text.data(), text.size(), nullptr, 0,
                            NI_NUMERICHOST) != 0) {
    return absl::UnavailableError(std::strerror(error));
  }
  return std::string(text.data());
}

}  // namespace

absl::StatusOr<std::string> AddressTowards(const std::string& peer) {
  RSIDIFF_ASSIGN_OR_RETURN(const HostPort target, ParseHostPort(peer));
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat("cannot resolve ", target.host, ": ", gai_strerror(error)));
  }
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  absl::StatusOr<std::string> address = LocalAddress(*addresses);
  if (address.ok()) return address;
  return absl::UnavailableError(absl::StrCat("no route to ", peer, ": ", address.status().message()));
}

std::string AddressToCall(const std::string& bound, const std::string& host) {
  absl::StatusOr<HostPort> address = ParseHostPort(bound);
  if (!address.ok() || (address->host != "0.0.0.0" && address->host != "::")) return bound;
  address->host = host;
  return address->ToString();
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
}

std::string DefaultWorkerName() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) std::strcpy(host.data(), "worker");
  std::string name = std::string(host.data()).substr(0, 48);
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') c = '-';
  }
  return absl::StrCat(name, "-", getpid());
}

}  // namespace rsidiff::worker
