#include "worker/agent/metrics.h"

#include <string>

#include "worker/phase/task.h"

namespace rsidiff::worker {
namespace {

constexpr v1::TaskKind kKinds[] = {v1::TASK_KIND_GENERATE, v1::TASK_KIND_SCORE,  v1::TASK_KIND_FIT_REFERENCE,
                                   v1::TASK_KIND_WEIGHT,   v1::TASK_KIND_TRAIN,  v1::TASK_KIND_MEASURE,
                                   v1::TASK_KIND_EMBED,    v1::TASK_KIND_FILTER, v1::TASK_KIND_MOMENTS};

using Labels = std::vector<prometheus::ClientMetric::Label>;

prometheus::MetricFamily Family(const std::string& name, const std::string& help,
                                prometheus::MetricType type) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

void Add(prometheus::MetricFamily& family, Labels labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  (family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  family.metric.push_back(std::move(metric));
}

template <typename Map, typename Key>
double ValueOr0(const Map& map, const Key& key) {
  auto found = map.find(key);
  return found == map.end() ? 0 : static_cast<double>(found->second);
}

}  // namespace

WorkerMetrics::WorkerMetrics(std::function<uint64_t()> device_memory)
    : device_memory_(std::move(device_memory)) {}

double WorkerMetrics::SinceChange() const {
  return std::chrono::duration<double>(Clock::now() - changed_).count();
}

void WorkerMetrics::BeginTask(v1::TaskKind kind) {
  absl::MutexLock lock(&mutex_);
  idle_seconds_ += SinceChange();
  current_ = kind;
  changed_ = Clock::now();
}

void WorkerMetrics::EndTask() {
  absl::MutexLock lock(&mutex_);
  busy_seconds_[current_] += SinceChange();
  current_ = v1::TASK_KIND_UNSPECIFIED;
  changed_ = Clock::now();
  training_step_ = 0;
  training_loss_ = 0;
}

void WorkerMetrics::CountOutcome(v1::TaskKind kind, Outcome outcome) {
  absl::MutexLock lock(&mutex_);
  ++outcomes_[{kind, outcome}];
}

void WorkerMetrics::CountSamples(v1::TaskKind kind, uint64_t samples) {
  absl::MutexLock lock(&mutex_);
  samples_[kind] += samples;
}

void WorkerMetrics::SetTraining(uint64_t step, double loss) {
  absl::MutexLock lock(&mutex_);
  training_step_ = step;
  training_loss_ = loss;
  ++training_steps_;
}

void WorkerMetrics::CountRegroup(RegroupCause cause, double seconds) {
  absl::MutexLock lock(&mutex_);
  ++regroups_[cause];
  regroup_seconds_[cause] += seconds;
}

void WorkerMetrics::CountRegistration() {
  absl::MutexLock lock(&mutex_);
  ++registrations_;
}

std::vector<prometheus::MetricFamily> WorkerMetrics::Collect() const {
  using prometheus::MetricType;
  auto busy = Family("rsidiff_worker_busy_seconds_total", "Time spent on tasks.", MetricType::Counter);
  auto idle =
      Family("rsidiff_worker_idle_seconds_total", "Time spent waiting for tasks.", MetricType::Counter);
  auto tasks =
      Family("rsidiff_worker_tasks_total", "Leases that ended, by how they ended.", MetricType::Counter);
  auto samples = Family("rsidiff_worker_samples_total", "Samples generated and scored.", MetricType::Counter);
  auto current =
      Family("rsidiff_worker_current_task", "1 for the kind of task in progress.", MetricType::Gauge);
  auto step = Family("rsidiff_worker_training_step", "Optimizer steps applied by the training in progress.",
                     MetricType::Gauge);
  auto loss = Family("rsidiff_worker_training_loss", "Loss of the last step.", MetricType::Gauge);
  auto steps = Family("rsidiff_worker_training_steps_total", "Optimizer steps that this worker applied.",
                      MetricType::Counter);
  auto regroups =
      Family("rsidiff_worker_training_regroups_total",
             "Changes of a training's membership that this worker lived through.", MetricType::Counter);
  auto regroup_seconds =
      Family("rsidiff_worker_training_regroup_seconds_total",
             "Time from the last applied step to the readiness for the next, over those changes.",
             MetricType::Counter);
  auto registrations =
      Family("rsidiff_worker_registrations_total", "Successful registrations.", MetricType::Counter);
  auto memory =
      Family("rsidiff_worker_device_memory_bytes", "Memory in use on the device.", MetricType::Gauge);
  Add(memory, {}, static_cast<double>(device_memory_()));

  absl::MutexLock lock(&mutex_);
  double running = SinceChange();
  for (v1::TaskKind kind : kKinds) {
    Labels label = {{"kind", TaskKindName(kind)}};
    Add(busy, label, ValueOr0(busy_seconds_, kind) + (current_ == kind ? running : 0));
    Add(current, label, current_ == kind ? 1 : 0);
    for (Outcome outcome : kOutcomes) {
      Add(tasks, {{"kind", TaskKindName(kind)}, {"outcome", OutcomeName(outcome)}},
          ValueOr0(outcomes_, std::make_pair(kind, outcome)));
    }
  }
  Add(idle, {}, idle_seconds_ + (current_ == v1::TASK_KIND_UNSPECIFIED ? running : 0));
  for (v1::TaskKind kind : {v1::TASK_KIND_GENERATE, v1::TASK_KIND_SCORE}) {
    Add(samples, {{"kind", TaskKindName(kind)}}, ValueOr0(samples_, kind));
  }
  Add(step, {}, static_cast<double>(training_step_));
  Add(loss, {}, training_loss_);
  Add(steps, {}, static_cast<double>(training_steps_));
  for (const auto& [cause, name] :
       {std::pair(RegroupCause::kPlanned, "planned"), std::pair(RegroupCause::kFailure, "failure")}) {
    Add(regroups, {{"cause", name}}, ValueOr0(regroups_, cause));
    Add(regroup_seconds, {{"cause", name}}, ValueOr0(regroup_seconds_, cause));
  }
  Add(registrations, {}, static_cast<double>(registrations_));
  return {busy, idle,  tasks,    samples,         current,       step,
          loss, steps, regroups, regroup_seconds, registrations, memory};
}

}  // namespace rsidiff::worker
