// `rsidiff reproduce`: what it asks a worker, and what it makes of the answer. The worker is a script.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/image/png.h"
#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kHere[] = "a processor; torch 1; 1 thread";

std::string Picture(uint8_t level, const PngText& text = {}) {
  Image image = MakeImage(4, 4);
  std::fill(image.rgb.begin(), image.rgb.end(), uint8_t{100});
  image.rgb[7] = level;
  return EncodePng(image, text).value();
}

// A run whose round 2 has one training and one evaluation sample.
class ReproduceTest : public testing::Test {
 protected:
  ReproduceTest() : folder(fs::temp_directory_path() / absl::StrCat("rsidiff-reproduce-test-", RandomId())) {
    fs::create_directories(folder);
    line.coordinator = fake.address();
    v1::RunStatus run;
    run.mutable_run()->set_id(5);
    run.mutable_run()->mutable_spec()->set_name("shapes");
    absl::MutexLock lock(&fake.mutex);
    fake.runs = {run};
    for (v1::Purpose purpose : {v1::PURPOSE_TRAINING, v1::PURPOSE_EVALUATION}) {
      v1::SampleRecord sample;
      sample.set_id(purpose == v1::PURPOSE_EVALUATION ? "5/2/eval/0" : "5/2/0");
      sample.set_image(*fake.store().Put(Picture(100)));
      sample.set_environment(kHere);
      sample.set_latents("the chunk's");
      fake.samples[{2, purpose}] = {sample};
      v1::Grant& task = fake.tasks[{2, purpose}];
      task.mutable_task()->set_purpose(purpose);
      task.mutable_payload()->mutable_generate()->set_guidance_scale(0.1);
      task.mutable_payload()->mutable_generate()->add_items()->set_seed(1ull << 62);
    }
  }
  ~ReproduceTest() override { fs::remove_all(folder); }

  // A worker that draws `png`; it keeps its task in the folder.
  std::string Worker(const std::string& png, const std::string& environment = kHere) {
    const fs::path path = folder / "worker";
    EXPECT_TRUE(WriteFileAtomically(folder / "drawn.png", png).ok());
    EXPECT_TRUE(
        WriteFileAtomically(path, absl::StrCat("#!/bin/sh\n"
                                               "cp \"$5\" ",
                                               folder.string(),
                                               "/task.json\n"
                                               "cp ",
                                               folder.string(),
                                               "/drawn.png \"$7/00000.png\"\n"
                                               "echo '{\"environment\": \"",
                                               environment,
                                               "\", \"latents\": \"the chunk'\"'\"'s\", \"pictures\": ["
                                               "{\"index\": 0, \"file\": \"00000.png\"}]}'\n"))
            .ok());
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }

  CommandOutcome Reproduce(const std::string& sample, const std::string& worker,
                           std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"reproduce", sample, "--worker", worker};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return line.Run(arguments);
  }

  fs::path folder;
  FakeCoordinator fake;
  CommandLine line;
};

TEST_F(ReproduceTest, SaysThatThePictureIsTheSame) {
  const CommandOutcome outcome =
      Reproduce("shapes/2/0", Worker(Picture(100)), {"--out", folder / "kept.png"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(outcome.out,
            absl::StrCat("5/2/0: the same picture, bit for bit, ", Sha256Hex(Picture(100)), "\n"));
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(ReadFile(folder / "kept.png").value_or(""), Picture(100));
}

TEST_F(ReproduceTest, GivesTheWorkerTheRecordedTask) {
  ASSERT_EQ(Reproduce("5/2/eval/0", Worker(Picture(100))).code, ExitCode::kOk);
  const nlohmann::json task = nlohmann::json::parse(ReadFile(folder / "task.json").value_or(""));
  EXPECT_EQ(task["task"]["purpose"], "PURPOSE_EVALUATION");
  EXPECT_EQ(task["payload"]["generate"]["guidance_scale"], 0.1);
  EXPECT_EQ(task["payload"]["generate"]["items"][0]["seed"], "4611686018427387904");
}

TEST_F(ReproduceTest, TellsHowFarThePixelsAreApart) {
  const CommandOutcome outcome = Reproduce("5/2/0", Worker(Picture(97)));
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_EQ(outcome.out, "5/2/0: largest pixel difference 3 of 255\n");
  EXPECT_THAT(outcome.err, Not(HasSubstr("differ")));
  EXPECT_EQ(Reproduce("5/2/0", Worker(Picture(97)), {"--tolerance", "3"}).code, ExitCode::kOk);
  EXPECT_EQ(Reproduce("5/2/0", Worker(Picture(97)), {"--tolerance", "2"}).code, ExitCode::kFailed);
}

TEST_F(ReproduceTest, TellsAnotherEnvironmentAndAnotherFileWithTheSamePixels) {
  const CommandOutcome outcome =
      Reproduce("5/2/0", Worker(Picture(100, {{"key", "value"}}), "another processor"));
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.out, HasSubstr("the same pixels in another PNG file"));
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("the environments differ"), HasSubstr(kHere), HasSubstr("another processor")));
}

