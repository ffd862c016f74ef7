#include "coordinator/judge/judge.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/utf8.h"
#include "tests/unit/judge/stub_judge.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

const char kGood[] = R"({"clarity": 0.9, "specificity": 0.4, "reason": "fine"})";

class JudgeTest : public testing::Test {
 protected:
  JudgeTest() : folder_(fs::temp_directory_path() / absl::StrCat("rsidiff-judge-", getpid())) {
    fs::remove_all(folder_);
    options_.model = "m";
    options_.rubric = "be strict";
    options_.retries = 2;
    options_.first_wait = absl::Milliseconds(1);
  }
  ~JudgeTest() override { fs::remove_all(folder_); }

  absl::StatusOr<JudgedPool> Judge(const StubJudge& stub, const std::vector<std::string>& prompts) {
    options_.endpoint = stub.endpoint();
    auto cache = JudgeCache::Open(folder_);
    if (!cache.ok()) return cache.status();
    return JudgePool(options_, prompts, **cache, [this](size_t, size_t) { ++progress_; });
  }

  static v1::PromptJudgeSpec Spec() {
    v1::PromptJudgeSpec spec;
    spec.set_endpoint("http://host/v1");
    spec.set_model("m");
    return spec;
  }

  const fs::path folder_;
  JudgeOptions options_;
  size_t progress_ = 0;
};

TEST_F(JudgeTest, AsksOncePerPromptAndNeverAgain) {
  StubJudge stub([](const StubQuestion& question) {
    return StubAnswer{200,
                      Completion(question.prompt == "b" ? R"({"clarity": 0, "specificity": 1})" : kGood)};
  });
  std::vector<std::string> prompts = {"a", "b"};
  for (int i = 0; i < 30; ++i) prompts.push_back(absl::StrCat("prompt ", i));
  options_.api_key = "secret";
  auto pool = Judge(stub, prompts);
  ASSERT_TRUE(pool.ok()) << pool.status();
  EXPECT_EQ(pool->asked, prompts.size());
  EXPECT_EQ(progress_, prompts.size());
  EXPECT_EQ(pool->judgements[0]->specificity, 0.4);
  EXPECT_EQ(pool->judgements[1]->clarity, 0);
  std::map<std::string, int> times;
  for (const StubQuestion& question : stub.questions()) {
    ++times[question.prompt];
    EXPECT_EQ(question.model, "m");
    EXPECT_EQ(question.rubric, "be strict");
    EXPECT_EQ(question.authorization, "Bearer secret");
  }
  EXPECT_EQ(times.size(), prompts.size());
  EXPECT_EQ(stub.questions().size(), prompts.size());

  prompts.push_back("new");
  auto again = Judge(stub, prompts);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->asked, 1u);
  EXPECT_EQ(again->judgements[1]->clarity, 0);
  options_.rubric = "be kind";  // other questions
  EXPECT_EQ(Judge(stub, {"a"})->asked, 1u);
}

TEST_F(JudgeTest, TriesAgainWhatPasses) {
  std::atomic<int> calls{0};
  StubJudge stub([&calls](const StubQuestion&) {
    const int call = calls++;
    if (call == 0) return StubAnswer{429, "slow down", "0"};
    return call == 1 ? StubAnswer{503, "warming up"} : StubAnswer{200, Completion(kGood)};
  });
  auto pool = Judge(stub, {"a"});
  ASSERT_TRUE(pool.ok()) << pool.status();
  EXPECT_EQ(pool->judgements[0]->clarity, 0.9);
  EXPECT_EQ(calls, 3);
}

TEST_F(JudgeTest, GivesUpAfterItsTriesAndKeepsWhatItHas) {
  options_.parallel = 1;
  StubJudge stub([](const StubQuestion& question) {
    return question.prompt == "a" ? StubAnswer{200, Completion(kGood)} : StubAnswer{500, "out of memory"};
  });
  auto pool = Judge(stub, {"a", "b"});
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(
      std::string(pool.status().message()),
      testing::AllOf(HasSubstr(absl::StrCat("judge m at ", stub.endpoint())),
                     HasSubstr("status 500: out of memory (3 tries)"), HasSubstr("1 of 2 answers are kept")));
  EXPECT_EQ(stub.questions().size(), 4u);
  EXPECT_EQ(Judge(stub, {"a"})->asked, 0u);
}

TEST_F(JudgeTest, RefusalIsToldAtOnce) {
  StubJudge stub([](const StubQuestion&) { return StubAnswer{401, R"({"error": "bad key"})"}; });
  options_.api_key = "secret";
  auto pool = Judge(stub, {"a"});
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(pool.status().message()), HasSubstr("status 401: {\"error\": \"bad key\"}"));
  EXPECT_THAT(std::string(pool.status().message()), Not(HasSubstr("secret")));
  EXPECT_EQ(stub.questions().size(), 1u);
}

