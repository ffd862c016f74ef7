#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/invariants.h"

namespace rsidiff::simulation {

/// I5: what an answer promises is on the disk when the answer leaves, stays there through every crash and
/// loss of power, and is the same however often the request is repeated.
class Acknowledgements {
 public:
  explicit Acknowledgements(Invariants& invariants) : invariants_(invariants) {}

  /// An answer is about to leave; `disk` is what is written by now.
  void Add(const Disk& disk, const coordinator::Request& request,
           const absl::StatusOr<coordinator::Response>& response);

  /// Everything that was promised so far is there. After a crash and at the end.
  void Check(const Disk& disk) const;

  /// Unsynced grants may be lost with the power, and with them which request they were for.
  void ForgetGrants() { grants_.clear(); }
  void ForgetGrants(const std::string& request_id) { grants_.erase(request_id); }

 private:
  void CheckTask(const Disk& disk, const coordinator::TaskId& task, const std::string& digest) const;
  void CheckCheckpoint(const Disk& disk, std::pair<uint64_t, uint32_t> round, uint64_t step) const;
  void AddRun(const Disk& disk, const std::string& request_id, uint64_t run_id);
  void AddGrants(const Disk& disk, const v1::LeaseRequest& request, const v1::LeaseResponse& response);

  Invariants& invariants_;
  std::map<coordinator::TaskId, std::string> results_;             // digest
  std::map<std::string, uint64_t> runs_;                           // by request id
  std::map<std::string, uint64_t> incarnations_;                   // by request id
  std::map<std::string, uint64_t> newest_;                         // incarnation, by worker
  std::map<std::string, std::vector<uint64_t>> grants_;            // tokens, by request id
  std::map<std::pair<uint64_t, uint32_t>, uint64_t> checkpoints_;  // step, by run and round
};

}  // namespace rsidiff::simulation
