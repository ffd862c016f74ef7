#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/artifact/coordinator_store.h"
#include "common/artifact/open_store.h"
#include "common/base/file.h"
#include "tests/unit/service/temporary_coordinator.h"

namespace rsidiff::coordinator {
namespace {
namespace fs = std::filesystem;

class ArtifactServiceTest : public TemporaryCoordinator {
 protected:
  CoordinatorStoreOptions OptionsOf(const std::string& cache) const {
    CoordinatorStoreOptions options;
    options.cache = folder_ / cache;
    options.retry_for = absl::ZeroDuration();
    return options;
  }
  std::unique_ptr<CoordinatorStore> StoreOf(const std::string& cache) const {
    return *CoordinatorStore::Open(Channel(), OptionsOf(cache));
  }
  fs::path Artifacts() const { return folder_ / "data/artifacts"; }
  std::ptrdiff_t TemporaryFiles() const {
    return std::distance(fs::directory_iterator(Artifacts() / "tmp"), {});
  }

  // Streams these messages and ends the stream.
  grpc::Status RawPut(const std::vector<v1::PutArtifactRequest>& messages) const {
    auto stub = v1::ArtifactService::NewStub(Channel());
    grpc::ClientContext context;
    v1::PutArtifactResponse response;
    auto writer = stub->Put(&context, &response);
    for (const auto& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  static v1::PutArtifactRequest Digest(const std::string& digest) {
    v1::PutArtifactRequest message;
    message.set_digest(digest);
    return message;
  }
  static v1::PutArtifactRequest Data(const std::string& data) {
    v1::PutArtifactRequest message;
    message.set_data(data);
    return message;
  }
};

TEST_F(ArtifactServiceTest, MovesArtifactsOfEverySize) {
  auto sender = StoreOf("sender");
  auto receiver = StoreOf("receiver");
  std::string large(9 << 20, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761u >> 13);
  for (const std::string& bytes : {std::string(), std::string("small"), std::string(1 << 20, 'm'), large}) {
    auto digest = sender->Put(bytes);
    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_EQ(*receiver->Contains(*digest), true);
    auto back = receiver->Get(*digest);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_TRUE(*back == bytes);
    EXPECT_TRUE(*ReadFile(*receiver->LocalPath(*digest)) == bytes);
  }
  ASSERT_TRUE(WriteFileAtomically(folder_ / "file", large + "x").ok());
  auto digest = sender->PutFile(folder_ / "file");
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_TRUE(*receiver->Get(*digest) == large + "x");
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(ArtifactServiceTest, PuttingAgainIsOk) {
  std::string bytes(5 << 20, 'a');
  EXPECT_TRUE(StoreOf("one")->Put(bytes).ok());
  EXPECT_TRUE(StoreOf("two")->Put(bytes).ok());
}

TEST_F(ArtifactServiceTest, BytesOfAnotherDigestAreRefused) {
  std::string digest = Sha256Hex("right");
  EXPECT_EQ(RawPut({Digest(digest), Data("wrong")}).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(RawPut({Digest(digest), Data("rig")}).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_FALSE(*StoreOf("cache")->Contains(digest));
  EXPECT_TRUE(RawPut({Digest(digest), Data("rig"), Data("ht")}).ok());
  EXPECT_TRUE(*StoreOf("cache")->Contains(digest));
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(ArtifactServiceTest, BrokenStreamLeavesNothing) {
  std::string digest = Sha256Hex("right");
  auto stub = v1::ArtifactService::NewStub(Channel());
  {
    grpc::ClientContext context;
    v1::PutArtifactResponse response;
    auto writer = stub->Put(&context, &response);
    writer->Write(Digest(digest));
    writer->Write(Data("rig"));
    context.TryCancel();
    EXPECT_FALSE(writer->Finish().ok());
  }
  coordinator_->Stop();  // the server has seen the end of every stream
  EXPECT_EQ(TemporaryFiles(), 0);
  EXPECT_FALSE(fs::exists(Artifacts() / digest.substr(0, 2) / digest));
}

TEST_F(ArtifactServiceTest, HostileDigestsAndStreamsAreRefused) {
  auto stub = v1::ArtifactService::NewStub(Channel());
  for (const std::string& digest :
       {std::string("../../../etc/passwd"), std::string(), std::string("probe"), std::string(64, 'Z')}) {
    EXPECT_EQ(RawPut({Digest(digest), Data("x")}).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << digest;
    v1::GetArtifactRequest get;
    get.set_digest(digest);
    grpc::ClientContext get_context;
    auto reader = stub->Get(&get_context, get);
    v1::GetArtifactResponse piece;
    EXPECT_FALSE(reader->Read(&piece));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT) << digest;
    v1::StatArtifactsRequest stat;
    stat.add_digests(digest);
    v1::StatArtifactsResponse present;
    grpc::ClientContext stat_context;
    EXPECT_EQ(stub->Stat(&stat_context, stat, &present).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  std::string digest = Sha256Hex("right");
  EXPECT_EQ(RawPut({}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RawPut({Data("right")}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RawPut({Digest(digest), Digest(digest)}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ArtifactServiceTest, MissingArtifactIsNotFoundAndNamed) {
  std::string digest = Sha256Hex("missing");
  absl::Status status = StoreOf("cache")->Get(digest).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), digest));
}

TEST_F(ArtifactServiceTest, StatTellsWhatIsThereAndHasALimit) {
  auto stub = v1::ArtifactService::NewStub(Channel());
  std::string here = *StoreOf("cache")->Put("here");
  v1::StatArtifactsRequest request;
  request.add_digests(Sha256Hex("not here"));
  request.add_digests(here);
  v1::StatArtifactsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub->Stat(&context, request, &response).ok());
  ASSERT_EQ(response.present_size(), 1);
  EXPECT_EQ(response.present(0), here);
  for (int i = 0; i < 10'000; ++i) request.add_digests(here);
  grpc::ClientContext second;
  EXPECT_EQ(stub->Stat(&second, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ArtifactServiceTest, DamagedCacheIsFetchedAgainAndDamagedStoreIsDataLoss) {
  std::string digest = *StoreOf("sender")->Put("good bytes");
  auto store = StoreOf("receiver");
  fs::path cached = *store->LocalPath(digest);
  ASSERT_TRUE(WriteFileAtomically(cached, "bad").ok());
  EXPECT_EQ(*store->Get(digest), "good bytes");
  ASSERT_TRUE(WriteFileAtomically(cached, "bad").ok());
  EXPECT_EQ(*ReadFile(*StoreOf("receiver")->LocalPath(digest)), "good bytes");  // as the next process sees it
  ASSERT_TRUE(WriteFileAtomically(Artifacts() / digest.substr(0, 2) / digest, "bad").ok());
  EXPECT_TRUE(absl::IsDataLoss(StoreOf("third")->Get(digest).status()));
}

TEST_F(ArtifactServiceTest, PuttingAgainMendsADamagedCacheAndStore) {
  auto store = StoreOf("cache");
  std::string digest = *store->Put("good bytes");
  ASSERT_TRUE(WriteFileAtomically(*store->LocalPath(digest), "good").ok());
  ASSERT_TRUE(WriteFileAtomically(Artifacts() / digest.substr(0, 2) / digest, "good").ok());
  ASSERT_TRUE(store->Put("good bytes").ok());
  EXPECT_EQ(*ReadFile(*store->LocalPath(digest)), "good bytes");
  EXPECT_EQ(*StoreOf("other")->Get(digest), "good bytes");
  EXPECT_EQ(TemporaryFiles(), 0);
}

TEST_F(ArtifactServiceTest, ProbeFindsTheSharedFolder) {
  auto shared = OpenStore(Channel(), OptionsOf("cache"));
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_EQ(shared->way, absl::StrCat("in the folder ", fs::absolute(Artifacts()).string()));
  auto* direct = dynamic_cast<DirectoryStore*>(shared->store.get());
  ASSERT_NE(direct, nullptr);
  EXPECT_EQ(direct->folder(), fs::absolute(Artifacts()));
  EXPECT_FALSE(fs::exists(folder_ / "cache"));
}

TEST_F(ArtifactServiceTest, ProbeOfAnotherFolderMeansStreaming) {
  // As on a host where the same path is another folder.
  ASSERT_TRUE(WriteFileAtomically(Artifacts() / "probe", "other").ok());
  auto streamed = OpenStore(Channel(), OptionsOf("cache"));
  ASSERT_TRUE(streamed.ok());
  EXPECT_EQ(streamed->way, absl::StrCat("streamed through the coordinator: ",
                                        fs::absolute(Artifacts()).string(), " is not its folder here"));
  EXPECT_NE(dynamic_cast<CoordinatorStore*>(streamed->store.get()), nullptr);
  std::string digest = *streamed->store->Put("through the coordinator");
  EXPECT_TRUE(fs::exists(Artifacts() / digest.substr(0, 2) / digest));
}

TEST_F(ArtifactServiceTest, ProbeStandsForTheFolderAcrossRestarts) {
  std::string before = *ReadFile(Artifacts() / "probe");
  Restart();
  EXPECT_EQ(*ReadFile(Artifacts() / "probe"), before);
}

TEST_F(ArtifactServiceTest, UnreachableCoordinatorIsUnavailable) {
  auto store = StoreOf("cache");
  coordinator_->Stop();
  EXPECT_TRUE(absl::IsUnavailable(store->Put("x").status()));
  EXPECT_TRUE(absl::IsUnavailable(OpenStore(Channel(), OptionsOf("cache")).status()));
}

TEST_F(ArtifactServiceTest, CallsWaitForARestart) {
  std::string digest = *StoreOf("sender")->Put("kept");
  CoordinatorStoreOptions options = OptionsOf("receiver");
  options.retry_for = absl::Minutes(1);
  std::string address = coordinator_->grpc_address();
  auto store = *CoordinatorStore::Open(Channel(), options);
  coordinator_.reset();
  std::thread restart([&] {
    CoordinatorOptions again;
    again.data = folder_ / "data";
    again.grpc_address = address;
    coordinator_ = *Coordinator::Start(again);
  });
  auto bytes = store->Get(digest);
  restart.join();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, "kept");
}

TEST_F(ArtifactServiceTest, AStopEndsTheWaitForTheCoordinator) {
  auto stop = std::make_shared<absl::Notification>();
  CoordinatorStoreOptions options = OptionsOf("cache");
  options.retry_for = absl::InfiniteDuration();
  options.stop = stop;
  auto store = *CoordinatorStore::Open(Channel(), options);
  std::string digest = *store->Put("before");
  coordinator_->Stop();
  std::thread stopper([&] { stop->Notify(); });
  EXPECT_TRUE(absl::IsCancelled(store->Put("x").status()));
  stopper.join();
  EXPECT_TRUE(absl::IsCancelled(store->Contains(digest).status()));
  EXPECT_EQ(*store->Get(digest), "before");  // needs no coordinator
}

TEST_F(ArtifactServiceTest, ManyStreamsAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      auto store = StoreOf(absl::StrCat("cache", i));
      for (int j = 0; j < 5; ++j) {
        std::string bytes = absl::StrCat(j, std::string(300'000, 'p'));
        auto digest = store->Put(bytes);
        ASSERT_TRUE(digest.ok()) << digest.status();
        EXPECT_TRUE(*StoreOf(absl::StrCat("other", i))->Get(*digest) == bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(TemporaryFiles(), 0);
}

}  // namespace
}  // namespace rsidiff::coordinator
