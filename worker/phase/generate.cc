#include "worker/phase/generate.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "worker/phase/device_report.h"
#include "worker/phase/spec_settings.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

// The rest of a sample, decoding and storing, counts as this share of the task.
constexpr double kDenoisingShare = 0.9;

GenerateRequest MakeRequest(const v1::TaskPayload& payload, TaskControl& control) {
  const v1::SamplingSpec& sampling = payload.spec().sampling();
  const v1::GenerateWork& work = payload.generate();
  GenerateRequest request;
  for (const v1::GenerateWork::Item& item : work.items()) {
    request.prompts.push_back(item.prompt());
    request.seeds.push_back(item.seed());
  }
  request.negative_prompt = sampling.negative_prompt();
  request.steps = static_cast<int>(work.steps());
  request.guidance_scale = work.guidance_scale();
  request.scheduler = SchedulerOf(sampling.scheduler());
  request.width = static_cast<int>(sampling.width());
  request.height = static_cast<int>(sampling.height());
  request.batch_size = static_cast<int>(work.chunk());
  request.on_progress = [&control](const GenerateProgress& progress) {
    double calls = progress.batches * static_cast<double>(progress.calls);
    double done = (progress.batch - 1) * static_cast<double>(progress.calls) + progress.call;
    if (calls > 0) control.ReportProgress(kDenoisingShare * done / calls);
    return !control.cancelled();
  };
  return request;
}

PngText TextOf(const v1::Grant& grant, const v1::GenerateWork::Item& item) {
  const v1::RunSpec& spec = grant.payload().spec();
  const v1::GenerateWork& work = grant.payload().generate();
  std::optional<SchedulerType> scheduler = SchedulerOf(spec.sampling().scheduler());
  return {{"prompt", item.prompt()},
          {"seed", absl::StrCat(item.seed())},
          {"steps", absl::StrCat(work.steps())},
          {"guidance_scale", absl::StrCat(work.guidance_scale())},
          {"scheduler", scheduler.has_value() ? std::string(SchedulerTypeName(*scheduler)) : "model"},
          {"model", grant.payload().inputs().model()},
          {"run", spec.name()},
          {"round", absl::StrCat(grant.task().round())}};
}

}  // namespace

absl::StatusOr<v1::GenerateResult> Generate(const v1::Grant& grant, PhaseContext& context,
                                            TaskControl& control) {
  const v1::GenerateWork& work = grant.payload().generate();
  RSIDIFF_ASSIGN_OR_RETURN(StableDiffusionPipeline * pipeline, context.models.Pipeline(grant.payload()));
  RSIDIFF_ASSIGN_OR_RETURN(GenerateOutput output, pipeline->Generate(MakeRequest(grant.payload(), control)));
  v1::GenerateResult result;
  result.set_environment(PictureEnvironment(context.device));
  for (int i = 0; i < work.items_size(); ++i) {
    RSIDIFF_ASSIGN_OR_RETURN(std::string png, EncodePng(output.images[i], TextOf(grant, work.items(i))));
    RSIDIFF_ASSIGN_OR_RETURN(std::string digest, context.store.Put(png));
    context.images.Put(digest, std::make_shared<const Image>(std::move(output.images[i])));
    result.add_images(std::move(digest));
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::string latents,
                           SerializeSafetensors({{"latents", output.latents}}, {{"format", "pt"}}));
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_latents(), context.store.Put(latents));
  return result;
}

}  // namespace rsidiff::worker
