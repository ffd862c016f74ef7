#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/state/core.h"
#include "tests/simulation/coordinator_host.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

/// How badly calls fare. All zero: each arrives once, in a few milliseconds.
struct NetworkFaults {
  double request_lost = 0;
  double reply_lost = 0;
  double duplicated = 0;
  double late = 0;  // share of messages that take up to `latest`, so that they overtake each other
  absl::Duration latest = absl::Seconds(8);
};

/// Carries calls to the coordinator. A call without an answer is sent again, unchanged, until one comes.
/// Processes that are not reachable neither send nor receive.
class Network {
 public:
  Network(World& world, CoordinatorHost& host) : world_(world), host_(host) {}

  void SetFaults(const NetworkFaults& faults) { faults_ = faults; }

  /// `done` gets the first answer, unless the process dies before.
  void Call(const std::shared_ptr<Process>& from, coordinator::Request request, absl::Duration timeout,
            CoordinatorHost::Callback done);

  /// The process died and its machine closes the connections: the coordinator learns that nobody waits.
  void Disconnect(const std::shared_ptr<Process>& process);

 private:
  struct Exchange;
  void Send(const std::shared_ptr<Exchange>& exchange);
  void Deliver(const std::shared_ptr<Exchange>& exchange);
  void Reply(const std::shared_ptr<Exchange>& exchange, absl::StatusOr<coordinator::Response> response);
  /// The coordinator hears that nobody waits for the calls sent so far, if that message arrives.
  void GiveUp(const std::shared_ptr<Exchange>& exchange);
  absl::Duration Delay();

  World& world_;
  CoordinatorHost& host_;
  NetworkFaults faults_;
  std::map<const Process*, std::vector<std::weak_ptr<Exchange>>> open_;
};

}  // namespace rsidiff::simulation
