#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/artifact/coordinator_store.h"
#include "common/artifact/open_store.h"
#include "common/base/address.h"
#include "common/base/cache_folder.h"
#include "common/base/status_macros.h"
#include "common/telemetry/http_server.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics_page.h"
#include "worker/agent/agent.h"
#include "worker/agent/coordinator_client.h"
#include "worker/agent/host_address.h"
#include "worker/agent/metrics.h"
#include "worker/command/command.h"
#include "worker/phase/device_report.h"
#include "worker/phase/phase_runner.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

struct ServeArguments {
  std::string coordinator;
  std::string name = DefaultWorkerName();
  std::string device = "auto";
  std::string http = "127.0.0.1:0";
  std::string cache;
  std::string host;
  std::string artifacts = "auto";
  std::vector<std::string> tasks;
  std::vector<std::string> labels;
  std::string log_format = "text";
  std::string log_level = "info";
};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

/// Turns SIGTERM and SIGINT into calls on a thread of its own. Made before every other thread, which all
/// inherit the blocked signals.
class SignalThread {
 public:
  /// `on_signal` is called with 1 for the first signal, 2 for the second and so on.
  explicit SignalThread(std::function<void(int)> on_signal) : on_signal_(std::move(on_signal)) {
    const sigset_t signals = StopSignals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    thread_ = std::thread([this] { Loop(); });
  }
  ~SignalThread() {
    stop_ = true;
    thread_.join();
  }

 private:
  void Loop() {
    const sigset_t signals = StopSignals();
    const timespec look = {0, 200'000'000};
    int count = 0;
    while (!stop_) {
      if (sigtimedwait(&signals, nullptr, &look) > 0) on_signal_(++count);
    }
  }

  const std::function<void(int)> on_signal_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// What signals act on. While there is no agent a signal ends the process.
class StopRequests {
 public:
  /// Waits until no signal is being acted on: the agent that was set before may go away afterwards.
  void SetAgent(Agent* agent) {
    absl::MutexLock lock(&mutex_);
    agent_ = agent;
  }

  void OnSignal(int count) {
    absl::MutexLock lock(&mutex_);
    if (agent_ == nullptr || count > 2) _exit(count > 2 ? kRuntimeError : kSuccess);
    if (count == 1) {
      LogInfo("leaving after the task in progress; a second signal gives it back at once");
      agent_->Drain();
      return;
    }
    LogWarning("giving the task in progress back; a third signal ends the process at once");
    agent_->Stop();
  }

 private:
  absl::Mutex mutex_;
  Agent* agent_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

void AwaitCoordinator(const std::shared_ptr<grpc::Channel>& channel, const std::string& address) {
  constexpr absl::Duration kLook = absl::Seconds(2);
  CoordinatorClient client(channel);
  bool reported = false;
  while (!client.AwaitConnection(kLook)) {
    if (std::exchange(reported, true)) continue;
    // A channel does not say why it has no connection; a call that fails for it does.
    absl::Status status = client.GetInfo(kLook).status();
    if (status.ok()) return;
    LogWarning(absl::StrCat("no coordinator at ", address, " yet, trying again: ", status.message()));
  }
}

// `stop`, as of CoordinatorStoreOptions.
absl::StatusOr<std::unique_ptr<ArtifactStore>> OpenArtifacts(const ServeArguments& arguments,
                                                             const std::shared_ptr<grpc::Channel>& channel,
                                                             std::shared_ptr<const absl::Notification> stop) {
  CoordinatorStoreOptions options;
  options.stop = std::move(stop);
  options.cache = fs::path(arguments.cache) / "artifacts";
  if (arguments.artifacts == "stream") return CoordinatorStore::Open(channel, options);
  RSIDIFF_ASSIGN_OR_RETURN(OpenedStore opened, OpenStore(channel, options));
  LogInfo(absl::StrCat("artifacts ", opened.way));
  return std::move(opened.store);
}

void LogDevice(const ServeArguments& arguments, c10::Device device) {
  const DeviceReport report = DescribeDevice(device);
  if (device.is_cpu()) {
    LogInfo(absl::StrCat("device cpu: ", EnvironmentDescription(),
                         arguments.device == "auto" ? "; no CUDA device was found" : ""));
    return;
  }
  LogInfo(absl::StrCat("device ", report.id, ": ", report.name, ", ", report.memory_bytes >> 30, " GiB"));
}

// Prometheus asks at the address that the coordinator lists.
void WarnOfLoopback(const std::string& http, const std::string& host) {
  const absl::StatusOr<HostPort> address = ParseHostPort(http);
  if (!address.ok() || !IsLoopback(address->host) || IsLoopback(host)) return;
  LogWarning(absl::StrCat("no other host reaches the metrics at ", http,
                          "; for a Prometheus elsewhere start with --http 0.0.0.0:0"));
}

// The kinds of tasks as the command line names them. "score" is all that looks at samples that were drawn.
const std::map<std::string, std::vector<v1::TaskKind>> kTasks = {
    {"generate", {v1::TASK_KIND_GENERATE}},
    {"score",
     {v1::TASK_KIND_SCORE, v1::TASK_KIND_MOMENTS, v1::TASK_KIND_FIT_REFERENCE, v1::TASK_KIND_WEIGHT,
      v1::TASK_KIND_MEASURE}},
    {"train", {v1::TASK_KIND_TRAIN}},
    {"filter", {v1::TASK_KIND_EMBED, v1::TASK_KIND_FILTER}}};

v1::Capabilities MakeCapabilities(const ServeArguments& arguments, c10::Device device,
                                  const std::string& http) {
  DeviceReport report = DescribeDevice(device);
  v1::Capabilities capabilities;
  capabilities.set_device(report.id);
  capabilities.set_device_name(report.name);
  capabilities.set_device_memory_bytes(report.memory_bytes);
  capabilities.set_environment(EnvironmentDescription());
  capabilities.set_version(RSIDIFF_VERSION);
  capabilities.set_http_address(http);
  capabilities.set_host(arguments.host);
  for (const std::string& name : arguments.tasks) {
    for (const v1::TaskKind kind : kTasks.at(name)) capabilities.add_tasks(kind);
  }
  for (const std::string& label : arguments.labels) capabilities.add_labels(label);
  return capabilities;
}

absl::Status Serve(ServeArguments arguments) {
  LogOptions log;
  RSIDIFF_ASSIGN_OR_RETURN(log.format, ParseLogFormat(arguments.log_format));
  RSIDIFF_ASSIGN_OR_RETURN(log.level, ParseLogLevel(arguments.log_level));
  ConfigureLog(log);
  StopRequests stop;
  SignalThread signals([&stop](int count) { stop.OnSignal(count); });
  ConfigureProcess(1);  // each run sets its own thread count
  RSIDIFF_ASSIGN_OR_RETURN(c10::Device device, ParseDevice(arguments.device));
  if (arguments.cache.empty()) arguments.cache = CacheFolder().string();
  LogDevice(arguments, device);

  auto metrics = std::make_shared<WorkerMetrics>([device] { return DeviceMemoryInUse(device); });
  MetricsPage page("worker");
  page.AddSource(metrics);
  std::atomic<Agent*> ready_agent{nullptr};
  HttpServerOptions http;
  http.address = arguments.http;
  http.title = absl::StrCat("rsidiff worker ", arguments.name);
  http.metrics = &page;
  http.ready = [&ready_agent]() -> absl::Status {
    Agent* agent = ready_agent;
    return agent == nullptr ? absl::UnavailableError("not in contact with the coordinator yet")
                            : agent->Ready();
  };
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<HttpServer> server, HttpServer::Start(std::move(http)));
  LogInfo(absl::StrCat("metrics at http://", server->address(), "/metrics"));

