#include "coordinator/cli/run_progress.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kRateWindow = absl::Seconds(60);
constexpr absl::Duration kShortestForRate = absl::Seconds(2);

double Share(uint64_t done, uint64_t total) {
  return total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total);
}

// The newest round whose evaluation is complete, or nothing.
const v1::RoundRecord* NewestEvaluated(const v1::RunStatus& status) {
  const v1::RoundRecord* newest = nullptr;
  for (const v1::RoundRecord& round : status.rounds()) {
    if (round.evaluation().complete()) newest = &round;
  }
  return newest;
}

const v1::RoundRecord* NewestRound(const v1::RunStatus& status) {
  return status.rounds().empty() ? nullptr : &status.rounds(status.rounds_size() - 1);
}

// Those that stay with the run, and what it waits for now.
std::vector<std::string> CurrentWarnings(const v1::RunStatus& status) {
  std::vector<std::string> warnings = WarningsOf(status.run());
  if (!status.waits_for().empty()) warnings.push_back(status.waits_for());
  return warnings;
}

}  // namespace

absl::Duration RunProgress::Part::Remaining() const {
  if (rate <= 0 || total <= done) return absl::InfiniteDuration();
  return absl::Seconds(static_cast<double>(total - done) / rate);
}

void RunProgress::Update(const v1::RunStatus& status, int workers, absl::Time now) {
  status_ = status;
  workers_ = workers;
  parts_.clear();
  AddSamplingParts(status, now);
  AddTraining(status, now);
  const v1::RoundRecord* evaluated = NewestEvaluated(status);
  const v1::RoundRecord* round = NewestRound(status);
  signature_ = absl::StrCat(StateName(status.run().state()), "|", round == nullptr ? 0 : round->round(), "|",
                            round == nullptr ? "" : PhaseName(round->phase()), "|", workers, "|",
                            evaluated == nullptr ? -1 : static_cast<int>(evaluated->round()), "|",
                            absl::StrJoin(CurrentWarnings(status), "|"));
  for (const Part& part : parts_) {
    absl::StrAppend(&signature_, "|", part.title, " ", static_cast<int>(10 * Share(part.done, part.total)));
  }
}

void RunProgress::AddSamplingParts(const v1::RunStatus& status, absl::Time now) {
  // A sample counts when it is scored; drawing it is shown as detail.
  std::map<std::pair<uint32_t, v1::Purpose>, Part> parts;
  for (const v1::TaskCounts& counts : status.tasks()) {
    if (counts.kind() != v1::TASK_KIND_GENERATE && counts.kind() != v1::TASK_KIND_SCORE) continue;
    Part& part = parts[{counts.round(), counts.purpose()}];
    part.title = absl::StrCat("round ", counts.round(),
                              counts.purpose() == v1::PURPOSE_EVALUATION ? " evaluation" : " sampling");
    part.unit = "samples";
    part.total = std::max<uint64_t>(part.total, counts.samples_total());
    if (counts.kind() == v1::TASK_KIND_SCORE) {
      part.done = counts.samples_done();
    } else {
      part.detail = absl::StrCat(counts.samples_done(), " drawn");
    }
  }
  for (auto& [key, part] : parts) {
    if (part.done < part.total) AddPart(std::move(part), now);
  }
}

void RunProgress::AddTraining(const v1::RunStatus& status, absl::Time now) {
  if (!status.has_training()) return;
  const v1::TrainProgress& training = status.training();
  Part part;
  part.title = absl::StrCat("round ", training.round(), " training");
  part.unit = "steps";
  part.done = training.step();
  part.total = training.steps();
  part.detail = absl::StrCat("loss ", training.step() == 0 ? "-" : NumberText(training.loss(), 4), ", ",
                             training.members(), " workers");
  AddPart(std::move(part), now);
}