TEST_F(JudgeTest, ARefusedPromptIsNotAskedAboutAgainAndStopsNoOther) {
  for (const int status : {400, 413, 422}) {
    fs::remove_all(folder_);
    StubJudge stub([status](const StubQuestion& question) {
      return question.prompt == "b" ? StubAnswer{status, "too long"} : StubAnswer{200, Completion(kGood)};
    });
    auto pool = Judge(stub, {"a", "b", "c"});
    ASSERT_TRUE(pool.ok()) << pool.status();
    EXPECT_TRUE(pool->judgements[0].has_value());
    EXPECT_FALSE(pool->judgements[1].has_value());
    EXPECT_TRUE(pool->judgements[2].has_value());
    EXPECT_EQ(pool->unusable, 1u);
    EXPECT_EQ(pool->first_unusable, absl::StrCat("was refused with status ", status, ": too long"));
    EXPECT_EQ(stub.questions().size(), 3u);
  }
}

TEST_F(JudgeTest, RefusingEveryPromptIsAnErrorWithWhatTheServerSays) {
  options_.parallel = 1;
  StubJudge stub([](const StubQuestion&) { return StubAnswer{400, "no such model: m"}; });
  const std::vector<std::string> prompts(100, "a");
  auto pool = Judge(stub, prompts);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(pool.status().message()),
      HasSubstr("not one of 20 answers is usable; one was refused with status 400: no such model: m"));
  EXPECT_EQ(stub.questions().size(), 20u);
}

TEST_F(JudgeTest, LeavesOutWhatAModelDoesNotTake) {
  options_.parallel = 1;
  options_.retries = 0;
  StubJudge stub([](const StubQuestion& question) {
    for (const char* parameter : {"max_tokens", "temperature"}) {
      if (question.parameters.count(parameter) == 0) continue;
      return StubAnswer{400, absl::StrCat("{\"error\": {\"code\": \"unsupported_value\", \"param\": \"",
                                          parameter, "\"}}")};
    }
    return StubAnswer{200, Completion(kGood)};
  });
  auto pool = Judge(stub, {"a", "b"});
  ASSERT_TRUE(pool.ok()) << pool.status();
  EXPECT_TRUE(pool->judgements[0].has_value());
  EXPECT_EQ(stub.questions().size(), 4u) << "it is told once";
}

TEST_F(JudgeTest, ABrokenConnectionIsNotToldAsATimeout) {
  options_.retries = 1;
  StubJudge stub([](const StubQuestion&) {
    StubAnswer answer{200, Completion(kGood)};
    answer.breaks_off = true;
    return answer;
  });
  auto pool = Judge(stub, {"a"});
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kUnavailable) << pool.status();
  EXPECT_THAT(std::string(pool.status().message()),
              HasSubstr("the connection broke off before the answer's end (2 tries)"));
}

TEST_F(JudgeTest, WhatTheServerSaysIsCutBetweenCodePoints) {
  for (size_t before = 0; before < 2; ++before) {
    std::string text(before, 'x');
    for (int i = 0; i < 300; ++i) text += "\u00e9";
    StubJudge stub([text](const StubQuestion&) { return StubAnswer{401, text}; });
    auto pool = Judge(stub, {"a"});
    EXPECT_EQ(FirstInvalidUtf8(pool.status().message()), std::nullopt) << before;
  }
}

TEST_F(JudgeTest, AnswerThatDoesNotComeInTimeIsAnError) {
  options_.timeout = absl::Milliseconds(200);
  options_.retries = 1;
  for (StubAnswer slow :
       {StubAnswer{200, Completion(kGood), "", 600}, StubAnswer{200, Completion(kGood), "", 0, 30}}) {
    StubJudge stub([slow](const StubQuestion&) { return slow; });
    auto pool = Judge(stub, {"a"});
    EXPECT_EQ(pool.status().code(), absl::StatusCode::kUnavailable) << pool.status();
    EXPECT_THAT(std::string(pool.status().message()), HasSubstr("no answer within 200ms (2 tries)"));
  }
}

TEST_F(JudgeTest, NobodyThereIsAnError) {
  options_.endpoint = "http://127.0.0.1:1/v1";
  options_.retries = 0;
  auto cache = JudgeCache::Open(folder_);
  auto pool = JudgePool(options_, {"a"}, **cache, [](size_t, size_t) {});
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(pool.status().message()),
              HasSubstr("judge m at http://127.0.0.1:1/v1: no connection"));
}

TEST_F(JudgeTest, NonsenseIsAskedForAgainThenCountedAndNotKept) {
  options_.parallel = 1;
  StubJudge stub([](const StubQuestion& question) {
    return StubAnswer{200, Completion(question.prompt == "a" ? kGood : "What a lovely prompt!")};
  });
  auto pool = Judge(stub, {"a", "b"});
  ASSERT_TRUE(pool.ok()) << pool.status();
  EXPECT_FALSE(pool->judgements[1].has_value());
  EXPECT_EQ(pool->unusable, 1u);
  EXPECT_THAT(pool->first_unusable, HasSubstr("has no JSON object: \"What a lovely"));
  EXPECT_EQ(stub.questions().size(), 4u);
  EXPECT_EQ(Judge(stub, {"a", "b"})->asked, 1u);
}

