#include "tests/unit/cli/fake_coordinator.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/protocol.h"

namespace rsidiff::coordinator {
namespace {

constexpr char kProbeFile[] = "probe";
constexpr char kProbeContent[] = "the same folder";

grpc::Status NoSuchRun(uint64_t id) {
  return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no run ", id)};
}

}  // namespace

FakeCoordinator::FakeCoordinator()
    : folder_(std::filesystem::temp_directory_path() / absl::StrCat("rsidiff-fake-", RandomId())) {
  store_ = *DirectoryStore::Open(folder_);
  if (!WriteFileAtomically(folder_ / kProbeFile, kProbeContent).ok()) std::abort();
  artifacts_ = std::make_unique<Artifacts>(folder_.string());
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  builder.RegisterService(artifacts_.get());
  builder.RegisterService(&backup_service_);
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
}

FakeCoordinator::~FakeCoordinator() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
  std::filesystem::remove_all(folder_);
}

grpc::Status FakeCoordinator::Artifacts::Locate(grpc::ServerContext*, const v1::LocateStoreRequest*,
                                                v1::LocateStoreResponse* response) {
  response->set_path(folder_);
  response->set_probe_file(kProbeFile);
  response->set_probe_content(kProbeContent);
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::Backups::Create(grpc::ServerContext*, const v1::CreateBackupRequest* request,
                                              v1::CreateBackupResponse* response) {
  absl::MutexLock lock(&fake_->mutex);
  fake_->backups.push_back(request->name());
  if (fake_->failing_backups-- > 0) return {grpc::StatusCode::UNAVAILABLE, "Socket closed"};
  response->set_path(absl::StrCat("/backups/", request->name()));
  response->mutable_manifest()->set_format(1);
  return grpc::Status::OK;
}

v1::RunStatus* FakeCoordinator::Find(uint64_t id) {
  for (v1::RunStatus& status : runs) {
    if (status.run().id() == id) return &status;
  }
  return nullptr;
}

grpc::Status FakeCoordinator::GetInfo(grpc::ServerContext*, const v1::GetInfoRequest*,
                                      v1::GetInfoResponse* response) {
  absl::MutexLock lock(&mutex);
  response->set_version(version);
  response->set_protocol_version(kProtocolVersion);
  response->set_cluster_id("cluster-1");
  response->set_now_us(absl::ToUnixMicros(absl::Now()));
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest* request,
                                        v1::SubmitRunResponse* response) {
  absl::MutexLock lock(&mutex);
  submission_ids.push_back(request->request_id());
  if (failing_submissions-- > 0) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
  submitted.push_back(*request);
  response->set_run_id(41 + submitted.size());
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*,
                                       v1::ListRunsResponse* response) {
  absl::MutexLock lock(&mutex);
  *response->mutable_runs() = {runs.begin(), runs.end()};
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::GetRun(grpc::ServerContext*, const v1::GetRunRequest* request,
                                     v1::RunStatus* response) {
  absl::MutexLock lock(&mutex);
  if (!script.empty()) {
    *response = script.front();
    script.pop_front();
    if (response->run().id() == 0) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
    if (response->run().id() == kOverloaded) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the coordinator is overloaded"};
    }
    return grpc::Status::OK;
  }
  const v1::RunStatus* found = Find(request->run_id());
  if (found == nullptr) return NoSuchRun(request->run_id());
  *response = *found;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::SetRunState(grpc::ServerContext*, const v1::SetRunStateRequest* request,
                                          v1::RunStatus* response) {
  absl::MutexLock lock(&mutex);
  v1::RunStatus* found = Find(request->run_id());
  if (found == nullptr) return NoSuchRun(request->run_id());
  if (found->run().state() == v1::RUN_STATE_SUCCEEDED) {
    return {grpc::StatusCode::FAILED_PRECONDITION, "the run has ended"};
  }
  found->mutable_run()->set_state(request->state());
  *response = *found;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ForkRun(grpc::ServerContext*, const v1::ForkRunRequest* request,
                                      v1::SubmitRunResponse* response) {
  absl::MutexLock lock(&mutex);
  forked.push_back(*request);
  response->set_run_id(77);
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListSamples(grpc::ServerContext* context, const v1::ListSamplesRequest* request,
                                          grpc::ServerWriter<v1::ListSamplesResponse>* writer) {
  bool stall = false;
  {
    absl::MutexLock lock(&mutex);
    samples_deadline = context->deadline();
    stall = samples_stall;
    for (const v1::SampleRecord& sample : samples[{request->round(), request->purpose()}]) {
      v1::ListSamplesResponse response;
      *response.add_samples() = sample;
      writer->Write(response);
    }
  }
  while (stall && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::GetSample(grpc::ServerContext*, const v1::GetSampleRequest* request,
                                        v1::GetSampleResponse* response) {
  absl::MutexLock lock(&mutex);
  const std::pair<uint32_t, v1::Purpose> key = {request->round(), request->purpose()};
  if (request->index() >= samples[key].size()) {
    return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no sample ", request->index())};
  }
  *response->mutable_sample() = samples[key][request->index()];
  *response->mutable_task() = tasks[key];
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                                         v1::ListEventsResponse* response) {
  absl::MutexLock lock(&mutex);
  for (const v1::EventRecord& event : events) {
    if (event.run_id() != request->run_id() || event.sequence() <= request->after()) continue;
    if (response->events_size() < 2) *response->add_events() = event;
  }
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                          v1::ListWorkersResponse* response) {
  absl::MutexLock lock(&mutex);
  *response->mutable_workers() = {workers.begin(), workers.end()};
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request,
                                          v1::DrainWorkerResponse* response) {
  absl::MutexLock lock(&mutex);
  drained.push_back(*request);
  for (const v1::WorkerRecord& worker : workers) {
    if (worker.name() != request->name()) continue;
    *response->mutable_worker() = worker;
    response->mutable_worker()->set_state(v1::WORKER_STATE_DRAINING);
    return grpc::Status::OK;
  }
  return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no worker \"", request->name(), "\"")};
}

}  // namespace rsidiff::coordinator
