#include "common/config/validate.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config/defaults.h"
#include "common/config/nearest_name.h"
#include "common/scorer/scorer_family.h"

namespace rsidiff {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

enum class Bound { kIncluded, kExcluded };

struct Range {
  const char* path;
  double low;
  Bound low_bound;
  double high;
  Bound high_bound;
};

constexpr Bound kIn = Bound::kIncluded;
constexpr Bound kEx = Bound::kExcluded;

// The optimizer divides in fp32 by a root that may be 0 plus this, which must not become 0 there.
constexpr double kSmallestEpsilon = 1e-37;
static_assert(kSmallestEpsilon > std::numeric_limits<float>::min());

// Upper limits without a mathematical reason only keep a slip of the keyboard from planning a run
// that no fleet would finish.
constexpr Range kRanges[] = {
    {"rounds", 0, kIn, 1000, kIn},
    {"prompts.filter.clarity", 0, kIn, 1, kIn},
    {"prompts.filter.specificity", 0, kIn, 1000, kIn},
    {"prompts.filter.diversity", 0, kIn, 1, kEx},
    {"prompts.filter.embedding_distance", 0, kIn, 2, kIn},
    {"prompts.filter.embedding_specificity", 0, kIn, 2, kIn},
    {"prompts.filter.judge.clarity", 0, kIn, 1, kIn},
    {"prompts.filter.judge.specificity", 0, kIn, 1, kIn},
    {"prompts.filter.judge.timeout", 0.1, kIn, 3600, kIn},
    {"prompts.filter.judge.retries", 0, kIn, 100, kIn},
    {"prompts.filter.judge.parallel", 1, kIn, 256, kIn},
    {"sampling.samples_per_prompt", 1, kIn, 1024, kIn},
    {"sampling.steps", 1, kIn, 1000, kIn},
    {"sampling.guidance_scale", 0, kIn, 100, kIn},
    {"sampling.chunk", 1, kIn, 1024, kIn},
    {"selection.keep", 1, kIn, 1024, kIn},
    {"weights.temperature", 0, kEx, 1e6, kIn},
    {"weights.penalty", 0, kIn, 1e6, kIn},
    {"weights.margin", 0, kIn, 1e6, kIn},
    {"weights.min", 0, kIn, 1, kIn},
    {"weights.max", 1, kIn, 1e6, kIn},
    {"weights.ess_floor", 0, kIn, 1, kIn},
    {"weights.neighbours", 1, kIn, 1000, kIn},
    {"train.steps", 1, kIn, 10'000'000, kIn},
    {"train.global_batch", 1, kIn, 65'536, kIn},
    {"train.micro_batch", 1, kIn, 65'536, kIn},
    {"train.learning_rate", 0, kEx, 1, kIn},
    {"train.beta1", 0, kIn, 1, kEx},
    {"train.beta2", 0, kIn, 1, kEx},
    {"train.epsilon", kSmallestEpsilon, kIn, 1, kIn},
    {"train.weight_decay", 0, kIn, 1, kIn},
    {"train.max_grad_norm", 0, kIn, 1e6, kIn},
    {"train.ema_decay", 0, kIn, 1, kEx},
    {"train.caption_dropout", 0, kIn, 1, kIn},
    {"train.replay", 0, kIn, 1, kEx},
    {"train.checkpoint_every", 1, kIn, 10'000'000, kIn},
    {"train.operation_timeout", 0.1, kIn, 86'400, kIn},
    {"train.lora.rank", 1, kIn, 1024, kIn},
    {"train.lora.alpha", 0, kEx, 1e6, kIn},
    {"evaluation.samples_per_prompt", 1, kIn, 1024, kIn},
    {"evaluation.steps", 1, kIn, 1000, kIn},
    {"evaluation.guidance_scale", 0, kIn, 100, kIn},
    {"stop.patience", 0, kIn, 1000, kIn},
    {"stop.roll_back_after", 0, kIn, 1000, kIn},
    {"workers.threads", 1, kIn, 256, kIn},
    {"workers.train_min", 1, kIn, 4096, kIn},
    {"workers.train_max", 0, kIn, 4096, kIn},
};

constexpr size_t kMaxNegativePromptBytes = 64 * 1024;
constexpr int kMaxScorers = 32;

std::string NumberText(double number) {
  char buffer[32];
  // Whole numbers without an exponent, as people write them in the file.
  const auto result = number == static_cast<int64_t>(number)
                          ? std::to_chars(buffer, buffer + sizeof buffer, static_cast<int64_t>(number))
                          : std::to_chars(buffer, buffer + sizeof buffer, number);
  return std::string(buffer, result.ptr);
}

// The number at `path`; nothing where the section is absent.
std::optional<double> NumberAt(const Message& root, absl::string_view path) {
  const Message* message = &root;
  for (absl::string_view name : absl::StrSplit(path, '.')) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(std::string(name));
    const google::protobuf::Reflection& reflection = *message->GetReflection();
    if (field == nullptr || !reflection.HasField(*message, field)) return std::nullopt;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        message = &reflection.GetMessage(*message, field);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.GetDouble(*message, field);
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection.GetUInt32(*message, field);
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

bool IsName(absl::string_view text, absl::string_view also_allowed) {
  if (text.empty() || text.size() > 63) return false;
  for (const char c : text) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) &&
        also_allowed.find(c) == absl::string_view::npos) {
      return false;
    }
  }
  return true;
}

class Validator {
 public:
  explicit Validator(const ReadSpec& read)
      : spec_(read.spec), positions_(read.positions), unreadable_(read.unreadable) {}

  std::vector<Diagnostic> Run() && {
    CheckRequired();
    for (const Range& range : kRanges) CheckRange(range);
    CheckSampling();
    CheckScorers();
    CheckSelection();
    CheckFeatures("weights.features", spec_.weights().features());
    CheckFeatures("evaluation.features", spec_.evaluation().features());
    CheckTrain();
    CheckStop();
    CheckLabels();
    CheckJudge();
    return std::move(errors_);
  }

 private:
  void Error(absl::string_view path, absl::string_view message) {
    errors_.push_back({PositionOf(positions_, path), absl::StrCat(path, " ", message)});
  }

  bool Given(absl::string_view path) const { return positions_.count(std::string(path)) > 0; }

  void Require(absl::string_view path, bool present) {
    if (present || unreadable_.count(std::string(path)) > 0) return;
    Error(path, Given(path) ? "must not be empty" : "is missing");
  }

  void CheckRequired() {
    Require("name", !spec_.name().empty());
    Require("rounds", spec_.has_rounds());
    Require("model.path", !spec_.model().path().empty());
    if (spec_.rounds() > 0) Require("prompts.train", spec_.prompts().train_size() > 0);
    Require("prompts.evaluation", spec_.prompts().evaluation_size() > 0);
    Require("scorers", spec_.scorers_size() > 0);
    if (!spec_.name().empty() && (!IsName(spec_.name(), "-") || spec_.name().front() == '-')) {
      Error("name", absl::StrCat("has to be 1 to 63 lower-case letters, digits and hyphens, the first one no "
                                 "hyphen, not \"",
                                 spec_.name(), "\""));
    }
    uint64_t number = 0;
    if (absl::SimpleAtoi(spec_.name(), &number)) {
      Error("name", "must not be a number, which would read as a run's id");
    }
  }

  void CheckRange(const Range& range) {
    const std::optional<double> value = NumberAt(spec_, range.path);
    if (!value) return;
    const bool low = range.low_bound == kIn ? *value >= range.low : *value > range.low;
    const bool high = range.high_bound == kIn ? *value <= range.high : *value < range.high;
    if (low && high) return;
    Error(range.path,
          absl::StrCat("has to be ", range.low_bound == kIn ? "at least " : "above ", NumberText(range.low),
                       " and ", range.high_bound == kIn ? "at most " : "below ", NumberText(range.high),
                       ", not ", NumberText(*value)));
  }

  void CheckSampling() {
    const v1::SamplingSpec& sampling = spec_.sampling();
    CheckSide("sampling.width", sampling.width());
    CheckSide("sampling.height", sampling.height());
    if ((sampling.width() == 0) != (sampling.height() == 0)) {
      Error(sampling.width() == 0 ? "sampling.width" : "sampling.height",
            "is missing: width and height go together");
    }
    if (sampling.negative_prompt().size() > kMaxNegativePromptBytes) {
      Error("sampling.negative_prompt", absl::StrCat("is longer than ", kMaxNegativePromptBytes, " bytes"));
    }
  }

  void CheckSide(absl::string_view path, uint32_t pixels) {
    if (pixels % 8 != 0 || pixels > 4096) {
      Error(path, absl::StrCat("has to be a multiple of 8 of at most 4096 pixels, or 0, not ", pixels));
    }
  }

  void CheckScorers() {
    std::map<std::string, int> first_with_name;
    bool has_selection = false;
    if (spec_.scorers_size() > kMaxScorers) {
      Error("scorers", absl::StrCat("holds more than ", kMaxScorers, " scorers"));
    }
    for (int i = 0; i < spec_.scorers_size(); ++i) {
      const v1::ScorerSpec& scorer = spec_.scorers(i);
      const std::string path = absl::StrCat("scorers[", i, "]");
      CheckScorer(scorer, path);
      const auto [first, inserted] = first_with_name.emplace(scorer.name(), i);
      if (!inserted && !scorer.name().empty()) {
        Error(absl::StrCat(path, ".name"),
              absl::StrCat("\"", scorer.name(), "\" is the name of scorers[", first->second, "] already"));
      }
      has_selection |= scorer.role() == v1::SCORER_ROLE_SELECTION && scorer.weight() != 0;
    }
    const bool needs_reward = spec_.selection().method() != v1::SELECTION_METHOD_ALL ||
                              spec_.weights().method() != v1::WEIGHT_METHOD_UNIFORM;
    if (spec_.rounds() > 0 && spec_.scorers_size() > 0 && needs_reward && !has_selection) {
      Error("scorers", "has no scorer of role selection with a weight, so there is nothing to select by");
    }
  }

  void CheckScorer(const v1::ScorerSpec& scorer, const std::string& path) {
    const ScorerFamily family = FamilyOf(scorer.type());
    const bool aesthetic = family == ScorerFamily::kAesthetic;
    Require(absl::StrCat(path, ".name"), !scorer.name().empty());
    Require(absl::StrCat(path, ".type"), scorer.type() != v1::SCORER_TYPE_UNSPECIFIED);
    Require(absl::StrCat(path, ".path"), !scorer.path().empty());
    if (!scorer.name().empty() && !IsName(scorer.name(), "-_")) {
      Error(absl::StrCat(path, ".name"),
            absl::StrCat("has to be 1 to 63 lower-case letters, digits, hyphens and "
                         "underscores, not \"",
                         scorer.name(), "\""));
    }
    if (aesthetic) Require(absl::StrCat(path, ".clip"), !scorer.clip().empty());
    if (aesthetic && !scorer.tokenizer().empty()) {
      Error(absl::StrCat(path, ".tokenizer"), "has no use: an aesthetic scorer reads no text");
    }
    if (!aesthetic && family != ScorerFamily::kUnknown && !scorer.clip().empty()) {
      Error(absl::StrCat(path, ".clip"), "is for aesthetic scorers only");
    }
    if (!(scorer.weight() >= -1000 && scorer.weight() <= 1000)) {
      Error(absl::StrCat(path, ".weight"),
            absl::StrCat("has to be at least -1000 and at most 1000, not ", NumberText(scorer.weight())));
    }
  }

  void CheckSelection() {
    const uint32_t drawn = spec_.sampling().samples_per_prompt();
    if (spec_.selection().method() != v1::SELECTION_METHOD_ALL && spec_.selection().keep() > drawn) {
      Error("selection.keep", absl::StrCat("is ", spec_.selection().keep(),
                                           ", more than sampling.samples_per_prompt, ", drawn));
    }
  }

  // `name` has to be a scorer with an image embedding; for weights one that training samples are scored by.
  void CheckFeatures(absl::string_view path, const std::string& name) {
    std::vector<std::string> valid;
    for (const v1::ScorerSpec& scorer : spec_.scorers()) {
      if (scorer.type() == v1::SCORER_TYPE_UNSPECIFIED) return;  // has its own error
      const bool scores_training = scorer.role() == v1::SCORER_ROLE_SELECTION;
      if (FamilyOf(scorer.type()) == ScorerFamily::kClip && (scores_training || path != "weights.features"))
        valid.push_back(scorer.name());
    }
    if (spec_.scorers_size() == 0) return;
    if (valid.empty()) {
      const v1::WeightMethod method = spec_.weights().method();
      const bool weighs_distances = method == v1::WEIGHT_METHOD_GAUSSIAN || method == v1::WEIGHT_METHOD_KNN;
      const bool needed = path != "weights.features" || (spec_.rounds() > 0 && weighs_distances);
      if (needed) {
        Error(path,
              absl::StrCat("needs a ", path == "weights.features" ? "selection " : "",
                           "scorer of a clipscore, clip-logit, hps or pickscore type, and there is none"));
      }
      return;
    }
    if (std::find(valid.begin(), valid.end(), name) != valid.end()) return;
    Error(path,
          absl::StrCat("names \"", name, "\", which is no ", path == "weights.features" ? "selection " : "",
                       "scorer with an image embedding; ", SuggestName(name, valid, "names")));
  }

  void CheckTrain() {
    const v1::TrainSpec& train = spec_.train();
    if (train.micro_batch() > train.global_batch()) {
      Error("train.micro_batch", absl::StrCat("is ", train.micro_batch(), ", more than train.global_batch, ",
                                              train.global_batch()));
    }
    if (train.warmup_steps() > train.steps()) {
      Error("train.warmup_steps",
            absl::StrCat("is ", train.warmup_steps(), ", more than train.steps, ", train.steps()));
    }
    if (train.method() == v1::TRAIN_METHOD_FULL && train.has_lora()) {
      Error("train.lora", "is given, but train.method is full");
    }
    if (train.precision() == v1::PRECISION_FP16) {
      Error("train.precision", "has to be fp32 or bf16: gradients underflow in fp16");
    }
    for (int i = 0; i < train.lora().targets_size(); ++i) {
      if (train.lora().targets(i).empty())
        Error(absl::StrCat("train.lora.targets[", i, "]"), "must not be empty");
    }
    const v1::WorkerSpec& workers = spec_.workers();
    if (workers.train_max() != 0 && workers.train_max() < workers.train_min()) {
      Error("workers.train_max",
            absl::StrCat("is ", workers.train_max(), ", less than workers.train_min, ", workers.train_min()));
    }
  }

  void CheckStop() {
    const v1::StopSpec& stop = spec_.stop();
    if (stop.patience() > 0 && stop.roll_back_after() >= stop.patience()) {
      Error("stop.roll_back_after",
            absl::StrCat("is ", stop.roll_back_after(), ", but the run ends after stop.patience, ",
                         stop.patience(), ", rounds without a better one, before it would roll back"));
    }
  }

  void CheckLabels() {
    const v1::WorkerSpec& workers = spec_.workers();
    const std::pair<const char*, const google::protobuf::RepeatedPtrField<std::string>*> lists[] = {
        {"workers.generate_on", &workers.generate_on()},
        {"workers.score_on", &workers.score_on()},
        {"workers.train_on", &workers.train_on()}};
    for (const auto& [path, labels] : lists) {
      for (int i = 0; i < labels->size(); ++i) {
        if (IsName(labels->Get(i), "._-")) continue;
        Error(absl::StrCat(path, "[", i, "]"), "a label is 1 to 63 of a-z, 0-9, '.', '_' and '-'");
      }
    }
  }

  void CheckJudge() {
    if (!spec_.prompts().filter().has_judge()) return;
    const v1::PromptJudgeSpec& judge = spec_.prompts().filter().judge();
    const std::string& endpoint = judge.endpoint();
    if (!absl::StartsWith(endpoint, "http://") && !absl::StartsWith(endpoint, "https://")) {
      Error("prompts.filter.judge.endpoint",
            endpoint.empty() ? "is missing" : "has to begin with http:// or https://");
    }
    if (judge.model().empty()) Error("prompts.filter.judge.model", "is missing");
  }

  const v1::RunSpec& spec_;
  const Positions& positions_;
  const std::set<std::string>& unreadable_;
  std::vector<Diagnostic> errors_;
};

}  // namespace

Position PositionOf(const Positions& positions, absl::string_view path) {
  std::string nearest(path);
  while (true) {
    const auto found = positions.find(nearest);
    if (found != positions.end()) return found->second;
    if (nearest.empty()) return {};
    const size_t cut = nearest.find_last_of(".[");
    nearest.resize(cut == std::string::npos ? 0 : cut);
  }
}

std::vector<Diagnostic> ValidateRunSpec(const ReadSpec& read) {
  return Validator(read).Run();
}

std::vector<Diagnostic> WarnAboutRunSpec(const v1::RunSpec& spec, const Positions& positions) {
  std::vector<Diagnostic> warnings;
  const auto warn = [&](absl::string_view path, absl::string_view message) {
    warnings.push_back({PositionOf(positions, path), absl::StrCat(path, " ", message)});
  };
  bool held_out = false;
  for (const v1::ScorerSpec& scorer : spec.scorers()) held_out |= scorer.role() == v1::SCORER_ROLE_HELD_OUT;
  if (!held_out) {
    warn("scorers",
         "has none of role held_out: the best round will be judged by the scorers that it was "
         "selected by");
  }
  const bool all = spec.selection().method() == v1::SELECTION_METHOD_ALL;
  const uint32_t kept = all ? spec.sampling().samples_per_prompt() : spec.selection().keep();
  if (kept == 1 && spec.rounds() > 0) {
    if (spec.weights().method() == v1::WEIGHT_METHOD_PREFERENCE) {
      warn("weights.method",
           "is preference, which compares the kept samples of a prompt, and one is kept: all weights are 1");
    } else if (positions.count("weights.temperature") > 0) {
      warn("weights.temperature", "has no effect where one sample of a prompt is kept");
    }
  }
  if (all && positions.count("selection.keep") > 0) {
    warn("selection.keep", "has no effect with method: all");
  }
  if (spec.train().caption_dropout() == 0 && spec.sampling().guidance_scale() != 1 && spec.rounds() > 0) {
    warn("train.caption_dropout", "is 0: guidance needs a model that also trains on the empty caption");
  }
  return warnings;
}

}  // namespace rsidiff
