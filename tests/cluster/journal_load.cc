// Load for the tests that kill the coordinator: fake workers that never give up, and a journal of what was
// acknowledged to them, kept on this side alone.
//
//   journal_load HOST:PORT JOURNAL WORKERS SEED
//
// Submits small runs, one after the other, until SIGTERM; then finishes the one under way, reads the journal
// and holds the coordinator against it. Prints one JSON line of figures. Exit code 1 names what is missing,
// doubled, computed again or there without an acknowledgement.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/digest.h"
#include "rsidiff/v1/artifact.grpc.pb.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"
#include "tests/unit/coordinator/fake_requests.h"
#include "tests/unit/coordinator/fake_results.h"
#include "tests/unit/service/own_connection.h"

namespace rsidiff::coordinator {
namespace {

using nlohmann::json;

std::atomic<bool> stopping{false};
std::atomic<uint64_t> calls_repeated{0};

/// Repeats the call, with the request id it has, until the coordinator has answered it.
grpc::Status UntilAnswered(const std::function<grpc::Status(grpc::ClientContext&)>& call) {
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    context.set_wait_for_ready(true);
    grpc::Status status = call(context);
    bool unanswered = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
                      status.error_code() == grpc::StatusCode::CANCELLED;
    if (!unanswered) return status;
    ++calls_repeated;
    absl::SleepFor(absl::Milliseconds(10));
  }
}

/// Append-only, one JSON line an event, flushed before the next call is made.
class Journal {
 public:
  explicit Journal(const std::string& path) : out_(path, std::ios::app) {}

  void Write(const json& line) {
    absl::MutexLock lock(&mutex_);
    out_ << line.dump() << std::endl;
  }

 private:
  absl::Mutex mutex_;
  std::ofstream out_ ABSL_GUARDED_BY(mutex_);
};

json TaskJson(const v1::TaskKey& task) {
  return {task.run_id(), task.round(), static_cast<int>(task.kind()), static_cast<int>(task.purpose()),
          task.index()};
}

class Worker {
 public:
  Worker(std::string address, int number, uint64_t seed, Journal* journal)
      : channel_(OwnConnection(address, number)),
        stub_(v1::WorkerService::NewStub(channel_)),
        artifacts_(v1::ArtifactService::NewStub(channel_)),
        identity_{absl::StrCat("journal-", number), 0},
        random_(seed),
        journal_(journal) {}

  void Work(const std::atomic<bool>& finished) {
    Register();
    while (!finished) {
      v1::LeaseRequest request = MakeLease(identity_, 1 + random_() % 2, 300);
      v1::LeaseResponse response;
      grpc::Status status =
          UntilAnswered([&](auto& context) { return stub_->Lease(&context, request, &response); });
      if (!status.ok()) {
        Refused("lease", json(), 0, status);
        Register();
        continue;
      }
      for (const v1::Grant& grant : response.grants()) {
        journal_->Write({{"event", "granted"}, {"task", TaskJson(grant.task())}, {"token", grant.token()}});
      }
      for (const v1::Grant& grant : response.grants()) Compute(grant);
    }
  }

 private:
  void Register() {
    v1::RegisterRequest request = MakeRegister(identity_.name);
    v1::RegisterResponse response;
    grpc::Status status =
        UntilAnswered([&](auto& context) { return stub_->Register(&context, request, &response); });
    if (!status.ok()) Refused("register", json(), 0, status);
    identity_.incarnation = response.incarnation();
  }

  void Compute(const v1::Grant& grant) {
    absl::SleepFor(absl::Milliseconds(random_() % 12));
    if (random_() % 3 == 0 && !Heartbeat(grant)) return;
    if (grant.task().kind() == v1::TASK_KIND_TRAIN && !Join(grant)) return;
    if (grant.task().kind() == v1::TASK_KIND_GENERATE) Upload(absl::StrCat("of token ", grant.token()));
    v1::CompleteRequest request = MakeCompletion(identity_, grant);
    v1::CompleteResponse response;
    grpc::Status status =
        UntilAnswered([&](auto& context) { return stub_->Complete(&context, request, &response); });
    if (!status.ok()) return Refused("complete", TaskJson(grant.task()), grant.token(), status);
    json line = {{"event", "acknowledged"}, {"task", TaskJson(grant.task())}, {"token", grant.token()}};
    for (int i = 0; i < request.result().generate().images_size(); ++i) {
      line["images"][std::to_string(grant.payload().generate().items(i).index())] =
          request.result().generate().images(i);
    }
    for (uint32_t index : grant.payload().score().indices()) line["scored"].push_back(index);
    journal_->Write(line);
  }

