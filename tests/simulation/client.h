#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/coordinator_host.h"
#include "tests/simulation/network.h"
#include "tests/simulation/workload.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

/// Results of every workload by number of shared rounds: see ExpectedResult.
using ExpectedResults = std::map<std::pair<Workload, uint32_t>, std::string>;
ExpectedResults MakeExpectedResults();

/// Somebody who submits runs and changes their mind about them.
class Client {
 public:
  Client(World& world, Network& network, const CoordinatorHost& host)
      : world_(world), network_(network), host_(host) {}

  void Submit(Workload workload);
  void Drain(const std::string& worker);
  /// Of a random run: pauses it, or resumes it.
  void PauseOrResume();
  void Cancel();
  /// Forks a random run from a random round that is done, if there is one.
  void Fork();
  /// A late request may pause a run again, so this is asked for now and then.
  void ResumeAll();

  bool AllEnded() const;
  /// Empty, or which run did not end as it had to. FAILED is right when a budget was spent.
  std::string Judge(const ExpectedResults& expected) const;

 private:
  struct Submission {
    Workload workload = Workload::kReference;
    uint64_t run_id = 0;  // 0: not answered yet
    uint32_t shared_rounds = 0;
    bool cancelled = false;  // asked for
    bool refused = false;
  };

  std::shared_ptr<Submission> Pick();
  void SetState(uint64_t run_id, v1::RunState state);
  void Add(coordinator::Request request, std::shared_ptr<Submission> submission);
  void Call(coordinator::Request request);
  std::string RequestId();
  std::string JudgeRun(const Submission& submission, const ExpectedResults& expected) const;

  World& world_;
  Network& network_;
  const CoordinatorHost& host_;
  std::shared_ptr<Process> process_ = std::make_shared<Process>();
  std::vector<std::shared_ptr<Submission>> submissions_;
};

}  // namespace rsidiff::simulation
