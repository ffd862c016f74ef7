#include "coordinator/service/coordinator.h"

#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/client_context.h>
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/protocol.h"
#include "tests/unit/coordinator/fake_results.h"
#include "tests/unit/service/fake_worker.h"
#include "tests/unit/service/temporary_coordinator.h"

namespace rsidiff::coordinator {
namespace {

class CoordinatorTest : public TemporaryCoordinator {
 protected:
  std::unique_ptr<v1::ControlService::Stub> Control() const { return v1::ControlService::NewStub(Channel()); }

  v1::GetInfoResponse Info() const {
    grpc::ClientContext context;
    v1::GetInfoResponse info;
    EXPECT_TRUE(Control()->GetInfo(&context, {}, &info).ok());
    return info;
  }

  uint64_t Submit(const v1::SubmitRunRequest& request) const {
    grpc::ClientContext context;
    v1::SubmitRunResponse response;
    grpc::Status status = Control()->SubmitRun(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.run_id();
  }

  v1::RunStatus Run(uint64_t run_id) const {
    v1::GetRunRequest request;
    request.set_run_id(run_id);
    grpc::ClientContext context;
    v1::RunStatus run;
    EXPECT_TRUE(Control()->GetRun(&context, request, &run).ok());
    return run;
  }

  // The samples, and the status that the stream ended with.
  std::pair<std::vector<v1::SampleRecord>, grpc::Status> Samples(
      const v1::ListSamplesRequest& request) const {
    grpc::ClientContext context;
    auto stub = Control();
    auto reader = stub->ListSamples(&context, request);
    std::vector<v1::SampleRecord> samples;
    v1::ListSamplesResponse page;
    while (reader->Read(&page)) samples.insert(samples.end(), page.samples().begin(), page.samples().end());
    return {std::move(samples), reader->Finish()};
  }

  std::pair<v1::GetSampleResponse, grpc::Status> Sample(const v1::GetSampleRequest& request) const {
    grpc::ClientContext context;
    v1::GetSampleResponse response;
    const grpc::Status status = Control()->GetSample(&context, request, &response);
    return {std::move(response), status};
  }

  void FinishRun(uint64_t run_id) const {
    FakeWorker worker(Channel(), {"w", "127.0.0.1:9", 0});
    ASSERT_TRUE(worker.Register().ok());
    // Between two tasks the coordinator may have work of its own, and none to give.
    grpc::Status status;
    while (status.ok() && Run(run_id).run().state() == v1::RUN_STATE_ACTIVE) status = worker.WorkOnce();
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(Run(run_id).run().state(), v1::RUN_STATE_SUCCEEDED) << Run(run_id).DebugString();
  }

  std::string Page(const std::string& path) const {
    auto answer = httplib::Client("http://" + coordinator_->http_address()).Get(path);
    return answer ? answer->body : "no answer";
  }
};

TEST_F(CoordinatorTest, TellsWhoItIs) {
  v1::GetInfoResponse info = Info();
  EXPECT_EQ(info.version(), RSIDIFF_VERSION);
  EXPECT_EQ(info.http_address(), coordinator_->http_address());
  EXPECT_EQ(info.epoch(), 1u);
  auto file = nlohmann::json::parse(*ReadFile(folder_ / "data/coordinator.json"));
  EXPECT_EQ(file["grpc"], coordinator_->grpc_address());
  EXPECT_EQ(file["http"], coordinator_->http_address());
  EXPECT_EQ(Page("/readyz"), "ready\n");
}

TEST_F(CoordinatorTest, RunsARunAndTellsItsHistory) {
  uint64_t run_id = Submit(SmallRun("submit", 2));
  EXPECT_EQ(Submit(SmallRun("submit", 2)), run_id);
  FinishRun(run_id);

  v1::ListSamplesRequest request;
  request.set_run_id(run_id);
  request.set_round(1);
  auto [all, status] = Samples(request);
  EXPECT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(all.size(), kSmallRunTrainingSamples);
  int selected = 0;
  for (uint32_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].index(), i);
    EXPECT_FALSE(all[i].prompt().empty());
    selected += all[i].selected();
  }
  request.set_selected_only(true);
  EXPECT_EQ(Samples(request).first.size(), selected);
  EXPECT_GT(selected, 0);
  request.set_selected_only(false);
  request.set_purpose(v1::PURPOSE_EVALUATION);
  EXPECT_EQ(Samples(request).first.size(), kSmallRunEvaluationSamples);
  request.set_round(99);
  EXPECT_EQ(Samples(request).second.error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_run_id(99);
  EXPECT_EQ(Samples(request).second.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(CoordinatorTest, ForkShowsItsParentsRounds) {
  uint64_t parent = Submit(SmallRun("submit", 2));
  FinishRun(parent);
  Restart();
  v1::ForkRunRequest fork;
  fork.set_request_id("fork");
  fork.set_run_id(parent);
  fork.set_from_round(1);
  fork.set_rounds(2);
  v1::SubmitRunResponse forked;
  grpc::ClientContext context;
  grpc::Status status = Control()->ForkRun(&context, fork, &forked);
  ASSERT_TRUE(status.ok()) << status.error_message();
  v1::ListSamplesRequest request;
  request.set_run_id(forked.run_id());
  request.set_round(1);
  EXPECT_EQ(Samples(request).first.size(), kSmallRunTrainingSamples);
}

TEST_F(CoordinatorTest, SampleComesWithTheTaskThatDrewIt) {
  const uint64_t parent = Submit(SmallRun("submit", 2));
  FinishRun(parent);
  Restart();
  v1::ListSamplesRequest list;
  list.set_run_id(parent);
  list.set_round(2);
  const std::vector<v1::SampleRecord> all = Samples(list).first;
  ASSERT_EQ(all.size(), kSmallRunTrainingSamples);
  v1::GetSampleRequest request;
  request.set_run_id(parent);
  request.set_round(2);
  request.set_index(3);
  const auto [found, status] = Sample(request);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(found.sample(), all[3]));
  EXPECT_EQ(found.sample().id(), absl::StrCat(parent, "/2/3"));
  // What a worker makes of the task is what the record says: the task is the one that drew the sample.
  ASSERT_EQ(found.task().payload().generate().items_size(), 2);  // the chunk
  EXPECT_EQ(found.task().payload().generate().items(1).index(), 3u);
  EXPECT_EQ(FakeResult(found.task().payload()).generate().images(1), all[3].image());
  EXPECT_EQ(FakeResult(found.task().payload()).generate().latents(), all[3].latents());
}

TEST_F(CoordinatorTest, SampleDrawnAfterARollBackComesWithTheModelThatDrewIt) {
  v1::SubmitRunRequest submission = SmallRun("submit", 8);
  submission.mutable_spec()->mutable_stop()->set_roll_back_after(1);
  const uint64_t run_id = Submit(submission);
  FinishRun(run_id);
  const v1::RunStatus run = Run(run_id);
  int rolled_back = 0;
  for (const v1::RoundRecord& round : run.rounds()) {
    if (round.round() == 0 || round.starts_from() + 1 == round.round()) continue;
    ++rolled_back;
    v1::GetSampleRequest request;
    request.set_run_id(run_id);
    request.set_round(round.round());
    const auto [found, status] = Sample(request);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const v1::TaskPayload& payload = found.task().payload();
    EXPECT_EQ(payload.checkpoint(), run.rounds(static_cast<int>(round.starts_from())).checkpoint());
    EXPECT_EQ(FakeResult(payload).generate().images(0), found.sample().image()) << "round " << round.round();
  }
  EXPECT_GT(rolled_back, 0);
}

TEST_F(CoordinatorTest, SampleOfAForkOrAnEvaluationIsFoundToo) {
  const uint64_t parent = Submit(SmallRun("submit", 2));
  FinishRun(parent);
  v1::ForkRunRequest fork;
  fork.set_request_id("fork");
  fork.set_run_id(parent);
  fork.set_from_round(1);
  fork.set_rounds(2);
  v1::SubmitRunResponse forked;
  grpc::ClientContext context;
  ASSERT_TRUE(Control()->ForkRun(&context, fork, &forked).ok());
  v1::GetSampleRequest request;
  request.set_run_id(forked.run_id());
  request.set_round(1);
  request.set_purpose(v1::PURPOSE_EVALUATION);
  request.set_index(1);
  const auto [found, status] = Sample(request);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(found.sample().id(), absl::StrCat(forked.run_id(), "/1/eval/1"));
  EXPECT_EQ(found.task().task().run_id(), parent);
  EXPECT_EQ(FakeResult(found.task().payload()).generate().images(1), found.sample().image());
  for (uint32_t index : {2u, 100u, UINT32_MAX}) {
    request.set_index(index);
    EXPECT_EQ(Sample(request).second.error_code(), grpc::StatusCode::NOT_FOUND) << index;
  }
  request.set_round(7);
  EXPECT_EQ(Sample(request).second.error_message(), absl::StrCat("no round 7 in run ", forked.run_id()));
}

TEST_F(CoordinatorTest, EventsComeInOrderAndInPages) {
  uint64_t run_id = Submit(SmallRun("submit", 1));
  FinishRun(run_id);
  v1::ListEventsRequest request;
  request.set_run_id(run_id);
  v1::ListEventsResponse all;
  grpc::ClientContext context;
  ASSERT_TRUE(Control()->ListEvents(&context, request, &all).ok());
  ASSERT_GT(all.events_size(), 2);
  uint64_t last = 0;
  for (const v1::EventRecord& event : all.events()) {
    EXPECT_GT(event.sequence(), last);
    last = event.sequence();
  }
  request.set_after(all.events(0).sequence());
  request.set_limit(1);
  v1::ListEventsResponse page;
  grpc::ClientContext second;
  ASSERT_TRUE(Control()->ListEvents(&second, request, &page).ok());
  ASSERT_EQ(page.events_size(), 1);
  EXPECT_EQ(page.events(0).sequence(), all.events(1).sequence());
  request.set_limit(1001);
  grpc::ClientContext third;
  EXPECT_EQ(Control()->ListEvents(&third, request, &page).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(CoordinatorTest, RestartKeepsRunsAndRaisesTheEpoch) {
  uint64_t run_id = Submit(SmallRun("submit", 1));
  std::string cluster = Info().cluster_id();
  Restart();
  EXPECT_EQ(Info().epoch(), 2u);
  EXPECT_EQ(Info().cluster_id(), cluster);
  EXPECT_EQ(Run(run_id).run().state(), v1::RUN_STATE_ACTIVE);
  FinishRun(run_id);
}

TEST_F(CoordinatorTest, CancelledLongPollHarmsNobody) {
  auto workers = v1::WorkerService::NewStub(Channel());
  v1::RegisterRequest registration;
  registration.set_request_id("register");
  registration.set_name("w");
  registration.set_protocol_version(kProtocolVersion);
  v1::RegisterResponse registered;
  grpc::ClientContext register_context;
  ASSERT_TRUE(workers->Register(&register_context, registration, &registered).ok());
  for (int i = 0; i < 20; ++i) {
    v1::LeaseRequest lease;
    lease.set_request_id(absl::StrCat("lease-", i));
    lease.set_worker("w");
    lease.set_incarnation(registered.incarnation());
    lease.set_max_tasks(1);
    lease.set_wait_ms(20'000);
    v1::LeaseResponse leased;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    EXPECT_EQ(workers->Lease(&context, lease, &leased).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_EQ(Info().epoch(), 1u);
}

TEST_F(CoordinatorTest, SubmissionOfSeveralMegabytesIsTaken) {
  v1::SubmitRunRequest request = SmallRun("submit", 1);
  for (int i = 0; i < 60'000; ++i)
    request.mutable_inputs()->add_train_prompts(absl::StrCat(std::string(100, 'p'), i));
  ASSERT_GT(request.ByteSizeLong(), 6u << 20);
  EXPECT_GT(Submit(request), 0u);
}

TEST_F(CoordinatorTest, DiscoveryListsWhoServesMetrics) {
  FakeWorker second(Channel(), {"w2", "127.0.0.1:9102", 0});
  FakeWorker first(Channel(), {"w1", "127.0.0.1:9101", 0});
  FakeWorker silent(Channel(), {"w3", "", 0});
  for (FakeWorker* worker : {&second, &first, &silent}) ASSERT_TRUE(worker->Register().ok());
  auto list = nlohmann::json::parse(Page("/sd"));
  ASSERT_EQ(list.size(), 3u) << list;
  EXPECT_EQ(list[0]["targets"][0], coordinator_->http_address());
  EXPECT_EQ(list[0]["labels"]["job"], "rsidiff-coordinator");
  EXPECT_EQ(list[1]["targets"][0], "127.0.0.1:9101");
  EXPECT_EQ(list[1]["labels"]["worker"], "w1");
  EXPECT_EQ(list[2]["labels"]["job"], "rsidiff-worker");
}

TEST_F(CoordinatorTest, SecondOneOnTheSameFolderIsRefused) {
  CoordinatorOptions options;
  options.data = folder_ / "data";
  absl::Status status = Coordinator::Start(options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "another coordinator"));
  EXPECT_EQ(Info().epoch(), 1u);
}

TEST_F(CoordinatorTest, BusyPortsAreNamed) {
  CoordinatorOptions options;
  options.data = folder_ / "other";
  options.grpc_address = coordinator_->grpc_address();
  absl::Status status = Coordinator::Start(options).status();
  EXPECT_TRUE(absl::StrContains(status.message(), options.grpc_address)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "in use")) << status;
}

// Families that an exposition declares.
std::set<std::string> Families(const std::string& exposition) {
  static const std::regex kType("# TYPE (\\S+) ");
  std::set<std::string> names;
  for (std::sregex_iterator it(exposition.begin(), exposition.end(), kType), end; it != end; ++it)
    names.insert((*it)[1]);
  return names;
}

TEST_F(CoordinatorTest, EveryMetricIsDocumented) {
  std::string docs = *ReadFile(RSIDIFF_SOURCE_DIR "/docs/metrics.md");
  uint64_t run_id = Submit(SmallRun("submit", 1));
  std::set<std::string> families = Families(Page("/metrics"));
  FinishRun(run_id);
  for (const std::string& name : Families(Page("/metrics"))) families.insert(name);
  EXPECT_GT(families.size(), 30u);
  for (const std::string& name : families) {
    EXPECT_TRUE(absl::StrContains(docs, absl::StrCat("`", name, "`")))
        << name << " is not in docs/metrics.md";
  }
}

TEST_F(CoordinatorTest, MetricsTellTheRunsStory) {
  FinishRun(Submit(SmallRun("submit", 1)));
  std::string page = Page("/metrics");
  for (const char* line :
       {"rsidiff_samples_generated_total{purpose=\"training\"} 6\n",
        "rsidiff_samples_scored_total{purpose=\"training\"} 6\n",
        // Round 0 and round 1 evaluate two samples each.
        "rsidiff_samples_generated_total{purpose=\"evaluation\"} 4\n",
        "rsidiff_workers{state=\"active\"} 1\n", "rsidiff_runs{state=\"succeeded\"} 1\n",
        "rsidiff_run_phase{run=\"1\",phase=\"done\"} 1\n", "rsidiff_coordinator_epoch 1\n"}) {
    EXPECT_TRUE(absl::StrContains(page, line)) << line << " is not in:\n" << page;
  }
  EXPECT_TRUE(
      absl::StrContains(page, "rsidiff_score_mean{run=\"1\",round=\"1\",scorer=\"a\",samples=\"selected\"}"));
  EXPECT_TRUE(absl::StrContains(
      page, "rsidiff_score_mean{run=\"1\",round=\"0\",scorer=\"h\",samples=\"evaluation\"}"));
}

}  // namespace
}  // namespace rsidiff::coordinator
