#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// A worker as the coordinator knows it.
struct WorkerIdentity {
  std::string name;
  uint64_t incarnation = 0;
};

// The calls of a worker that has no engine, each with a request id of its own.

v1::RegisterRequest MakeRegister(const std::string& name);
v1::LeaseRequest MakeLease(const WorkerIdentity& worker, uint32_t max_tasks, uint32_t wait_ms);
v1::HeartbeatRequest MakeHeartbeat(const WorkerIdentity& worker, const std::vector<v1::Grant>& held);
/// Reports FakeResult().
v1::CompleteRequest MakeCompletion(const WorkerIdentity& worker, const v1::Grant& grant);
/// Offers a store that nobody listens at.
v1::JoinTrainingRequest MakeJoin(const WorkerIdentity& worker, const v1::Grant& grant, uint32_t wait_ms);

}  // namespace rsidiff::coordinator
