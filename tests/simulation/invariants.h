#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/state/core.h"
#include "coordinator/state/tables.h"
#include "coordinator/state/task_id.h"

namespace rsidiff::simulation {

using Disk = std::map<std::pair<coordinator::Table, std::string>, std::string>;

/// Watches every batch that the core writes and what it acknowledges. The first violation stays.
class Invariants {
 public:
  /// `before` is the disk without the step's rows.
  void Check(const Disk& before, const coordinator::StepResult& step);
  /// A completion with a result was answered with OK: it has to be on the disk, and stay there.
  void Acknowledged(const Disk& disk, const coordinator::TaskId& task);
  /// After a crash: what was acknowledged is still there.
  void CheckAcknowledged(const Disk& disk);
  void Fail(std::string violation);

  const std::string& violation() const { return violation_; }

 private:
  void CheckTask(const Disk& before, const std::string& key, const std::string& value);
  void CheckRound(const Disk& before, const coordinator::StepResult& step, const std::string& key,
                  const std::string& value);
  void CheckGeneration(const Disk& before, const coordinator::StepResult& step, const std::string& key,
                       const std::string& value);
  void CheckWorker(const Disk& before, const std::string& key, const std::string& value);
  void CheckMeta(const Disk& before, const std::string& key, const std::string& value);
  void NewToken(const coordinator::TaskId& task, uint64_t token);

  std::string violation_;
  uint64_t greatest_token_ = 0;
  uint64_t greatest_token_before_ = 0;  // the step
  uint64_t greatest_generation_ = 0;
  uint64_t greatest_epoch_ = 0;
  std::map<std::string, uint64_t> incarnations_;
  std::map<uint64_t, coordinator::TaskId> tokens_;           // that were ever granted
  std::map<coordinator::TaskId, std::string> acknowledged_;  // result digests
};

}  // namespace rsidiff::simulation