void RunProgress::AddPart(Part part, absl::Time now) {
  auto& seen = history_[part.title];
  // A count that falls (work that was lost is done again) starts the rate anew.
  if (!seen.empty() && part.done < seen.back().second) seen.clear();
  seen.emplace_back(now, part.done);
  while (seen.size() > 2 && now - seen.front().first > kRateWindow) seen.pop_front();
  const absl::Duration elapsed = now - seen.front().first;
  if (elapsed >= kShortestForRate) {
    part.rate = static_cast<double>(part.done - seen.front().second) / absl::ToDoubleSeconds(elapsed);
  }
  parts_.push_back(std::move(part));
}

std::string RunProgress::HeadText() const {
  const v1::RunRecord& run = status_.run();
  const v1::RoundRecord* round = NewestRound(status_);
  return absl::StrCat("run ", run.id(), " ", run.spec().name(), "  ", StateName(run.state()), "  round ",
                      round == nullptr ? 0 : round->round(), "/", run.spec().rounds(), "  ",
                      round == nullptr ? "" : PhaseName(round->phase()), "  ", workers_,
                      workers_ == 1 ? " worker" : " workers");
}

std::string RunProgress::ScoreText() const {
  const v1::RoundRecord* newest = NewestEvaluated(status_);
  if (newest == nullptr) return "";
  std::vector<std::string> scores;
  for (const v1::ScorerSpec& scorer : status_.run().spec().scorers()) {
    const auto found = newest->evaluation().scores().find(scorer.name());
    if (found == newest->evaluation().scores().end()) continue;
    scores.push_back(absl::StrCat(scorer.name(), " ", NumberText(found->second.mean(), 4)));
  }
  return absl::StrCat("round ", newest->round(), " scores: ", absl::StrJoin(scores, ", "), "; best round ",
                      status_.run().best_round());
}

std::vector<std::string> RunProgress::Screen(const Terminal& terminal) const {
  std::vector<std::string> lines = {Styled(HeadText(), Style::kBold, terminal)};
  const int bar = std::max(10, std::min(30, terminal.width / 4));
  for (const Part& part : parts_) {
    lines.push_back(absl::StrFormat("%-20s %s %d/%d %s", part.title,
                                    ProgressBar(Share(part.done, part.total), bar), part.done, part.total,
                                    part.unit));
    std::vector<std::string> facts;
    if (part.rate > 0) facts.push_back(absl::StrCat(NumberText(part.rate, 1), "/s"));
    if (part.Remaining() != absl::InfiniteDuration())
      facts.push_back("eta " + DurationText(part.Remaining()));
    if (!part.detail.empty()) facts.push_back(part.detail);
    for (const std::string& fact : facts) absl::StrAppend(&lines.back(), "  ", fact);
  }
  if (const std::string scores = ScoreText(); !scores.empty()) lines.push_back(scores);
  for (const std::string& warning : CurrentWarnings(status_)) {
    lines.push_back(Styled(warning, Style::kYellow, terminal));
  }
  if (!status_.last_error().empty()) {
    lines.push_back(Styled("last error: " + status_.last_error(), Style::kYellow, terminal));
  }
  return lines;
}

std::string RunProgress::Line() const {
  std::string line = HeadText();
  for (const Part& part : parts_) {
    absl::StrAppend(&line, "; ", part.title, " ", part.done, "/", part.total);
    if (part.rate > 0) absl::StrAppend(&line, " ", NumberText(part.rate, 1), "/s");
    if (part.Remaining() != absl::InfiniteDuration())
      absl::StrAppend(&line, " eta ", DurationText(part.Remaining()));
    if (!part.detail.empty()) absl::StrAppend(&line, " (", part.detail, ")");
  }
  if (const std::string scores = ScoreText(); !scores.empty()) absl::StrAppend(&line, "; ", scores);
  for (const std::string& warning : CurrentWarnings(status_)) absl::StrAppend(&line, "; ", warning);
  return line;
}

}  // namespace rsidiff::coordinator
