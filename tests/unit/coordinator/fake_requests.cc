#include "tests/unit/coordinator/fake_requests.h"

#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

template <class Request>
Request From(const WorkerIdentity& worker) {
  Request request;
  request.set_worker(worker.name);
  request.set_incarnation(worker.incarnation);
  return request;
}

}  // namespace

v1::RegisterRequest MakeRegister(const std::string& name) {
  v1::RegisterRequest request;
  request.set_request_id(RandomId());
  request.set_name(name);
  request.set_protocol_version(kProtocolVersion);
  return request;
}

v1::LeaseRequest MakeLease(const WorkerIdentity& worker, uint32_t max_tasks, uint32_t wait_ms) {
  auto request = From<v1::LeaseRequest>(worker);
  request.set_request_id(RandomId());
  request.set_max_tasks(max_tasks);
  request.set_wait_ms(wait_ms);
  return request;
}

v1::HeartbeatRequest MakeHeartbeat(const WorkerIdentity& worker, const std::vector<v1::Grant>& held) {
  auto request = From<v1::HeartbeatRequest>(worker);
  for (const v1::Grant& grant : held) {
    v1::HeldLease* lease = request.add_held();
    lease->set_token(grant.token());
    *lease->mutable_task() = grant.task();
  }
  return request;
}

v1::CompleteRequest MakeCompletion(const WorkerIdentity& worker, const v1::Grant& grant) {
  auto request = From<v1::CompleteRequest>(worker);
  request.set_request_id(RandomId());
  *request.mutable_task() = grant.task();
  request.set_token(grant.token());
  *request.mutable_result() = FakeResult(grant.payload());
  return request;
}

v1::JoinTrainingRequest MakeJoin(const WorkerIdentity& worker, const v1::Grant& grant, uint32_t wait_ms) {
  auto request = From<v1::JoinTrainingRequest>(worker);
  request.set_request_id(RandomId());
  *request.mutable_task() = grant.task();
  request.set_token(grant.token());
  request.set_store_address("127.0.0.1:1");
  request.set_wait_ms(wait_ms);
  return request;
}

}  // namespace rsidiff::coordinator
