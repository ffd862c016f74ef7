#include "tests/simulation/network.h"

#include <utility>

namespace rsidiff::simulation {

struct Network::Exchange {
  std::shared_ptr<Process> from;
  coordinator::Request request;
  absl::Duration timeout;
  CoordinatorHost::Callback done;
  bool answered = false;
};

void Network::Call(const std::shared_ptr<Process>& from, coordinator::Request request, absl::Duration timeout,
                   CoordinatorHost::Callback done) {
  Send(std::make_shared<Exchange>(Exchange{from, std::move(request), timeout, std::move(done)}));
}

absl::Duration Network::Delay() {
  if (world_.random.Chance(faults_.late)) return world_.random.Between(absl::Milliseconds(1), faults_.latest);
  return world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(5));
}

void Network::Send(const std::shared_ptr<Exchange>& exchange) {
  if (exchange->answered) return;
  if (!world_.random.Chance(faults_.request_lost)) Deliver(exchange);
  if (world_.random.Chance(faults_.duplicated)) Deliver(exchange);
  world_.After(exchange->timeout, exchange->from, [this, exchange] { Send(exchange); });
}

void Network::Deliver(const std::shared_ptr<Exchange>& exchange) {
  world_.After(Delay(), [this, exchange] {
    host_.Receive(exchange->request, [this, exchange](absl::StatusOr<coordinator::Response> response) {
      if (world_.random.Chance(faults_.reply_lost)) return;
      world_.After(Delay(), exchange->from, [exchange, response = std::move(response)] {
        if (std::exchange(exchange->answered, true)) return;
        exchange->done(response);
      });
    });
  });
}

}  // namespace rsidiff::simulation
