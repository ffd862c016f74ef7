#include "coordinator/service/coordinator.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/address.h"
#include "common/base/digest.h"
#include "common/base/fault_point.h"
#include "common/base/file.h"
#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "coordinator/service/service_discovery.h"
#include "coordinator/state/backup.h"
#include "coordinator/state/check.h"

namespace rsidiff::coordinator {
namespace {

constexpr int kIoThreads = 4;
constexpr size_t kMaxIoJobs = 4096;
constexpr absl::Duration kSnapshotTimeout = absl::Seconds(2);

// gRPC only logs why it could not bind; asking the system again tells it.
std::string WhyNotBound(const HostPort& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  int resolved = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (resolved != 0) return gai_strerror(resolved);
  std::string reason = "cannot bind";
  int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
  if (fd >= 0) {
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0) reason = std::strerror(errno);
    close(fd);
  }
  freeaddrinfo(found);
  return reason;
}

void ConfigureServer(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // Two coordinators must not share a port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Clients ping idle connections every 20 s or more; the default limit of five minutes would end them.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
}

Database::Durability ToDatabase(Durability durability) {
  return durability == Durability::kPowerLoss ? Database::Durability::kSync : Database::Durability::kWal;
}

/// Rows that break a rule would make the core fail later, in the middle of a run.
absl::Status RefuseDamage(const std::vector<Row>& rows, const std::filesystem::path& data) {
  absl::Status sound = coordinator::ToStatus(CheckRows(rows, CheckScope::kRecovery));
  if (sound.ok()) return sound;
  return absl::DataLossError(
      absl::StrCat("the database in ", data.string(), " is damaged: ", sound.message(),
                   "; rsidiff-coordinator check tells all, restore brings a backup back"));
}

bool IsWildcard(const std::string& address) {
  return absl::StartsWith(address, "0.0.0.0:") || absl::StartsWith(address, "[::]:");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(CoordinatorOptions options) {
  auto coordinator = absl::WrapUnique(new Coordinator(std::move(options)));
  RSIDIFF_RETURN_IF_ERROR(coordinator->OpenStores());
  RSIDIFF_RETURN_IF_ERROR(coordinator->StartHttp());
  RSIDIFF_RETURN_IF_ERROR(coordinator->StartCore());
  RSIDIFF_RETURN_IF_ERROR(coordinator->StartGrpc());
  FaultPoint("start.serving");
  RSIDIFF_RETURN_IF_ERROR(coordinator->WriteAddresses());
  return coordinator;
}

Coordinator::Coordinator(CoordinatorOptions options) : options_(std::move(options)) {}

Coordinator::~Coordinator() {
  Stop();
}

absl::Status Coordinator::OpenStores() {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(options_.data));
  RSIDIFF_RETURN_IF_ERROR(CheckNoUnfinishedRestore(options_.data));
  DatabaseOptions database;
  database.cluster_id = options_.cluster_id;
  database.report = [](const std::string& warning) { LogWarning(warning); };
  RSIDIFF_ASSIGN_OR_RETURN(database_, Database::Open(options_.data / "db", database));
  FaultPoint("start.opened");
  RSIDIFF_RETURN_IF_ERROR(RemoveUnfinishedBackups(BackupFolder()));
  auto folder = options_.artifacts.empty() ? options_.data / "artifacts" : options_.artifacts;
  RSIDIFF_ASSIGN_OR_RETURN(artifacts_, DirectoryStore::Open(folder));
  return absl::OkStatus();
}

std::filesystem::path Coordinator::BackupFolder() const {
  return options_.backups.empty() ? options_.data / "backups" : options_.backups;
}

absl::Status Coordinator::StartHttp() {
  page_.AddSource(std::make_shared<StateMetrics>([this] { return TakeSnapshot(); }));
  HttpServerOptions http;
  http.address = options_.http_address;
  http.title = "rsidiff coordinator";
  http.metrics = &page_;
  http.ready = [this] { return Ready(); };
  http.routes = {{"/sd", "Targets for Prometheus' http_sd_configs",
                  [this](const HttpRequest& request) { return ServiceDiscovery(request); }}};
  RSIDIFF_ASSIGN_OR_RETURN(http_, HttpServer::Start(std::move(http)));
  return absl::OkStatus();
}

absl::Status Coordinator::StartCore() {
  CoreLoopOptions loop;
  loop.now = SteadyClock();
  loop.artifacts = artifacts_.get();
  loop.write = [this](const std::vector<RowWrite>& rows, Durability durability) {
    return database_->Write(rows, ToDatabase(durability));
  };
  loop.on_failure = [this](const absl::Status& status) { OnWriteFailure(status); };
  loop.on_commit = [this](const CommitReport& report) { metrics_.CountCommit(report); };

  CoreOptions core;
  core.version = RSIDIFF_VERSION;
  core.cluster_id = options_.cluster_id.empty() ? RandomId() : options_.cluster_id;
  core.http_address = http_->address();
  core.lease_ttl = options_.lease_ttl;
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows, database_->ScanForRecovery());
  RSIDIFF_RETURN_IF_ERROR(RefuseDamage(rows, options_.data));
  RSIDIFF_ASSIGN_OR_RETURN(auto recovered, Core::Recover(std::move(core), std::move(rows), loop.now()));
  RSIDIFF_ASSIGN_OR_RETURN(
      loop_, CoreLoop::Start(std::move(recovered.first), std::move(recovered.second), std::move(loop)));
  return absl::OkStatus();
}

