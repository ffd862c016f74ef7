#include "tests/simulation/network.h"

#include <algorithm>
#include <utility>

namespace rsidiff::simulation {

struct Network::Exchange {
  std::shared_ptr<Process> from;
  coordinator::Request request;
  absl::Duration timeout;
  CoordinatorHost::Callback done;
  std::vector<uint64_t> calls;  // of this try, as the coordinator numbers them
  int tries = 0;
  bool answered = false;
};

void Network::Call(const std::shared_ptr<Process>& from, coordinator::Request request, absl::Duration timeout,
                   CoordinatorHost::Callback done) {
  auto exchange =
      std::make_shared<Exchange>(Exchange{from, std::move(request), timeout, std::move(done), {}});
  auto& open = open_[from.get()];
  open.erase(std::remove_if(open.begin(), open.end(), [](const auto& old) { return old.expired(); }),
             open.end());
  open.push_back(exchange);
  Send(exchange);
}

absl::Duration Network::Delay() {
  if (world_.random.Chance(faults_.late)) return world_.random.Between(absl::Milliseconds(1), faults_.latest);
  return world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(5));
}

void Network::Send(const std::shared_ptr<Exchange>& exchange) {
  if (exchange->answered) return;
  GiveUp(exchange);
  ++exchange->tries;
  if (exchange->from->reachable) {
    if (!world_.random.Chance(faults_.request_lost)) Deliver(exchange);
    if (world_.random.Chance(faults_.duplicated)) Deliver(exchange);
  }
  world_.After(exchange->timeout, exchange->from, [this, exchange] { Send(exchange); });
}

void Network::Deliver(const std::shared_ptr<Exchange>& exchange) {
  world_.After(Delay(), [this, exchange] {
    if (!exchange->from->reachable) return;
    auto reply = [this, exchange, tries = exchange->tries](absl::StatusOr<coordinator::Response> response) {
      // Nobody listens any more to a call that was given up.
      if (tries == exchange->tries) Reply(exchange, std::move(response));
    };
    exchange->calls.push_back(host_.Receive(exchange->request, std::move(reply)));
  });
}

void Network::Reply(const std::shared_ptr<Exchange>& exchange,
                    absl::StatusOr<coordinator::Response> response) {
  if (!exchange->from->reachable || world_.random.Chance(faults_.reply_lost)) return;
  world_.After(Delay(), exchange->from, [exchange, response = std::move(response)] {
    if (!exchange->from->reachable || std::exchange(exchange->answered, true)) return;
    exchange->done(response);
  });
}

void Network::GiveUp(const std::shared_ptr<Exchange>& exchange) {
  std::vector<uint64_t> calls = std::exchange(exchange->calls, {});
  if (calls.empty() || !exchange->from->reachable || world_.random.Chance(faults_.request_lost)) return;
  world_.After(Delay(), [this, calls] {
    for (uint64_t call : calls) host_.Cancel(call);
  });
}

void Network::Disconnect(const std::shared_ptr<Process>& process) {
  for (const auto& open : open_[process.get()]) {
    auto exchange = open.lock();
    if (exchange != nullptr && !exchange->answered) GiveUp(exchange);
  }
  open_.erase(process.get());
}

}  // namespace rsidiff::simulation
