#include "common/artifact/coordinator_store.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <fstream>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/artifact/artifact_writer.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/status.h"

namespace rsidiff {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPieceBytes = 1 << 20;

void SetDeadline(grpc::ClientContext& context, absl::Duration time) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(time));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorStore>> CoordinatorStore::Open(
    std::shared_ptr<grpc::Channel> channel, CoordinatorStoreOptions options) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<DirectoryStore> cache, DirectoryStore::Open(options.cache));
  return absl::WrapUnique(new CoordinatorStore(std::move(channel), std::move(cache), std::move(options)));
}

CoordinatorStore::CoordinatorStore(std::shared_ptr<grpc::Channel> channel,
                                   std::unique_ptr<DirectoryStore> cache, CoordinatorStoreOptions options)
    : options_(std::move(options)),
      stub_(v1::ArtifactService::NewStub(std::move(channel))),
      cache_(std::move(cache)) {}

absl::StatusOr<std::string> CoordinatorStore::Put(absl::string_view bytes) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string digest, cache_->Put(bytes));
  RSIDIFF_RETURN_IF_ERROR(Upload(digest));
  return digest;
}

absl::StatusOr<std::string> CoordinatorStore::PutFile(const fs::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string digest, cache_->PutFile(file));
  RSIDIFF_RETURN_IF_ERROR(Upload(digest));
  return digest;
}

absl::StatusOr<std::string> CoordinatorStore::Get(absl::string_view digest) {
  absl::StatusOr<std::string> bytes = cache_->Get(digest);
  if (!absl::IsNotFound(bytes.status()) && !absl::IsDataLoss(bytes.status())) return bytes;
  if (absl::IsDataLoss(bytes.status())) RSIDIFF_RETURN_IF_ERROR(cache_->Remove(digest));
  RSIDIFF_RETURN_IF_ERROR(Download(std::string(digest)));
  return cache_->Get(digest);
}

absl::StatusOr<fs::path> CoordinatorStore::LocalPath(absl::string_view digest) {
  RSIDIFF_ASSIGN_OR_RETURN(bool cached, cache_->Contains(digest));
  const std::string name(digest);
  if (!cached || !FoundSound(name)) {
    RSIDIFF_RETURN_IF_ERROR(Download(name));
    absl::MutexLock lock(&mutex_);
    sound_.insert(name);
  }
  return cache_->LocalPath(digest);
}

bool CoordinatorStore::FoundSound(const std::string& digest) {
  // What an earlier process left may be damaged since, and would fail every task here that needs it. A model
  // of some gigabytes takes seconds, once a process.
  absl::MutexLock lock(&mutex_);
  if (sound_.count(digest) == 0 && cache_->IsSound(digest)) sound_.insert(digest);
  return sound_.count(digest) > 0;
}

absl::StatusOr<bool> CoordinatorStore::Contains(absl::string_view digest) {
  if (!IsDigest(digest)) return absl::InvalidArgumentError(absl::StrCat("not a digest: '", digest, "'"));
  v1::StatArtifactsRequest request;
  request.add_digests(std::string(digest));
  v1::StatArtifactsResponse response;
  RSIDIFF_RETURN_IF_ERROR(WithRetries([&] {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(30));
    return FromGrpc(stub_->Stat(&context, request, &response));
  }));
  return response.present_size() > 0;
}

absl::Status CoordinatorStore::Upload(const std::string& digest) {
  RSIDIFF_ASSIGN_OR_RETURN(fs::path file, cache_->LocalPath(digest));
  absl::Status status = WithRetries([&] { return UploadOnce(digest, file); });
  return Annotate(status, absl::StrCat("cannot store artifact ", digest, " at the coordinator"));
}

absl::Status CoordinatorStore::UploadOnce(const std::string& digest, const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return ErrnoStatus(errno, absl::StrCat("cannot open ", file.string()));
  grpc::ClientContext context;
  SetDeadline(context, options_.transfer_deadline);
  v1::PutArtifactResponse response;
  std::unique_ptr<grpc::ClientWriter<v1::PutArtifactRequest>> writer = stub_->Put(&context, &response);
  v1::PutArtifactRequest request;
  request.set_digest(digest);
  // A failed write means that the coordinator has answered already: it has the artifact, or an error.
  bool open = writer->Write(request);
  while (open && in) {
    if (options_.stop->HasBeenNotified()) context.TryCancel();  // the write fails then
    std::string* piece = request.mutable_data();
    piece->resize(kPieceBytes);
    in.read(piece->data(), static_cast<std::streamsize>(piece->size()));
    piece->resize(static_cast<size_t>(in.gcount()));
    if (!piece->empty()) open = writer->Write(request);
  }
  if (open) writer->WritesDone();
  return FromGrpc(writer->Finish());
}

absl::Status CoordinatorStore::Download(const std::string& digest) {
  absl::Status status = WithRetries([&] { return DownloadOnce(digest); });
  return Annotate(status, absl::StrCat("cannot fetch artifact ", digest, " from the coordinator"));
}

absl::Status CoordinatorStore::DownloadOnce(const std::string& digest) {
  RSIDIFF_ASSIGN_OR_RETURN(ArtifactWriter writer, ArtifactWriter::Open(cache_.get()));
  grpc::ClientContext context;
  SetDeadline(context, options_.transfer_deadline);
  v1::GetArtifactRequest request;
  request.set_digest(digest);
  std::unique_ptr<grpc::ClientReader<v1::GetArtifactResponse>> reader = stub_->Get(&context, request);
  v1::GetArtifactResponse response;
  absl::Status written;
  while (written.ok() && reader->Read(&response)) {
    if (options_.stop->HasBeenNotified()) context.TryCancel();  // the next read fails then
    written = writer.Append(response.data());
  }
  if (!written.ok()) {
    context.TryCancel();
    reader->Finish();
    return written;
  }
  RSIDIFF_RETURN_IF_ERROR(FromGrpc(reader->Finish()));
  return writer.CommitAs(digest);
}

absl::Status CoordinatorStore::WithRetries(const std::function<absl::Status()>& call) const {
  absl::Time deadline = absl::Now() + options_.retry_for;
  Backoff backoff(BackoffOptions{});
  while (!options_.stop->HasBeenNotified()) {
    absl::Status status = call();
    if (!absl::IsUnavailable(status)) return status;
    absl::Duration wait = backoff.Next();
    if (absl::Now() + wait > deadline) return status;
    options_.stop->WaitForNotificationWithTimeout(wait);
  }
  return absl::CancelledError("the worker stops");
}

}  // namespace rsidiff
