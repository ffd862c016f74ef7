#include "coordinator/cli/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/artifact/open_store.h"
#include "common/base/cache_folder.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "common/config/nearest_name.h"
#include "common/rpc/status.h"
#include "coordinator/cli/sample_pages.h"
#include "rsidiff/v1/artifact.grpc.pb.h"
#include "rsidiff/v1/backup.grpc.pb.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kCallDeadline = absl::Seconds(60);
constexpr absl::Duration kBackupDeadline = absl::Hours(1);
constexpr double kSlowestBytesASecond = 1 << 20;
constexpr absl::Duration kFirstDelay = absl::Milliseconds(100);
constexpr absl::Duration kLongestDelay = absl::Seconds(2);

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  // A coordinator that restarts is found again within the retries' own delay.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

struct ControlClient::Stubs {
  explicit Stubs(const std::string& address)
      : channel(Connect(address)),
        control(v1::ControlService::NewStub(channel)),
        artifacts(v1::ArtifactService::NewStub(channel)),
        backups(v1::BackupService::NewStub(channel)) {}

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::ControlService::Stub> control;
  std::unique_ptr<v1::ArtifactService::Stub> artifacts;
  std::unique_ptr<v1::BackupService::Stub> backups;
};

ControlClient::ControlClient(std::string address, absl::Duration patience)
    : address_(std::move(address)), patience_(patience), stubs_(std::make_unique<Stubs>(address_)) {}

ControlClient::~ControlClient() = default;

absl::Status ControlClient::Unanswered(absl::string_view message) const {
  return absl::DeadlineExceededError(
      absl::StrCat("no answer from the coordinator at ", address_, ": ", message));
}

template <typename Call>
absl::Status ControlClient::WithRetries(const Call& call) {
  return WithRetries(kCallDeadline, call);
}

template <typename Call>
absl::Status ControlClient::WithRetries(absl::Duration deadline, const Call& call) {
  const absl::Time give_up = absl::Now() + patience_;
  absl::Duration delay = kFirstDelay;
  while (true) {
    grpc::ClientContext context;
    if (deadline != absl::InfiniteDuration()) {
      context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
    }
    const grpc::Status status = call(context);
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return Unanswered(status.error_message());
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpc(status);
    if (absl::Now() + delay > give_up) {
      return absl::UnavailableError(
          absl::StrCat("coordinator not reachable at ", address_, ": ", status.error_message()));
    }
    absl::SleepFor(delay);
    delay = std::min(delay * 2, kLongestDelay);
  }
}

absl::StatusOr<v1::GetInfoResponse> ControlClient::GetInfo() {
  v1::GetInfoResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(
      [&](grpc::ClientContext& context) { return stubs_->control->GetInfo(&context, {}, &response); }));
  return response;
}

absl::StatusOr<uint64_t> ControlClient::SubmitRun(const v1::SubmitRunRequest& request) {
  const absl::Duration transfer =
      absl::Seconds(static_cast<double>(request.ByteSizeLong()) / kSlowestBytesASecond);
  v1::SubmitRunResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(kCallDeadline + transfer, [&](grpc::ClientContext& context) {
    return stubs_->control->SubmitRun(&context, request, &response);
  }));
  return response.run_id();
}

absl::StatusOr<v1::ListRunsResponse> ControlClient::ListRuns() {
  v1::ListRunsResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(
      [&](grpc::ClientContext& context) { return stubs_->control->ListRuns(&context, {}, &response); }));
  return response;
}

absl::StatusOr<v1::RunStatus> ControlClient::GetRun(uint64_t run_id) {
  v1::GetRunRequest request;
  request.set_run_id(run_id);
  v1::RunStatus response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(
      [&](grpc::ClientContext& context) { return stubs_->control->GetRun(&context, request, &response); }));
  return response;
}

