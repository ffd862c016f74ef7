#include "common/artifact/folder.h"

#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"
#include "common/base/file.h"

namespace rsidiff {
namespace {
namespace fs = std::filesystem;

class FolderTest : public testing::Test {
 protected:
  void SetUp() override { store_ = *DirectoryStore::Open(root_ / "store"); }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const fs::path& path, const std::string& contents) {
    ASSERT_TRUE(CreateFolders(path.parent_path()).ok());
    ASSERT_TRUE(WriteFileAtomically(path, contents).ok());
  }

  fs::path MakeModel(const std::string& name) {
    fs::path model = root_ / name;
    Write(model / "model_index.json", "{}");
    Write(model / "unet/config.json", "{\"a\": 1}");
    Write(model / "unet/diffusion.safetensors", std::string(3000, 'w'));
    return model;
  }

  std::string PutManifest(const v1::FolderManifest& manifest) {
    std::string json;
    EXPECT_TRUE(google::protobuf::util::MessageToJsonString(manifest, &json).ok());
    return *store_->Put(json);
  }

  // The error of materialising a folder of one file with this path.
  absl::Status HostileStatus(const std::string& path) {
    v1::FolderManifest manifest;
    auto* file = manifest.add_files();
    file->set_path(path);
    file->set_digest(*store_->Put("x"));
    return MaterializeFolder(*store_, PutManifest(manifest), root_ / "into").status();
  }

  const fs::path root_ = fs::path(testing::TempDir()) / RandomId();
  std::unique_ptr<DirectoryStore> store_;
};

TEST_F(FolderTest, MaterializedFolderHasTheSameFiles) {
  fs::path model = MakeModel("model");
  auto digest = ImportFolder(*store_, model);
  ASSERT_TRUE(digest.ok()) << digest.status();
  auto folder = MaterializeFolder(*store_, *digest, root_ / "into");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(*folder, root_ / "into" / *digest);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(*folder)) {
    if (entry.is_directory()) continue;
    ++files;
    EXPECT_TRUE(entry.is_symlink());
    EXPECT_EQ(*ReadFile(entry.path()), *ReadFile(model / entry.path().lexically_relative(*folder)));
  }
  EXPECT_EQ(files, 3);
}

TEST_F(FolderTest, DigestDependsOnContentsOnly) {
  std::string first = *ImportFolder(*store_, MakeModel("a"));
  EXPECT_EQ(*ImportFolder(*store_, MakeModel("b")), first);
  Write(root_ / "b/unet/config.json", "{\"a\": 2}");
  EXPECT_NE(*ImportFolder(*store_, root_ / "b"), first);
}

TEST_F(FolderTest, ManifestIsSortedAndHasSizes) {
  auto manifest = ReadFolderManifest(*store_, *ImportFolder(*store_, MakeModel("model")));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_EQ(manifest->files_size(), 3);
  EXPECT_EQ(manifest->files(0).path(), "model_index.json");
  EXPECT_EQ(manifest->files(1).path(), "unet/config.json");
  EXPECT_EQ(manifest->files(2).size(), 3000u);
  EXPECT_EQ(manifest->files(2).digest(), Sha256Hex(std::string(3000, 'w')));
}

TEST_F(FolderTest, HiddenFilesAndPicklesStayOutAndLinksAreFollowed) {
  std::string plain = *ImportFolder(*store_, MakeModel("plain"));
  fs::path model = MakeModel("other");
  Write(model / ".git/config", "x");
  Write(model / "unet/diffusion_pytorch_model.bin", "pickle");
  Write(model / "v1-4.ckpt", "pickle");
  fs::rename(model / "unet/config.json", root_ / "blob");
  fs::create_symlink(root_ / "blob", model / "unet/config.json");
  EXPECT_EQ(*ImportFolder(*store_, model), plain);
}

TEST_F(FolderTest, BadFoldersAreNamed) {
  EXPECT_TRUE(absl::IsNotFound(ImportFolder(*store_, root_ / "none").status()));
  fs::create_directories(root_ / "empty/sub");
  absl::Status empty = ImportFolder(*store_, root_ / "empty").status();
  EXPECT_TRUE(absl::IsInvalidArgument(empty));
  EXPECT_TRUE(absl::StrContains(empty.message(), (root_ / "empty").string()));

  fs::path pipe = MakeModel("pipe") / "unet/fifo";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(absl::StrContains(ImportFolder(*store_, root_ / "pipe").status().message(), pipe.string()));

  fs::create_directory_symlink(MakeModel("loop"), root_ / "loop/again");
  EXPECT_TRUE(absl::IsInvalidArgument(ImportFolder(*store_, root_ / "loop").status()));
}

TEST_F(FolderTest, HostilePathsAreRefused) {
  for (const std::string& path :
       {std::string("../escape"), std::string("/etc/passwd"), std::string("a/../../escape"),
        std::string("a//b"), std::string("./a"), std::string(), std::string("a/"), std::string("a\0b", 3)}) {
    absl::Status status = HostileStatus(path);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << "'" << path << "': " << status;
  }
  EXPECT_FALSE(fs::exists(root_ / "escape"));
  EXPECT_TRUE(HostileStatus("..a/b..").ok());
}

TEST_F(FolderTest, ManifestsThatContradictThemselvesAreRefused) {
  std::string digest = *store_->Put("x");
  auto status_of = [&](std::initializer_list<std::pair<std::string, std::string>> files) {
    v1::FolderManifest manifest;
    for (const auto& [path, file_digest] : files) {
      auto* file = manifest.add_files();
      file->set_path(path);
      file->set_digest(file_digest);
    }
    return MaterializeFolder(*store_, PutManifest(manifest), root_ / "into").status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(status_of({{"a", digest}, {"a", digest}})));
  EXPECT_TRUE(absl::IsInvalidArgument(status_of({{"a", digest}, {"a/b", digest}})));
  EXPECT_TRUE(absl::IsInvalidArgument(status_of({{"a", "../../etc/passwd"}})));
  EXPECT_TRUE(absl::IsNotFound(status_of({{"a", Sha256Hex("not stored")}})));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFolderManifest(*store_, *store_->Put("not json")).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadFolderManifest(*store_, Sha256Hex("none")).status()));
}

TEST_F(FolderTest, MaterializingAgainRepairsTheFolder) {
  std::string digest = *ImportFolder(*store_, MakeModel("model"));
  fs::path folder = *MaterializeFolder(*store_, digest, root_ / "into");
  fs::remove(folder / "model_index.json");
  fs::remove(folder / "unet/config.json");
  fs::create_symlink("/nowhere", folder / "unet/config.json");
  ASSERT_TRUE(MaterializeFolder(*store_, digest, root_ / "into").ok());
  EXPECT_EQ(*ReadFile(folder / "model_index.json"), "{}");
  EXPECT_EQ(*ReadFile(folder / "unet/config.json"), "{\"a\": 1}");
}

}  // namespace
}  // namespace rsidiff
