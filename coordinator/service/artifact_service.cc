#include "coordinator/service/artifact_service.h"

#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/artifact/artifact_writer.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/service/core_call.h"
#include "coordinator/service/pool_call.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr int kMaxStatDigests = 10'000;
constexpr char kProbeFile[] = "probe";

// Receives one artifact. Reading a message and handling it in the pool take turns, so nothing here runs
// twice at once, and Finish is the last thing done.
class PutStream final : public grpc::ServerReadReactor<v1::PutArtifactRequest> {
 public:
  PutStream(const ArtifactServiceAdapter::Parts& parts, grpc::CallbackServerContext* context)
      : parts_(parts), context_(context) {
    StartRead(&message_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!parts_.io->Submit([this, ok] { Handle(ok); })) Close(Overloaded());
  }

  // In the pool.
  void Handle(bool received) {
    absl::StatusOr<bool> more = received ? Take() : End();
    if (more.ok() && *more) {
      StartRead(&message_);
    } else {
      Close(more.status());
    }
  }

  // True if the call goes on.
  absl::StatusOr<bool> Take() {
    if (!writer_) {
      if (!IsDigest(message_.digest())) {
        return absl::InvalidArgumentError(
            absl::StrCat("the first message must carry a digest, not '", message_.digest(), "'"));
      }
      digest_ = message_.digest();
      if (parts_.store->Renew(digest_)) return false;
      RSIDIFF_ASSIGN_OR_RETURN(ArtifactWriter writer, ArtifactWriter::Open(parts_.store));
      writer_.emplace(std::move(writer));
      return true;
    }
    if (!message_.has_data()) return absl::InvalidArgumentError("a second digest in the stream");
    parts_.metrics->CountArtifactBytesReceived(message_.data().size());
    RSIDIFF_RETURN_IF_ERROR(writer_->Append(message_.data()));
    return true;
  }

  absl::StatusOr<bool> End() {
    if (context_->IsCancelled()) return absl::CancelledError("the sender has gone");
    if (!writer_) return absl::InvalidArgumentError("the stream has no digest");
    RSIDIFF_RETURN_IF_ERROR(writer_->CommitAs(digest_));
    return false;
  }

  void OnDone() override { delete this; }

  void Close(const absl::Status& status) {
    writer_.reset();
    parts_.metrics->CountCall("Put", status.code(), absl::Now() - started_);
    Finish(ToGrpc(status));
  }

  const ArtifactServiceAdapter::Parts& parts_;
  grpc::CallbackServerContext* const context_;
  const absl::Time started_ = absl::Now();
  v1::PutArtifactRequest message_;
  std::string digest_;
  std::optional<ArtifactWriter> writer_;
};

// Sends one artifact: a piece is read by the pool, written, and then the next one is read.
class GetStream final : public grpc::ServerWriteReactor<v1::GetArtifactResponse> {
 public:
  GetStream(const ArtifactServiceAdapter::Parts& parts, std::string digest)
      : parts_(parts), digest_(std::move(digest)) {
    ReadPiece();
  }

 private:
  void ReadPiece() {
    if (!parts_.io->Submit([this] { SendPiece(); })) Close(Overloaded());
  }

  // In the pool.
  void SendPiece() {
    if (!file_.is_open()) {
      absl::StatusOr<std::filesystem::path> path = parts_.store->LocalPath(digest_);
      if (!path.ok()) return Close(path.status());
      file_.open(*path, std::ios::binary);
      if (!file_) return Close(ErrnoStatus(errno, absl::StrCat("cannot open artifact ", digest_)));
    }
    std::string* piece = message_.mutable_data();
    piece->resize(kPieceBytes);
    file_.read(piece->data(), static_cast<std::streamsize>(piece->size()));
    if (file_.bad()) return Close(ErrnoStatus(errno, absl::StrCat("cannot read artifact ", digest_)));
    piece->resize(static_cast<size_t>(file_.gcount()));
    if (piece->empty()) return Close(absl::OkStatus());
    parts_.metrics->CountArtifactBytesSent(piece->size());
    StartWrite(&message_);
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      ReadPiece();
    } else {
      Close(absl::CancelledError("the receiver has gone"));
    }
  }

  void OnDone() override { delete this; }

  void Close(const absl::Status& status) {
    parts_.metrics->CountCall("Get", status.code(), absl::Now() - started_);
    Finish(ToGrpc(status));
  }

  const ArtifactServiceAdapter::Parts& parts_;
  const std::string digest_;
  const absl::Time started_ = absl::Now();
  std::ifstream file_;
  v1::GetArtifactResponse message_;
};

absl::Status FindPresent(DirectoryStore& store, const v1::StatArtifactsRequest& request,
                         v1::StatArtifactsResponse* response) {
  if (request.digests_size() > kMaxStatDigests) {
    return absl::InvalidArgumentError(
        absl::StrCat("digests are at most ", kMaxStatDigests, ": ", request.digests_size()));
  }
  for (const std::string& digest : request.digests()) {
    RSIDIFF_ASSIGN_OR_RETURN(bool present, store.Contains(digest));
    if (present) response->add_present(digest);
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerReadReactor<v1::PutArtifactRequest>* ArtifactServiceAdapter::Put(
    grpc::CallbackServerContext* context, v1::PutArtifactResponse*) {
  return new PutStream(parts_, context);
}

grpc::ServerWriteReactor<v1::GetArtifactResponse>* ArtifactServiceAdapter::Get(
    grpc::CallbackServerContext*, const v1::GetArtifactRequest* request) {
  return new GetStream(parts_, request->digest());
}

grpc::ServerUnaryReactor* ArtifactServiceAdapter::Stat(grpc::CallbackServerContext* context,
                                                       const v1::StatArtifactsRequest* request,
                                                       v1::StatArtifactsResponse* response) {
  return AnswerInPool(*parts_.io, UnaryCall("Stat", context, parts_.metrics),
                      [this, request, response] { return FindPresent(*parts_.store, *request, response); });
}

grpc::ServerUnaryReactor* ArtifactServiceAdapter::Locate(grpc::CallbackServerContext* context,
                                                         const v1::LocateStoreRequest*,
                                                         v1::LocateStoreResponse* response) {
  response->set_path(parts_.store->folder().string());
  response->set_probe_file(kProbeFile);
  response->set_probe_content(parts_.probe_content);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

absl::StatusOr<std::string> PrepareProbe(const std::filesystem::path& folder) {
  std::filesystem::path file = folder / kProbeFile;
  absl::StatusOr<std::string> content = ReadFile(file);
  if (content.ok() && !content->empty()) return content;
  if (!content.ok() && !absl::IsNotFound(content.status())) return content.status();
  std::string fresh = RandomId();
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(file, fresh));
  return fresh;
}

}  // namespace rsidiff::coordinator
