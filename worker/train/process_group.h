#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace rsidiff::worker {

/// A rendezvous server (c10d TCPStore) that a worker offers; the one of a generation's rank 0 serves that
/// generation. Listens on every interface until destroyed.
class StoreServer {
 public:
  /// Picks a free port.
  static absl::StatusOr<std::unique_ptr<StoreServer>> Start();
  ~StoreServer();
  int port() const;

 private:
  struct State;
  explicit StoreServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct ProcessGroupOptions {
  int rank = 0;
  int world = 1;
  std::string store_host;
  int store_port = 0;
  /// Keys of one group; never used for two.
  std::string prefix;
  /// Address of this host that the other members reach it at (Gloo listens there).
  std::string host = "127.0.0.1";
  at::Device device = at::kCPU;
  /// Of forming the group and of every operation. Gloo has no other way to leave an operation that a
  /// stopped peer never enters.
  absl::Duration timeout = absl::Seconds(30);
};

/// Collective operations of a fixed set of processes: Gloo for CPU tensors, NCCL for CUDA tensors (one
/// process a GPU). All members call the same operations in the same order.
///
/// The process has to ignore SIGPIPE: a member that stood still writes to peers that have left.
///
/// After an error (UNAVAILABLE: a peer is gone or did not answer in time) the group is unusable: destroy it
/// and join another one. One thread at a time.
class ProcessGroup {
 public:
  /// An operation under way; it owns references to its tensor.
  class Pending {
   public:
    explicit Pending(std::shared_ptr<void> work) : work_(std::move(work)) {}

   private:
    friend class ProcessGroup;
    std::shared_ptr<void> work_;
  };

  /// Blocks until all members joined, the timeout at most, whatever state the store's process is in.
  static absl::StatusOr<std::unique_ptr<ProcessGroup>> Join(const ProcessGroupOptions& options);
  /// Waits until no operation touches a tensor any more.
  ~ProcessGroup();

  /// Starts summing `tensor` over the members, in place.
  absl::StatusOr<Pending> StartSum(const at::Tensor& tensor);
  /// Blocks for the timeout at most; not at all once an operation has failed.
  absl::Status Wait(const Pending& pending);

  absl::Status Sum(const at::Tensor& tensor);
  /// Copies the `source`'s values to everybody's `tensor`.
  absl::Status Broadcast(const at::Tensor& tensor, int source);

  int rank() const;
  int world() const;

 private:
  struct State;
  struct Forming;
  static absl::StatusOr<std::unique_ptr<State>> Form(const ProcessGroupOptions& options);
  explicit ProcessGroup(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rsidiff::worker