TEST_F(ReproduceTest, JsonHasEverything) {
  const CommandOutcome outcome = Reproduce("5/2/0", Worker(Picture(90)), {"--json"});
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["sample"], "5/2/0");
  EXPECT_EQ(json["same_picture"], false);
  EXPECT_EQ(json["same_latents"], true);
  EXPECT_EQ(json["same_environment"], true);
  EXPECT_EQ(json["largest_difference"], 10);
  EXPECT_EQ(json["reproduced_sha256"], Sha256Hex(Picture(90)));
}

TEST_F(ReproduceTest, NamesWhatIsWrong) {
  const std::string worker = Worker(Picture(100));
  for (const char* sample : {"5/2", "5/x/0", "5/2/eval", "5/2/other/0", "/2/0", "5/2/-1", ""}) {
    EXPECT_EQ(Reproduce(sample, worker).code, ExitCode::kUsage) << sample;
  }
  EXPECT_EQ(Reproduce("5/2/9", worker).err, "error: no sample 9\n");
  EXPECT_THAT(Reproduce("5/2/0", folder / "nowhere").err, HasSubstr("cannot start"));
  EXPECT_THAT(Reproduce("5/2/0", "/bin/false").err, HasSubstr("/bin/false ended with exit code 1"));
  EXPECT_THAT(Reproduce("5/2/0", "/bin/true").err, HasSubstr("printed no summary"));
}

TEST_F(ReproduceTest, AWorkerThatPrintsAnotherKindOfSummaryIsAnError) {
  const fs::path worker = folder / "other-worker";
  for (const char* summary :
       {"7", "[]", R"({"pictures": []})", R"({"environment": 1, "latents": "x", "pictures": []})",
        R"({"environment": "x", "latents": [], "pictures": []})",
        R"({"environment": "x", "latents": "x", "pictures": {"index": 0}})",
        R"({"environment": "x", "latents": "x", "pictures": ["00000.png"]})",
        R"({"environment": "x", "latents": "x", "pictures": [{"index": "0", "file": "00000.png"}]})",
        R"({"environment": "x", "latents": "x", "pictures": [{"index": 0, "file": 0}]})"}) {
    ASSERT_TRUE(WriteFileAtomically(worker, absl::StrCat("#!/bin/sh\necho '", summary, "'\n")).ok());
    fs::permissions(worker, fs::perms::owner_all);
    const CommandOutcome outcome = Reproduce("5/2/0", worker);
    EXPECT_EQ(outcome.code, ExitCode::kFailed) << summary;
    EXPECT_THAT(outcome.err, HasSubstr("printed no summary")) << summary;
  }
}

TEST_F(ReproduceTest, NamesAMissingFolderForTemporaryFiles) {
  const std::string worker = Worker(Picture(100));
  const char* set = std::getenv("TMPDIR");
  const std::optional<std::string> before = set == nullptr ? std::nullopt : std::optional<std::string>(set);
  setenv("TMPDIR", (folder / "nowhere").c_str(), 1);
  const CommandOutcome outcome = Reproduce("5/2/0", worker);
  before ? setenv("TMPDIR", before->c_str(), 1) : unsetenv("TMPDIR");
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("error: no folder for temporary files (TMPDIR"));
}

TEST_F(ReproduceTest, CannotCompareWithAPictureThatIsGone) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.samples[{2, v1::PURPOSE_TRAINING}][0].set_image(Sha256Hex("never stored"));
  }
  const CommandOutcome outcome = Reproduce("5/2/0", Worker(Picture(100)));
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.out, HasSubstr("the recorded one is gone"));
}

}  // namespace
}  // namespace rsidiff::coordinator
