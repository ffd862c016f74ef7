#include "worker/train/peer_probe.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace rsidiff::worker {
namespace {

PeerAnswer Probe(const addrinfo& address, absl::Duration patience) {
  const int socket = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return PeerAnswer::kNone;
  int error = 0;
  if (connect(socket, address.ai_addr, address.ai_addrlen) != 0) error = errno;
  if (error == EINPROGRESS) {
    pollfd wait{socket, POLLOUT, 0};
    socklen_t size = sizeof(error);
    if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) == 1) {
      getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  close(socket);
  if (error == 0) return PeerAnswer::kAccepts;
  return error == ECONNREFUSED ? PeerAnswer::kRefuses : PeerAnswer::kNone;
}

}  // namespace

absl::string_view PeerAnswerText(PeerAnswer answer) {
  switch (answer) {
    case PeerAnswer::kAccepts:
      return "accepts connections";
    case PeerAnswer::kRefuses:
      return "refuses connections";
    case PeerAnswer::kNone:
      break;
  }
  return "does not answer";
}

PeerAnswer ProbePeer(const HostPort& address, absl::Duration patience) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found) != 0)
    return PeerAnswer::kNone;
  const PeerAnswer answer = Probe(*found, patience);
  freeaddrinfo(found);
  return answer;
}

}  // namespace rsidiff::worker