TEST_F(JudgeTest, OnlyNonsenseIsAnError) {
  options_.retries = 0;
  options_.parallel = 1;
  StubJudge stub([](const StubQuestion&) { return StubAnswer{200, "{}"}; });
  std::vector<std::string> prompts;
  for (int i = 0; i < 100; ++i) prompts.push_back(absl::StrCat("prompt ", i));
  auto pool = Judge(stub, prompts);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(pool.status().message()),
              HasSubstr("not one of 20 answers is usable; one has no choices"));
  EXPECT_EQ(stub.questions().size(), 20u);
}

TEST_F(JudgeTest, AnswerOfManyMegabytesIsNonsense) {
  options_.retries = 0;
  StubJudge stub([](const StubQuestion&) { return StubAnswer{200, std::string(3 << 20, ' ')}; });
  EXPECT_THAT(std::string(Judge(stub, {"a"}).status().message()), HasSubstr("is longer than 1048576 bytes"));
}

TEST_F(JudgeTest, EndpointHasToBeAUrl) {
  for (const char* endpoint :
       {"localhost:8000", "ftp://host", "http://", "https:///v1", "http://:80/v1", "http://[::1"}) {
    options_.endpoint = endpoint;
    EXPECT_EQ(JudgeClient::Create(options_).status().code(), absl::StatusCode::kInvalidArgument) << endpoint;
  }
  for (const char* endpoint :
       {"http://host", "https://host/v1", "http://host:8000/v1/", "http://[::1]:65535/v1"}) {
    options_.endpoint = endpoint;
    EXPECT_TRUE(JudgeClient::Create(options_).ok()) << endpoint;
  }
}

TEST_F(JudgeTest, PortOfTheEndpointHasToBeOne) {
  for (const char* port : {"99999999999", "65536", "0", "-1", "", "http"}) {
    options_.endpoint = absl::StrCat("http://host:", port, "/v1");
    const absl::Status status = JudgeClient::Create(options_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << port;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a port from 1 to 65535")) << port;
  }
}

TEST_F(JudgeTest, CacheIsForOneProcessAtATime) {
  auto first = JudgeCache::Open(folder_);
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = JudgeCache::Open(folder_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(folder_.string()));
}

TEST_F(JudgeTest, CacheOfAnotherProcessIsNamed) {
  ASSERT_TRUE(JudgeCache::Open(folder_).ok());
  const std::string file = (folder_ / "LOCK").string();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t other = fork();
  if (other == 0) {
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    fcntl(open(file.c_str(), O_RDWR), F_SETLK, &lock);
    static_cast<void>(write(ready[1], "x", 1));
    while (true) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const absl::Status status = JudgeCache::Open(folder_).status();
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("another rsidiff uses"));
}

TEST_F(JudgeTest, CacheThatCannotBeLockedIsNotSaidToBeInUse) {
  fs::create_directories(folder_ / "LOCK");  // where the file should be
  const absl::Status status = JudgeCache::Open(folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr(folder_.string()), HasSubstr("directory"), Not(HasSubstr("another"))));
}

TEST_F(JudgeTest, OptionsReadTheRubricAndTheKey) {
  fs::create_directories(folder_);
  ASSERT_TRUE(WriteFileAtomically(folder_ / "rubric.txt", "be brief").ok());
  v1::PromptJudgeSpec spec = Spec();
  spec.set_rubric((folder_ / "rubric.txt").string());
  spec.set_api_key_variable("RSIDIFF_TEST_JUDGE_KEY");
  setenv("RSIDIFF_TEST_JUDGE_KEY", "k", 1);
  spec.set_timeout(7.5);
  spec.set_retries(6);
  spec.set_parallel(5);
  auto options = MakeJudgeOptions(spec);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->rubric, "be brief");
  EXPECT_EQ(options->api_key, "k");
  EXPECT_EQ(options->endpoint, "http://host/v1");
  EXPECT_EQ(options->model, "m");
  EXPECT_EQ(options->timeout, absl::Seconds(7.5));
  EXPECT_EQ(options->retries, 6);
  EXPECT_EQ(options->parallel, 5);
  spec.set_rubric((folder_ / "missing.txt").string());
  EXPECT_THAT(std::string(MakeJudgeOptions(spec).status().message()), HasSubstr("missing.txt"));
}

// Neither fits into the JSON of a question.
TEST_F(JudgeTest, RubricAndModelHaveToBeUtf8) {
  v1::PromptJudgeSpec spec = Spec();
  fs::create_directories(folder_);
  ASSERT_TRUE(WriteFileAtomically(folder_ / "rubric.txt", "be\nbrief\xff\n").ok());
  spec.set_rubric((folder_ / "rubric.txt").string());
  absl::Status status = MakeJudgeOptions(spec).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rubric.txt:2: not valid UTF-8"));
  spec = Spec();
  spec.set_model("m\xff");
  status = MakeJudgeOptions(spec).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("judge's model is not valid UTF-8"));
}

TEST_F(JudgeTest, OptionsRefuseAnEndpointThatIsNone) {
  v1::PromptJudgeSpec spec = Spec();
  spec.set_endpoint("http://host:99999999999/v1");
  EXPECT_EQ(MakeJudgeOptions(spec).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rsidiff::coordinator