absl::Status Coordinator::StartGrpc() {
  RSIDIFF_ASSIGN_OR_RETURN(HostPort address, ParseHostPort(options_.grpc_address));
  RSIDIFF_ASSIGN_OR_RETURN(std::string probe, PrepareProbe(artifacts_->folder()));
  io_ = std::make_unique<IoPool>(kIoThreads, kMaxIoJobs);
  worker_service_ = std::make_unique<WorkerServiceAdapter>(loop_.get(), &metrics_);
  control_service_ = std::make_unique<ControlServiceAdapter>(
      ControlServiceAdapter::Parts{loop_.get(), io_.get(), &metrics_, database_.get()});
  artifact_service_ = std::make_unique<ArtifactServiceAdapter>(
      ArtifactServiceAdapter::Parts{artifacts_.get(), io_.get(), &metrics_, std::move(probe)});
  backup_service_ = std::make_unique<BackupServiceAdapter>(
      BackupServiceAdapter::Parts{database_.get(), io_.get(), &metrics_, BackupFolder()});

  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  int port = 0;
  builder.AddListeningPort(address.ToString(), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(worker_service_.get());
  builder.RegisterService(control_service_.get());
  builder.RegisterService(artifact_service_.get());
  builder.RegisterService(backup_service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on gRPC address ", options_.grpc_address, ": ", WhyNotBound(address)));
  }
  address.port = static_cast<uint16_t>(port);
  grpc_address_ = address.ToString();
  absl::MutexLock lock(&mutex_);
  serving_ = true;
  server_->GetHealthCheckService()->SetServingStatus(failure_.ok());
  return absl::OkStatus();
}

absl::Status Coordinator::WriteAddresses() const {
  nlohmann::ordered_json addresses = {{"grpc", grpc_address_}, {"http", http_->address()}, {"pid", getpid()}};
  return WriteFileAtomically(options_.data / "coordinator.json", addresses.dump() + "\n");
}

absl::Status Coordinator::failure() const {
  absl::MutexLock lock(&mutex_);
  return failure_;
}

void Coordinator::Stop() {
  if (server_ != nullptr) server_->GetHealthCheckService()->SetServingStatus(false);
  // Answers every call, the long polls too, so that the shutdown has nothing to wait for.
  if (loop_ != nullptr) loop_->Stop();
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  serving_ = false;
  if (http_ != nullptr) http_->Stop();
}

void Coordinator::OnWriteFailure(const absl::Status& status) {
  LogError(absl::StrCat("stopped serving, nothing unwritten was acknowledged: ", status.message()));
  absl::MutexLock lock(&mutex_);
  failure_ = status;
  if (serving_) server_->GetHealthCheckService()->SetServingStatus(false);
}

absl::Status Coordinator::Ready() const {
  if (!serving_) return absl::UnavailableError("starting or stopping");
  return loop_->health();
}

absl::StatusOr<StateSnapshot> Coordinator::TakeSnapshot() const {
  if (!serving_) return absl::UnavailableError("starting or stopping");
  StateSnapshot snapshot;
  RSIDIFF_ASSIGN_OR_RETURN(Response info, loop_->CallAndWait(v1::GetInfoRequest(), kSnapshotTimeout));
  snapshot.info = std::get<v1::GetInfoResponse>(std::move(info));
  v1::ListRunsRequest recent;
  recent.set_ended_since_us(snapshot.info.now_us() - absl::ToInt64Microseconds(kKeepEnded));
  RSIDIFF_ASSIGN_OR_RETURN(Response runs, loop_->CallAndWait(recent, kSnapshotTimeout));
  RSIDIFF_ASSIGN_OR_RETURN(Response workers, loop_->CallAndWait(v1::ListWorkersRequest(), kSnapshotTimeout));
  snapshot.runs = std::get<v1::ListRunsResponse>(std::move(runs));
  for (auto& worker : *std::get<v1::ListWorkersResponse>(workers).mutable_workers()) {
    snapshot.workers.push_back(std::move(worker));
  }
  snapshot.statistics = loop_->statistics();
  snapshot.queued_calls = loop_->queue_size();
  return snapshot;
}

HttpResponse Coordinator::ServiceDiscovery(const HttpRequest& request) {
  absl::StatusOr<Response> answer = absl::UnavailableError("starting");
  if (serving_) answer = loop_->CallAndWait(v1::ListWorkersRequest(), kSnapshotTimeout);
  std::vector<v1::WorkerRecord> workers;
  {
    absl::MutexLock lock(&mutex_);
    if (answer.ok()) {
      const auto& list = std::get<v1::ListWorkersResponse>(*answer).workers();
      known_workers_.assign(list.begin(), list.end());
    }
    workers = known_workers_;
  }
  bool use_host = IsWildcard(http_->address()) && !request.host.empty();
  return {200, "application/json", ServiceDiscoveryJson(use_host ? request.host : http_->address(), workers)};
}

}  // namespace rsidiff::coordinator
