#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

namespace rsidiff::coordinator {

/// A TCP connection that no channel of another `number` shares, as between processes. It is made again
/// within 100 ms when the coordinator comes back.
std::shared_ptr<grpc::Channel> OwnConnection(const std::string& address, int number);

}  // namespace rsidiff::coordinator
