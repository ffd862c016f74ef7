#include "coordinator/cli/sample_pages.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace rsidiff::coordinator {

SamplePages::SamplePages(v1::ControlService::Stub& stub, grpc::ClientContext& context,
                         const v1::ListSamplesRequest& request, absl::Duration longest_silence)
    : context_(context),
      longest_silence_(longest_silence),
      reader_(stub.AsyncListSamples(&context, request, &queue_, nullptr)) {
  open_ = Await();
}

SamplePages::~SamplePages() {
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool SamplePages::Read(v1::ListSamplesResponse* page) {
  if (!open_) return false;
  reader_->Read(page, nullptr);
  open_ = Await();
  return open_;
}

grpc::Status SamplePages::Finish() {
  grpc::Status status;
  reader_->Finish(&status, nullptr);
  Await();
  if (!given_up_) return status;
  return {grpc::StatusCode::DEADLINE_EXCEEDED,
          absl::StrCat("nothing arrived for ", absl::FormatDuration(longest_silence_))};
}

bool SamplePages::Await() {
  void* tag = nullptr;
  bool ok = false;
  const auto deadline = absl::ToChronoTime(absl::Now() + longest_silence_);
  if (queue_.AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::TIMEOUT) {
    given_up_ = true;
    context_.TryCancel();  // which brings the event
    queue_.Next(&tag, &ok);
  }
  return ok;
}

}  // namespace rsidiff::coordinator
