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

bool Refuses(const addrinfo& address, absl::Duration patience) {
  const int socket = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
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
  return error == ECONNREFUSED;
}

}  // namespace

bool RefusesConnections(const HostPort& address, absl::Duration patience) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found) != 0)
    return false;
  const bool refuses = Refuses(*found, patience);
  freeaddrinfo(found);
  return refuses;
}

}  // namespace rsidiff::worker