  std::shared_ptr<grpc::Channel> channel = OpenChannel(arguments.coordinator);
  AwaitCoordinator(channel, arguments.coordinator);
  if (arguments.host.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(arguments.host, AddressTowards(arguments.coordinator));
  }
  AgentOptions options;
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ArtifactStore> store,
                           OpenArtifacts(arguments, channel, options.stop));
  PhaseRunnerOptions phase;
  phase.device = device;
  phase.folder = fs::path(arguments.cache) / "work";
  phase.host = arguments.host;
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<PhaseRunner> runner, PhaseRunner::Create(phase, *store));

  const std::string http_address = AddressToCall(server->address(), arguments.host);
  WarnOfLoopback(http_address, arguments.host);
  options.name = arguments.name;
  options.capabilities = MakeCapabilities(arguments, device, http_address);
  Agent agent(std::move(options), channel, *runner, *metrics);
  ready_agent = &agent;
  stop.SetAgent(&agent);
  absl::Status status = agent.Run();
  stop.SetAgent(nullptr);
  ready_agent = nullptr;
  server->Stop();
  if (status.ok()) LogInfo("drained");
  return status;
}

}  // namespace

void AddServeCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("serve", "Work for a coordinator until told to stop");
  auto arguments = std::make_shared<ServeArguments>();
  command->add_option("--coordinator", arguments->coordinator, "HOST:PORT of the coordinator")
      ->envname("RSIDIFF_COORDINATOR")
      ->required()
      ->check(HostPortFault);
  command->add_option("--name", arguments->name, "Unique name, [A-Za-z0-9._-]{1,63}")->capture_default_str();
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str();
  command
      ->add_option(
          "--http", arguments->http,
          "HOST:PORT of /metrics, /healthz and /readyz; port 0: a free one, host 0.0.0.0: for others too")
      ->capture_default_str();
  command->add_option(
      "--cache", arguments->cache,
      absl::StrCat("Folder for fetched artifacts and models (default: ", CacheFolder().string(), ")"));
  command->add_option(
      "--host", arguments->host,
      "Address that other workers reach this one at (default: the one it reaches the coordinator from)");
  command
      ->add_option("--artifacts", arguments->artifacts,
                   "auto: read the coordinator's folder where this machine sees it; stream: never")
      ->check(CLI::IsMember({"auto", "stream"}))
      ->capture_default_str();
  command
      ->add_option("--tasks", arguments->tasks,
                   "Take these only: generate, score, train, filter, joined by commas (default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember({"generate", "score", "train", "filter"}));
  command
      ->add_option("--label", arguments->labels,
                   "What runs can ask for by workers.generate_on, score_on and train_on; may be repeated")
      ->type_name("NAME");
  command->add_option("--log-format", arguments->log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->add_option("--log-level", arguments->log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  command->footer(
      "SIGTERM: finishes the task in progress, gives back the rest and exits 0; a second one gives that task "
      "back too.\n"
      "Examples:\n"
      "  rsidiff-worker serve --coordinator 10.0.0.1:7070 --http 0.0.0.0:0\n"
      "  rsidiff-worker serve --coordinator head:7070 --name gpu0 --device cuda:0 --http 0.0.0.0:9101\n"
      "  rsidiff-worker serve --coordinator head:7070 --http 0.0.0.0:0 --tasks score --label small");
  command->callback([&invocation, arguments] { invocation.run = [arguments] { return Serve(*arguments); }; });
}

}  // namespace rsidiff::worker