  bool Heartbeat(const v1::Grant& grant) {
    v1::HeartbeatRequest request = MakeHeartbeat(identity_, {grant});
    v1::HeartbeatResponse response;
    grpc::Status status =
        UntilAnswered([&](auto& context) { return stub_->Heartbeat(&context, request, &response); });
    if (status.ok() && response.dropped_tokens().empty()) return true;
    Refused("heartbeat", TaskJson(grant.task()), grant.token(), status);
    return false;
  }

  bool Join(const v1::Grant& grant) {
    v1::JoinTrainingResponse response;
    while (!response.formed()) {
      v1::JoinTrainingRequest request = MakeJoin(identity_, grant, 5'000);
      grpc::Status status =
          UntilAnswered([&](auto& context) { return stub_->JoinTraining(&context, request, &response); });
      if (status.ok()) continue;
      Refused("join", TaskJson(grant.task()), grant.token(), status);
      return false;
    }
    return true;
  }

  /// As a worker that does not see the coordinator's folder stores its pictures before it completes.
  void Upload(const std::string& bytes) {
    grpc::Status status = UntilAnswered([&](auto& context) {
      v1::PutArtifactResponse response;
      auto stream = artifacts_->Put(&context, &response);
      v1::PutArtifactRequest part;
      part.set_digest(Sha256Hex(bytes));
      stream->Write(part);
      part.set_data(bytes);
      stream->Write(part);
      stream->WritesDone();
      return stream->Finish();
    });
    if (!status.ok()) return Refused("upload", json(), 0, status);
    journal_->Write({{"event", "stored"}, {"digest", Sha256Hex(bytes)}});
  }

  void Refused(const char* call, const json& task, uint64_t token, const grpc::Status& status) {
    journal_->Write({{"event", "refused"},
                     {"call", call},
                     {"task", task},
                     {"token", token},
                     {"error", status.ok() ? "token dropped" : status.error_message()}});
  }

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const std::unique_ptr<v1::ArtifactService::Stub> artifacts_;
  WorkerIdentity identity_;
  std::mt19937_64 random_;
  Journal* const journal_;
};

/// Submits runs of two rounds until told to stop; returns after the last one's end.
void SubmitRuns(const std::string& address, Journal& journal) {
  auto control = v1::ControlService::NewStub(OwnConnection(address, 1000));
  while (!stopping) {
    v1::SubmitRunRequest request = SmallRun(RandomId(), 2);
    request.mutable_spec()->mutable_workers()->set_train_max(1);
    v1::SubmitRunResponse response;
    grpc::Status status =
        UntilAnswered([&](auto& context) { return control->SubmitRun(&context, request, &response); });
    journal.Write({{"event", "submitted"}, {"run", response.run_id()}, {"ok", status.ok()}});
    v1::RunStatus run;
    while (run.run().state() <= v1::RUN_STATE_PAUSED) {
      absl::SleepFor(absl::Milliseconds(20));
      v1::GetRunRequest get;
      get.set_run_id(response.run_id());
      UntilAnswered([&](auto& context) { return control->GetRun(&context, get, &run); });
    }
    journal.Write(
        {{"event", "ended"}, {"run", response.run_id()}, {"state", static_cast<int>(run.run().state())}});
  }
}

/// The journal's side of the story against the coordinator's.
class Verdict {
 public:
  Verdict(const std::string& address, const std::string& path)
      : channel_(OwnConnection(address, 1001)), control_(v1::ControlService::NewStub(channel_)) {
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) Read(json::parse(line));
  }

  /// Exit code.
  int Tell() {
    CheckTasks();
    for (uint64_t run : runs_) CheckRun(run);
    CheckStored();
    json figures = {
        {"runs", runs_.size()}, {"granted", granted_},      {"acknowledged", acknowledged_.size()},
        {"samples", samples_},  {"stored", stored_.size()}, {"calls_repeated", calls_repeated.load()},
        {"problems", problems_}};
    std::cout << figures.dump() << std::endl;
    return problems_.empty() ? 0 : 1;
  }

 private:
  void Read(const json& line) {
    const std::string& event = line["event"].get_ref<const std::string&>();
    if (event == "submitted") {
      if (!runs_.insert(line["run"].get<uint64_t>()).second) Problem("run submitted twice: ", line.dump());
    } else if (event == "granted") {
      ++granted_;
      tokens_[line["task"].dump()].insert(line["token"].get<uint64_t>());
      if (!all_tokens_.insert(line["token"].get<uint64_t>()).second)
        Problem("token granted twice: ", line.dump());
    } else if (event == "acknowledged") {
      if (!acknowledged_.emplace(line["task"].dump(), line).second) {
        Problem("acknowledged twice: ", line["task"].dump());
      }
    } else if (event == "stored") {
      stored_.insert(line["digest"].get<std::string>());
    } else if (event == "refused") {
      Problem("refused: ", line.dump());
    } else if (event == "ended" && line["state"] != static_cast<int>(v1::RUN_STATE_SUCCEEDED)) {
      Problem("run did not succeed: ", line.dump());
    }
  }

