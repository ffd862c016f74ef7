#include "worker/agent/metrics.h"

#include "common/telemetry/family_builder.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {
namespace {

constexpr v1::TaskKind kKinds[] = {v1::TASK_KIND_GENERATE, v1::TASK_KIND_SCORE,  v1::TASK_KIND_FIT_REFERENCE,
                                   v1::TASK_KIND_WEIGHT,   v1::TASK_KIND_TRAIN,  v1::TASK_KIND_MEASURE,
                                   v1::TASK_KIND_EMBED,    v1::TASK_KIND_FILTER, v1::TASK_KIND_MOMENTS};

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
  FamilyBuilder busy("rsidiff_worker_busy_seconds_total", "Time spent on tasks.", MetricType::Counter);
  FamilyBuilder tasks("rsidiff_worker_tasks_total", "Leases that ended, by how they ended.",
                      MetricType::Counter);
  FamilyBuilder samples("rsidiff_worker_samples_total", "Samples generated and scored.", MetricType::Counter);
  FamilyBuilder current("rsidiff_worker_current_task", "1 for the kind of task in progress.",
                        MetricType::Gauge);
  FamilyBuilder regroups("rsidiff_worker_training_regroups_total",
                         "Changes of a training's membership that this worker lived through.",
                         MetricType::Counter);
  FamilyBuilder regroup_seconds(
      "rsidiff_worker_training_regroup_seconds_total",
      "Time from the last applied step to the readiness for the next, over those changes.",
      MetricType::Counter);
  const auto memory = static_cast<double>(device_memory_());

  absl::MutexLock lock(&mutex_);
  double running = SinceChange();
  for (v1::TaskKind kind : kKinds) {
    const FamilyBuilder::Labels label = {{"kind", TaskKindName(kind)}};
    busy.Add(label, ValueOr0(busy_seconds_, kind) + (current_ == kind ? running : 0));
    current.Add(label, current_ == kind ? 1 : 0);
    for (Outcome outcome : kOutcomes) {
      tasks.Add({{"kind", TaskKindName(kind)}, {"outcome", OutcomeName(outcome)}},
                ValueOr0(outcomes_, std::make_pair(kind, outcome)));
    }
  }
  for (v1::TaskKind kind : {v1::TASK_KIND_GENERATE, v1::TASK_KIND_SCORE}) {
    samples.Add({{"kind", TaskKindName(kind)}}, ValueOr0(samples_, kind));
  }
  for (const auto& [cause, name] :
       {std::pair(RegroupCause::kPlanned, "planned"), std::pair(RegroupCause::kFailure, "failure")}) {
    regroups.Add({{"cause", name}}, ValueOr0(regroups_, cause));
    regroup_seconds.Add({{"cause", name}}, ValueOr0(regroup_seconds_, cause));
  }
  return {
      busy.Build(),
      tasks.Build(),
      samples.Build(),
      current.Build(),
      regroups.Build(),
      regroup_seconds.Build(),
      SingleValue("rsidiff_worker_idle_seconds_total", "Time spent waiting for tasks.", MetricType::Counter,
                  idle_seconds_ + (current_ == v1::TASK_KIND_UNSPECIFIED ? running : 0)),
      SingleValue("rsidiff_worker_training_step", "Optimizer steps applied by the training in progress.",
                  MetricType::Gauge, static_cast<double>(training_step_)),
      SingleValue("rsidiff_worker_training_loss", "Loss of the last step.", MetricType::Gauge,
                  training_loss_),
      SingleValue("rsidiff_worker_training_steps_total", "Optimizer steps that this worker applied.",
                  MetricType::Counter, static_cast<double>(training_steps_)),
      SingleValue("rsidiff_worker_registrations_total", "Successful registrations.", MetricType::Counter,
                  static_cast<double>(registrations_)),
      SingleValue("rsidiff_worker_device_memory_bytes", "Memory in use on the device.", MetricType::Gauge,
                  memory)};
}

}  // namespace rsidiff::worker
