#include "worker/train/process_group.h"

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

using WorkPointer = c10::intrusive_ptr<c10d::Work>;

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return absl::ToChronoMilliseconds(duration);
}

// Whatever c10d throws here comes from a peer, a socket or a timeout. The first line says it; the rest is
// a stack trace.
absl::Status PeerError(absl::string_view what, const std::exception& error) {
  absl::string_view message = error.what();
  message = message.substr(0, message.find('\n'));
  return absl::UnavailableError(absl::StrCat(what, ": ", message));
}

c10::intrusive_ptr<c10d::Backend> MakeGloo(const c10::intrusive_ptr<c10d::Store>& store,
                                           const ProcessGroupOptions& options) {
  auto gloo = c10d::ProcessGroupGloo::Options::create(Milliseconds(options.timeout));
  gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(options.host));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, options.rank, options.world, std::move(gloo));
}

#ifdef USE_C10D_NCCL
c10::intrusive_ptr<c10d::Backend> MakeNccl(const c10::intrusive_ptr<c10d::Store>& store,
                                           const ProcessGroupOptions& options) {
  // The survivors of a lost peer must live: no watchdog may end the process. Wait() keeps the time.
  for (const char* name :
       {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_ENABLE_MONITORING", "TORCH_NCCL_DUMP_ON_TIMEOUT",
        "TORCH_NCCL_PROPAGATE_ERROR", "TORCH_NCCL_RETHROW_CUDA_ERRORS"}) {
    setenv(name, "0", /*replace=*/0);
  }
  auto nccl = c10d::ProcessGroupNCCL::Options::create();
  nccl->timeout = Milliseconds(options.timeout);
  auto group =
      c10::make_intrusive<c10d::ProcessGroupNCCL>(store, options.rank, options.world, std::move(nccl));
  group->eagerConnectSingleDevice(options.device);
  return group;
}
#endif

}  // namespace

struct StoreServer::State {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

StoreServer::StoreServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
StoreServer::~StoreServer() = default;
int StoreServer::port() const {
  return state_->store->getPort();
}

absl::StatusOr<std::unique_ptr<StoreServer>> StoreServer::Start() {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  try {
    auto state = std::make_unique<State>();
    state->store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
    return std::unique_ptr<StoreServer>(new StoreServer(std::move(state)));
  } catch (const std::exception& error) {
    return PeerError("cannot start the training store", error);
  }
}

struct ProcessGroup::State {
  ProcessGroupOptions options;
  c10::intrusive_ptr<c10d::Backend> backend;
  bool failed = false;
};

ProcessGroup::ProcessGroup(std::unique_ptr<State> state) : state_(std::move(state)) {}

ProcessGroup::~ProcessGroup() {
  // NCCL's destructor waits for operations that a dead peer never ends; Gloo's end by their timeout.
  if (!state_->failed || !state_->options.device.is_cuda()) return;
  try {
    state_->backend->abort();
  } catch (const std::exception&) {
    // Nothing is left to abort.
  }
}

int ProcessGroup::rank() const {
  return state_->options.rank;
}
int ProcessGroup::world() const {
  return state_->options.world;
}

// How far a group under formation has come.
struct ProcessGroup::Forming {
  absl::Notification ended;
  absl::StatusOr<std::unique_ptr<State>> state;
};

absl::StatusOr<std::unique_ptr<ProcessGroup>> ProcessGroup::Join(const ProcessGroupOptions& options) {
  // A store whose process stands still takes the connection and never answers, and c10d's client has no limit
  // for that. So the formation has a thread, which is left behind when it takes too long: it ends, and closes
  // what it opened, when the store's process goes on or dies.
  auto forming = std::make_shared<Forming>();
  std::thread([forming, options] {
    forming->state = Form(options);
    forming->ended.Notify();
  }).detach();
  if (!forming->ended.WaitForNotificationWithTimeout(options.timeout)) {
    return absl::UnavailableError(absl::StrCat("training group ", options.prefix,
                                               " was not formed in time: its store at ", options.store_host,
                                               ":", options.store_port, " or a member does not answer"));
  }
  RSIDIFF_RETURN_IF_ERROR(forming->state.status());
  return std::unique_ptr<ProcessGroup>(new ProcessGroup(*std::move(forming->state)));
}

absl::StatusOr<std::unique_ptr<ProcessGroup::State>> ProcessGroup::Form(const ProcessGroupOptions& options) {
  c10d::TCPStoreOptions store_options;
  store_options.port = static_cast<uint16_t>(options.store_port);
  store_options.waitWorkers = false;
  store_options.timeout = Milliseconds(options.timeout);
  try {
    auto tcp = c10::make_intrusive<c10d::TCPStore>(options.store_host, store_options);
    auto store = c10::make_intrusive<c10d::PrefixStore>(options.prefix, std::move(tcp));
    auto state = std::make_unique<State>();
    state->options = options;
    if (options.device.is_cuda()) {
#ifdef USE_C10D_NCCL
      state->backend = MakeNccl(store, options);
#else
      return absl::FailedPreconditionError("this worker was built without NCCL: CUDA devices train alone");
#endif
    } else {
      state->backend = MakeGloo(store, options);
    }
    return state;
  } catch (const std::exception& error) {
    return PeerError(absl::StrCat("cannot join training group ", options.prefix, " at ", options.store_host,
                                  ":", options.store_port, " as rank ", options.rank),
                     error);
  }
}

absl::StatusOr<ProcessGroup::Pending> ProcessGroup::StartSum(const at::Tensor& tensor) {
  try {
    c10d::AllreduceOptions options;
    options.timeout = Milliseconds(state_->options.timeout);
    std::vector<at::Tensor> tensors = {tensor};
    return Pending(std::make_shared<WorkPointer>(state_->backend->allreduce(tensors, options)));
  } catch (const std::exception& error) {
    state_->failed = true;
    return PeerError("training all-reduce", error);
  }
}

absl::Status ProcessGroup::Wait(const Pending& pending) {
  // Each of the operations under way would wait for its own timeout, one after another.
  if (state_->failed) return absl::UnavailableError("training operation: the group is broken");
  const WorkPointer& work = *static_cast<WorkPointer*>(pending.work_.get());
  try {
    if (state_->options.device.is_cuda()) {
      // wait() of NCCL only orders streams; the host has to see the end before it may commit a step.
      const auto deadline = std::chrono::steady_clock::now() + Milliseconds(state_->options.timeout);
      while (!work->isCompleted()) {
        if (std::chrono::steady_clock::now() > deadline) {
          state_->failed = true;
          return absl::UnavailableError("training operation: a member did not answer in time");
        }
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
    work->wait();
    return absl::OkStatus();
  } catch (const std::exception& error) {
    state_->failed = true;
    return PeerError("training operation", error);
  }
}

absl::Status ProcessGroup::Sum(const at::Tensor& tensor) {
  absl::StatusOr<Pending> pending = StartSum(tensor);
  return pending.ok() ? Wait(*pending) : pending.status();
}

absl::Status ProcessGroup::Broadcast(const at::Tensor& tensor, int source) {
  try {
    c10d::BroadcastOptions options;
    options.rootRank = source;
    options.timeout = Milliseconds(state_->options.timeout);
    std::vector<at::Tensor> tensors = {tensor};
    return Wait(Pending(std::make_shared<WorkPointer>(state_->backend->broadcast(tensors, options))));
  } catch (const std::exception& error) {
    state_->failed = true;
    return PeerError("training broadcast", error);
  }
}

}  // namespace rsidiff::worker
