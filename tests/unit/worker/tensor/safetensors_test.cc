#include "worker/tensor/safetensors.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include <ATen/ATen.h>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  SafetensorsTest() : folder_(::testing::TempDir() + "/safetensors_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~SafetensorsTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST_F(SafetensorsTest, MemoryAndFileAgree) {
  NamedTensors tensors = {{"b", at::arange(6, at::kFloat).view({2, 3})}, {"a", at::ones({3}, at::kLong)}};
  std::string bytes = SerializeSafetensors(tensors, {{"format", "pt"}}).value();
  ASSERT_TRUE(WriteSafetensors(folder_ / "f", tensors, {{"format", "pt"}}).ok());
  EXPECT_EQ(ReadFile(folder_ / "f").value(), bytes);
  auto file = SafetensorsFile::Open(folder_ / "f").value();
  EXPECT_THAT(file->names(), ElementsAre("a", "b"));
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_TRUE(at::equal(file->Get("b").value(), tensors[0].second));
  NamedTensors parsed = ParseSafetensors(bytes, "memory").value();
  ASSERT_EQ(parsed.size(), 2u);
  EXPECT_TRUE(at::equal(parsed[0].second, tensors[1].second));
}

TEST_F(SafetensorsTest, WritesNonContiguousTensorsByValue) {
  at::Tensor whole = at::arange(12, at::kFloat).view({3, 4});
  std::string bytes = SerializeSafetensors({{"t", whole.t()}, {"s", whole.select(1, 2)}}, {}).value();
  NamedTensors parsed = ParseSafetensors(bytes, "memory").value();
  EXPECT_TRUE(at::equal(parsed[0].second, whole.select(1, 2)));
  EXPECT_TRUE(at::equal(parsed[1].second, whole.t()));
}

TEST_F(SafetensorsTest, TensorsOutliveTheFileAndWritingToThemLeavesItAlone) {
  ASSERT_TRUE(WriteSafetensors(folder_ / "f", {{"t", at::zeros({1000})}}, {}).ok());
  at::Tensor tensor = SafetensorsFile::Open(folder_ / "f").value()->Get("t").value();
  at::Tensor same_file = SafetensorsFile::Open(folder_ / "f").value()->Get("t").value();
  tensor.add_(1);
  EXPECT_EQ(tensor.sum().item<float>(), 1000);
  EXPECT_EQ(same_file.sum().item<float>(), 0);
  // A new file over the old name leaves the mapping of the old one.
  ASSERT_TRUE(WriteSafetensors(folder_ / "f", {{"t", at::full({2}, 5.0)}}, {}).ok());
  EXPECT_EQ(same_file.sum().item<float>(), 0);
}

TEST_F(SafetensorsTest, TensorsOfOneFileShareItsMapping) {
  ASSERT_TRUE(WriteSafetensors(folder_ / "f", {{"a", at::ones({4})}, {"b", at::ones({4})}}, {}).ok());
  auto file = SafetensorsFile::Open(folder_ / "f").value();
  auto* a = static_cast<const char*>(file->Get("a")->const_data_ptr());
  auto* b = static_cast<const char*>(file->Get("b")->const_data_ptr());
  EXPECT_EQ(b - a, 16);
  EXPECT_EQ(file->Get("a")->const_data_ptr(), a);
}

TEST_F(SafetensorsTest, UnalignedTensorsAreCopied) {
  // The format allows any order: a byte before four bytes.
  std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  std::string bytes(1, static_cast<char>(json.size()));
  bytes += std::string(7, '\0') + json + std::string("\7\0\0\x80\x3f", 5);
  NamedTensors parsed = ParseSafetensors(bytes, "memory").value();
  EXPECT_EQ(parsed[0].second.item<uint8_t>(), 7);
  EXPECT_EQ(parsed[1].second.item<float>(), 1.0f);
}

TEST_F(SafetensorsTest, ErrorsNameFileAndTensor) {
  EXPECT_EQ(SafetensorsFile::Open(folder_ / "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::Open(folder_).status().code(), absl::StatusCode::kFailedPrecondition);
  std::string bytes = SerializeSafetensors({{"t", at::ones({4})}}, {}).value();
  ASSERT_TRUE(WriteFileAtomically(folder_ / "f", bytes).ok());
  EXPECT_THAT(SafetensorsFile::Open(folder_ / "f").value()->Get("u").status().message(),
              AllOf(HasSubstr((folder_ / "f").string()), HasSubstr("u")));
  ASSERT_TRUE(WriteFileAtomically(folder_ / "g", bytes.substr(0, bytes.size() - 1)).ok());
  absl::Status truncated = SafetensorsFile::Open(folder_ / "g").status();
  EXPECT_EQ(truncated.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(truncated.message(), AllOf(HasSubstr((folder_ / "g").string()), HasSubstr("truncated")));
}

TEST_F(SafetensorsTest, RefusesToWriteWhatCannotBeRead) {
  at::Tensor t = at::ones({1});
  EXPECT_THAT(SerializeSafetensors({{"t", t}, {"t", t}}, {}).status().message(), HasSubstr("twice"));
  EXPECT_FALSE(SerializeSafetensors({{"__metadata__", t}}, {}).ok());
  EXPECT_FALSE(SerializeSafetensors({{"\xff", t}}, {}).ok());
  EXPECT_FALSE(SerializeSafetensors({{"t", at::Tensor()}}, {}).ok());
  EXPECT_FALSE(SerializeSafetensors({{"t", t.to(at::kComplexDouble)}}, {}).ok());
  EXPECT_FALSE(WriteSafetensors(folder_ / "f", {{"t", at::Tensor()}}, {}).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SafetensorsTest, BooleansAreZeroOrOne) {
  std::string bytes = SerializeSafetensors({{"t", at::ones({2}, at::kBool)}}, {}).value();
  EXPECT_TRUE(ParseSafetensors(bytes, "memory").ok());
  bytes.back() = 2;
  EXPECT_THAT(ParseSafetensors(bytes, "memory").status().message(),
              AllOf(HasSubstr("memory"), HasSubstr("t")));
}

TEST_F(SafetensorsTest, AFailedWriteLeavesTheOldFileAndNothingElse) {
  ASSERT_TRUE(WriteSafetensors(folder_ / "f", {{"t", at::ones({1})}}, {}).ok());
  std::string before = ReadFile(folder_ / "f").value();
  // A limit on the size of files stands for a disk that fills up half way.
  rlimit old_limit;
  getrlimit(RLIMIT_FSIZE, &old_limit);
  auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit = {4096, old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  absl::Status status = WriteSafetensors(folder_ / "f", {{"t", at::ones({100'000})}}, {});
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(status.message(), HasSubstr((folder_ / "f").string()));
  EXPECT_EQ(ReadFile(folder_ / "f").value(), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

}  // namespace
}  // namespace rsidiff::worker
