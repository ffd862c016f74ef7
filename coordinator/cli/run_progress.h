#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/cli/terminal.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// Turns a run's successive states into what `watch` shows. Reads no clock. Not thread-safe.
class RunProgress {
 public:
  /// `workers`: those that can take work.
  void Update(const v1::RunStatus& status, int workers, absl::Time now);

  /// A few lines for a screen: the run, one bar for each part in progress, scores so far.
  std::vector<std::string> Screen(const Terminal& terminal) const;

  /// The same in one line, for a log.
  std::string Line() const;

  /// Equal as long as a log needs no further line: changes with state, phase, finished evaluation,
  /// worker count, and each tenth of a part.
  const std::string& signature() const { return signature_; }

 private:
  // Something in progress that has a count: sampling or evaluation of a round, or its training.
  struct Part {
    std::string title;  // "round 2 sampling"
    std::string unit;   // "samples", "steps"
    uint64_t done = 0;
    uint64_t total = 0;
    double rate = 0;     // a second, over the last minute; 0: not known yet
    std::string detail;  // loss, members

    absl::Duration Remaining() const;
  };

  void AddSamplingParts(const v1::RunStatus& status, absl::Time now);
  void AddTraining(const v1::RunStatus& status, absl::Time now);
  void AddPart(Part part, absl::Time now);
  std::string HeadText() const;
  std::string ScoreText() const;

  v1::RunStatus status_;
  int workers_ = 0;
  std::vector<Part> parts_;
  // Counts seen of each part, by title, for its rate.
  std::map<std::string, std::deque<std::pair<absl::Time, uint64_t>>> history_;
  std::string signature_;
};

}  // namespace rsidiff::coordinator
