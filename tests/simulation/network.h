#pragma once

#include <functional>
#include <memory>

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
class Network {
 public:
  Network(World& world, CoordinatorHost& host) : world_(world), host_(host) {}

  void SetFaults(const NetworkFaults& faults) { faults_ = faults; }

  /// `done` gets the first answer, unless the process dies before.
  void Call(const std::shared_ptr<Process>& from, coordinator::Request request, absl::Duration timeout,
            CoordinatorHost::Callback done);

 private:
  struct Exchange;
  void Send(const std::shared_ptr<Exchange>& exchange);
  void Deliver(const std::shared_ptr<Exchange>& exchange);
  absl::Duration Delay();

  World& world_;
  CoordinatorHost& host_;
  NetworkFaults faults_;
};

}  // namespace rsidiff::simulation
