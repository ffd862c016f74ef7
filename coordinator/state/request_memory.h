#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

constexpr size_t kMaxRequestIdLength = 64;

/// How long the answer to a call is given again when the call is repeated.
constexpr absl::Duration kRequestMemory = absl::Minutes(10);
/// The same of completions, which a worker repeats within seconds, and of answers that are known to have
/// arrived: under load there are thousands of them a second.
constexpr absl::Duration kBriefMemory = absl::Minutes(1);

/// The answers to calls, by request id. They go by their age alone, never by their number: what was promised
/// is kept whatever the load is.
class RequestMemory {
 public:
  std::optional<v1::RequestRecord> Find(const std::string& id) const;
  /// The record as it is stored.
  const std::string& Add(const std::string& id, const v1::RequestRecord& record, absl::Time since);
  /// The caller has the answer: it is kept for kBriefMemory only.
  void Arrived(const std::string& id);
  void Erase(const std::string& id);
  /// After a restart: as if all had come now. The clock may have been set meanwhile, and the answers may be
  /// asked for still.
  void Renew(absl::Time now);
  /// Nobody could call for so long, so it does not count.
  void Forgive(absl::Duration silence);
  /// Forgets what is old enough, at most `most`; the ids.
  std::vector<std::string> Forget(absl::Time now, size_t most);

  struct Answer {
    std::string record;  // serialized: a parsed one takes several times the memory
    uint64_t number = 0;
    bool brief = false;
  };
  const absl::flat_hash_map<std::string, Answer>& answers() const { return answers_; }

 private:
  struct Age {
    absl::Time since;
    uint64_t number = 0;  // of the answer that it is the age of: an id may have been erased and added again
    std::string id;
  };
  /// The oldest of `ages`, which is taken off, if its answer is still there.
  std::optional<Age> TakeOldest(std::deque<Age>& ages);

  absl::flat_hash_map<std::string, Answer> answers_;
  uint64_t last_number_ = 0;
  // Oldest first: those younger than kBriefMemory, and those that outlived it.
  std::deque<Age> young_;
  std::deque<Age> old_;
};

}  // namespace rsidiff::coordinator