absl::StatusOr<v1::RunStatus> ControlClient::SetRunState(uint64_t run_id, v1::RunState state) {
  v1::SetRunStateRequest request;
  request.set_request_id(RandomId());
  request.set_run_id(run_id);
  request.set_state(state);
  v1::RunStatus response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries([&](grpc::ClientContext& context) {
    return stubs_->control->SetRunState(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<uint64_t> ControlClient::ForkRun(v1::ForkRunRequest request) {
  request.set_request_id(RandomId());
  v1::SubmitRunResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(
      [&](grpc::ClientContext& context) { return stubs_->control->ForkRun(&context, request, &response); }));
  return response.run_id();
}

absl::StatusOr<std::vector<v1::SampleRecord>> ControlClient::ListSamples(uint64_t run_id, uint32_t round,
                                                                         v1::Purpose purpose) {
  v1::ListSamplesRequest request;
  request.set_run_id(run_id);
  request.set_round(round);
  request.set_purpose(purpose);
  std::vector<v1::SampleRecord> samples;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(absl::InfiniteDuration(), [&](grpc::ClientContext& context) {
    samples.clear();
    SamplePages pages(*stubs_->control, context, request, kCallDeadline);
    v1::ListSamplesResponse page;
    while (pages.Read(&page)) {
      samples.insert(samples.end(), std::make_move_iterator(page.mutable_samples()->begin()),
                     std::make_move_iterator(page.mutable_samples()->end()));
    }
    return pages.Finish();
  }));
  return samples;
}

absl::StatusOr<v1::GetSampleResponse> ControlClient::GetSample(const v1::GetSampleRequest& request) {
  v1::GetSampleResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries([&](grpc::ClientContext& context) {
    return stubs_->control->GetSample(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<std::vector<v1::EventRecord>> ControlClient::ListEvents(uint64_t run_id, uint64_t after) {
  v1::ListEventsRequest request;
  request.set_run_id(run_id);
  request.set_after(after);
  std::vector<v1::EventRecord> events;
  for (;;) {
    v1::ListEventsResponse page;
    RSIDIFF_RETURN_IF_ERROR(WithRetries(
        [&](grpc::ClientContext& context) { return stubs_->control->ListEvents(&context, request, &page); }));
    if (page.events().empty()) return events;
    request.set_after(page.events().rbegin()->sequence());
    events.insert(events.end(), std::make_move_iterator(page.mutable_events()->begin()),
                  std::make_move_iterator(page.mutable_events()->end()));
  }
}

absl::StatusOr<v1::ListWorkersResponse> ControlClient::ListWorkers() {
  v1::ListWorkersResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(
      [&](grpc::ClientContext& context) { return stubs_->control->ListWorkers(&context, {}, &response); }));
  return response;
}

absl::StatusOr<v1::WorkerRecord> ControlClient::DrainWorker(const std::string& name,
                                                            absl::Duration deadline) {
  v1::DrainWorkerRequest request;
  request.set_request_id(RandomId());
  request.set_name(name);
  request.set_deadline_seconds(static_cast<uint32_t>(absl::ToInt64Seconds(deadline)));
  request.set_reason("drained by hand");
  v1::DrainWorkerResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries([&](grpc::ClientContext& context) {
    return stubs_->control->DrainWorker(&context, request, &response);
  }));
  return response.worker();
}

absl::StatusOr<v1::CreateBackupResponse> ControlClient::CreateBackup(const std::string& name) {
  // The waiting for a coordinator that is away is done here, since Create is sent once.
  RSIDIFF_RETURN_IF_ERROR(GetInfo().status());
  v1::CreateBackupRequest request;
  request.set_name(name);
  v1::CreateBackupResponse response;
  grpc::ClientContext context;
  // A large database on another disk is copied.
  context.set_deadline(absl::ToChronoTime(absl::Now() + kBackupDeadline));
  const grpc::Status status = stubs_->backups->Create(&context, request, &response);
  if (status.ok()) return response;
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return Unanswered(status.error_message());
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpc(status);
  return absl::UnavailableError(
      absl::StrCat("the coordinator at ", address_,
                   " did not confirm the backup, which may be there all the same: ", status.error_message()));
}

absl::StatusOr<v1::RunStatus> ControlClient::FindRun(absl::string_view id_or_name) {
  uint64_t id = 0;
  if (absl::SimpleAtoi(id_or_name, &id)) return GetRun(id);
  RSIDIFF_ASSIGN_OR_RETURN(v1::ListRunsResponse list, ListRuns());
  uint64_t newest = 0;
  std::vector<std::string> names;
  for (const v1::RunStatus& status : list.runs()) {
    names.push_back(status.run().spec().name());
    if (names.back() == id_or_name) newest = std::max(newest, status.run().id());
  }
  if (newest > 0) return GetRun(newest);
  const std::optional<std::string> near = NearestName(id_or_name, names);
  return absl::NotFoundError(absl::StrCat("no run with the name \"", id_or_name, "\"",
                                          near ? absl::StrCat("; did you mean \"", *near, "\"?") : ""));
}

absl::StatusOr<std::unique_ptr<ArtifactStore>> ControlClient::OpenArtifacts() {
  CoordinatorStoreOptions options;
  options.cache = CacheFolder();
  options.retry_for = patience_;
  RSIDIFF_ASSIGN_OR_RETURN(OpenedStore opened, OpenStore(stubs_->channel, options));
  return std::move(opened.store);
}

absl::StatusOr<v1::LocateStoreResponse> ControlClient::LocateArtifacts() {
  v1::LocateStoreResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries(
      [&](grpc::ClientContext& context) { return stubs_->artifacts->Locate(&context, {}, &response); }));
  return response;
}

}  // namespace rsidiff::coordinator