  void CheckTasks() {
    for (const auto& [task, tokens] : tokens_) {
      if (tokens.size() > 1) Problem("computed ", tokens.size(), " times: ", task);
      if (acknowledged_.count(task) == 0) Problem("granted and never acknowledged: ", task);
    }
  }

  void CheckRun(uint64_t run) {
    for (uint32_t round = 0; round <= 2; ++round) {
      if (round > 0) CheckSamples(run, round, v1::PURPOSE_TRAINING, kSmallRunTrainingSamples);
      CheckSamples(run, round, v1::PURPOSE_EVALUATION, kSmallRunEvaluationSamples);
    }
  }

  void CheckSamples(uint64_t run, uint32_t round, v1::Purpose purpose, uint32_t expected) {
    v1::ListSamplesRequest request;
    request.set_run_id(run);
    request.set_round(round);
    request.set_purpose(purpose);
    grpc::ClientContext context;
    auto stream = control_->ListSamples(&context, request);
    v1::ListSamplesResponse page;
    std::map<uint32_t, v1::SampleRecord> samples;
    while (stream->Read(&page)) {
      for (const auto& sample : page.samples()) {
        if (!samples.emplace(sample.index(), sample).second) Problem("sample listed twice: ", sample.index());
      }
    }
    std::string where = absl::StrCat("run ", run, " round ", round, " purpose ", purpose);
    if (!stream->Finish().ok()) Problem("samples cannot be listed: ", where);
    if (samples.size() != expected) Problem(where, " has ", samples.size(), " samples, not ", expected);
    samples_ += samples.size();
    uint32_t drawn = 0;
    uint32_t scored = 0;
    for (const auto& [task, line] : acknowledged_) {
      const json& key = line["task"];
      if (key[0] != run || key[1] != round || key[3] != static_cast<int>(purpose)) continue;
      const json images = line.value("images", json::object());
      for (const auto& [index, image] : images.items()) {
        ++drawn;
        auto sample = samples.find(static_cast<uint32_t>(std::stoul(index)));
        if (sample == samples.end() || sample->second.image() != image) {
          Problem("acknowledged and missing or different: sample ", index, " of ", where);
        }
      }
      for (const json& index : line.value("scored", json::array())) {
        ++scored;
        auto sample = samples.find(index.get<uint32_t>());
        if (sample == samples.end() || sample->second.scores().empty()) {
          Problem("acknowledged scores are missing: sample ", index.dump(), " of ", where);
        }
      }
    }
    if (drawn != samples.size() || scored != samples.size()) {
      Problem(where, " has ", samples.size(), " samples; acknowledged were ", drawn, " drawn and ", scored,
              " scored");
    }
  }

  void CheckStored() {
    auto artifacts = v1::ArtifactService::NewStub(channel_);
    for (const std::string& digest : stored_) {
      v1::StatArtifactsRequest request;
      request.add_digests(digest);
      v1::StatArtifactsResponse response;
      grpc::ClientContext context;
      if (!artifacts->Stat(&context, request, &response).ok() || response.present().empty()) {
        Problem("acknowledged artifact is missing: ", digest);
      }
    }
  }

  template <class... Parts>
  void Problem(const Parts&... parts) {
    if (problems_.size() < 20) problems_.push_back(absl::StrCat(parts...));
  }

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ControlService::Stub> control_;
  std::set<uint64_t> runs_;
  std::map<std::string, std::set<uint64_t>> tokens_;  // by task
  std::set<uint64_t> all_tokens_;
  std::map<std::string, json> acknowledged_;  // by task
  std::set<std::string> stored_;
  uint64_t granted_ = 0;
  uint64_t samples_ = 0;
  std::vector<std::string> problems_;
};

int Main(int argc, char** argv) {
  int workers = 0;
  uint64_t seed = 0;
  if (argc != 5 || !absl::SimpleAtoi(argv[3], &workers) || !absl::SimpleAtoi(argv[4], &seed)) {
    std::cerr << "usage: journal_load HOST:PORT JOURNAL WORKERS SEED\n";
    return 2;
  }
  std::signal(SIGTERM, [](int) { stopping = true; });
  const std::string address = argv[1];
  std::atomic<bool> finished{false};
  {
    Journal journal(argv[2]);
    std::vector<std::thread> threads;
    for (int i = 0; i < workers; ++i) {
      threads.emplace_back([&, i] { Worker(address, i, seed + i, &journal).Work(finished); });
    }
    SubmitRuns(address, journal);
    finished = true;
    for (std::thread& thread : threads) thread.join();
  }
  return Verdict(address, argv[2]).Tell();
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  return rsidiff::coordinator::Main(argc, argv);
}
