#include "worker/phase/phase_runner.h"

#include <algorithm>
#include <exception>
#include <utility>

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "absl/memory/memory.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "worker/phase/embed.h"
#include "worker/phase/generate.h"
#include "worker/phase/measure.h"
#include "worker/phase/prompt_cover.h"
#include "worker/phase/reference.h"
#include "worker/phase/score.h"
#include "worker/phase/train.h"
#include "worker/phase/weight.h"

namespace rsidiff::worker {

absl::StatusOr<std::unique_ptr<PhaseRunner>> PhaseRunner::Create(const PhaseRunnerOptions& options,
                                                                 ArtifactStore& store) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(options.folder / "models"));
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ScratchFolder> scratch,
                           ScratchFolder::Create(options.folder / "scratch"));
  return absl::WrapUnique(new PhaseRunner(options, store, std::move(scratch)));
}

PhaseRunner::PhaseRunner(const PhaseRunnerOptions& options, ArtifactStore& store,
                         std::unique_ptr<ScratchFolder> scratch)
    : scratch_(std::move(scratch)),
      models_(store, options.device, options.folder / "models"),
      images_(options.image_cache_bytes),
      context_{store, options.device, models_, images_, scratch_->path(), options.host} {}

absl::StatusOr<v1::TaskResult> PhaseRunner::Run(const v1::Grant& grant, TaskControl& control) {
  absl::Status status;
  try {
    absl::StatusOr<v1::TaskResult> result = Compute(grant, control);
    if (result.ok()) return result;
    status = result.status();
  } catch (const c10::Error& error) {
    status = absl::InternalError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    status = absl::InternalError(error.what());
  }
  return Annotate(status, TaskName(grant.task()));
}

absl::StatusOr<v1::TaskResult> PhaseRunner::Compute(const v1::Grant& grant, TaskControl& control) {
  const v1::TaskPayload& payload = grant.payload();
  at::set_num_threads(static_cast<int>(std::max(1u, payload.spec().workers().threads())));
  v1::TaskResult result;
  if (payload.has_train()) {
    RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_train(), Train(grant, context_, control));
    return result;
  }
  c10::NoGradGuard no_grad;
  switch (payload.work_case()) {
    case v1::TaskPayload::kGenerate: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_generate(), Generate(grant, context_, control));
      break;
    }
    case v1::TaskPayload::kScore: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_score(), Score(payload, context_, control));
      break;
    }
    case v1::TaskPayload::kMoments: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_moments(),
                               GatherMoments(payload.moments(), context_.store, control));
      break;
    }
    case v1::TaskPayload::kFitReference: {
      RSIDIFF_ASSIGN_OR_RETURN(
          *result.mutable_fit_reference(),
          FitReference(payload.fit_reference(), payload.spec().weights(), context_.store, control));
      break;
    }
    case v1::TaskPayload::kWeight: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_weight(),
                               Weigh(payload.weight(), payload.spec().weights(), context_.store, control));
      break;
    }
    case v1::TaskPayload::kEmbed: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_embed(), Embed(payload, context_, control));
      break;
    }
    case v1::TaskPayload::kFilter: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_filter(), CoverPrompts(payload.filter(), context_, control));
      break;
    }
    case v1::TaskPayload::kMeasure: {
      RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_measure(),
                               Measure(payload.measure(), context_.store, control));
      break;
    }
    default:
      return absl::UnimplementedError(
          "a kind of task that this worker does not know; is it older than the coordinator?");
  }
  return result;
}

}  // namespace rsidiff::worker
