#include "common/telemetry/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

namespace rsidiff {
namespace {

std::string Captured(LogOptions options, const std::function<void()>& log) {
  ConfigureLog(options);
  testing::internal::CaptureStderr();
  log();
  std::string text = testing::internal::GetCapturedStderr();
  ConfigureLog({});
  return text;
}

LogFields SomeFields() {
  LogFields fields;
  fields.run = 3;
  fields.round = 0;
  fields.task = "3/0/generate/7";
  fields.worker = "w1";
  return fields;
}

TEST(Log, TextLineHasTimeLevelMessageAndFields) {
  std::string line = Captured({LogFormat::kText, LogLevel::kInfo},
                              [] { Log(LogLevel::kWarning, "lease expired", SomeFields()); });
  EXPECT_TRUE(std::regex_match(
      line,
      std::regex(
          R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning lease expired run=3 round=0 task=3/0/generate/7 worker=w1\n)")))
      << line;
}

TEST(Log, JsonLineIsOneObject) {
  std::string line = Captured({LogFormat::kJson, LogLevel::kInfo},
                              [] { Log(LogLevel::kInfo, "say \"hi\" {} %v\n", SomeFields()); });
  auto object = nlohmann::json::parse(line);
  EXPECT_EQ(object["level"], "info");
  EXPECT_EQ(object["message"], "say \"hi\" {} %v\n");
  EXPECT_EQ(object["run"], 3);
  EXPECT_EQ(object["round"], 0);
  EXPECT_EQ(object["worker"], "w1");
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST(Log, UnsetFieldsAreLeftOut) {
  EXPECT_EQ(FormatLogMessage(LogFormat::kText, "m", {}), "m");
  EXPECT_EQ(FormatLogMessage(LogFormat::kJson, "m", {}), "\"message\":\"m\"");
}

TEST(Log, NoMessageForgesALine) {
  LogFields fields;
  fields.worker = "w\n2026-01-01 error forged";
  std::string text = FormatLogMessage(LogFormat::kText, "a\nb\r\x1b[31m", fields);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Log, BytesThatAreNotUtf8StillMakeJson) {
  std::string part = FormatLogMessage(LogFormat::kJson, "bad \xff\xfe", {});
  EXPECT_TRUE(nlohmann::json::accept("{" + part + "}")) << part;
}

TEST(Log, LinesBelowTheLevelAreDropped) {
  EXPECT_EQ(Captured({LogFormat::kText, LogLevel::kError}, [] { LogWarning("quiet"); }), "");
  EXPECT_NE(Captured({LogFormat::kText, LogLevel::kDebug}, [] { LogDebug("loud"); }), "");
}

TEST(Log, UnknownNamesAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ParseLogFormat("xml").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseLogLevel("trace").status()));
  EXPECT_EQ(*ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_EQ(*ParseLogLevel("debug"), LogLevel::kDebug);
}

}  // namespace
}  // namespace rsidiff
