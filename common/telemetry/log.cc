#include "common/telemetry/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rsidiff {
namespace {

struct Sink {
  std::shared_ptr<spdlog::logger> logger;
  std::atomic<LogFormat> format;
};

void Apply(const LogOptions& options, Sink* sink) {
  sink->format = options.format;
  const char* pattern = options.format == LogFormat::kJson
                            ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                            : "%Y-%m-%dT%H:%M:%S.%eZ %-7l %v";
  sink->logger->set_pattern(pattern, spdlog::pattern_time_type::utc);
  switch (options.level) {
    case LogLevel::kDebug:
      sink->logger->set_level(spdlog::level::debug);
      break;
    case LogLevel::kInfo:
      sink->logger->set_level(spdlog::level::info);
      break;
    case LogLevel::kWarning:
      sink->logger->set_level(spdlog::level::warn);
      break;
    case LogLevel::kError:
      sink->logger->set_level(spdlog::level::err);
      break;
  }
}

// Never destroyed: threads may log while the process exits.
Sink& ProcessSink() {
  static Sink* sink = [] {
    auto* made = new Sink;
    made->logger =
        std::make_shared<spdlog::logger>("rsidiff", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    Apply(LogOptions(), made);
    return made;
  }();
  return *sink;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::string EscapeControls(absl::string_view text) {
  std::string escaped;
  for (unsigned char c : text) {
    if (c < 0x20 || c == 0x7f) {
      absl::StrAppendFormat(&escaped, "\\x%02x", c);
    } else {
      escaped.push_back(static_cast<char>(c));
    }
  }
  return escaped;
}

std::string FormatText(absl::string_view message, const LogFields& fields) {
  std::string line = EscapeControls(message);
  if (fields.run) absl::StrAppend(&line, " run=", *fields.run);
  if (fields.round) absl::StrAppend(&line, " round=", *fields.round);
  if (!fields.task.empty()) absl::StrAppend(&line, " task=", EscapeControls(fields.task));
  if (!fields.worker.empty()) absl::StrAppend(&line, " worker=", EscapeControls(fields.worker));
  return line;
}

std::string FormatJson(absl::string_view message, const LogFields& fields) {
  nlohmann::ordered_json object;
  object["message"] = std::string(message);
  if (fields.run) object["run"] = *fields.run;
  if (fields.round) object["round"] = *fields.round;
  if (!fields.task.empty()) object["task"] = fields.task;
  if (!fields.worker.empty()) object["worker"] = fields.worker;
  std::string dumped = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return dumped.substr(1, dumped.size() - 2);  // the pattern has the braces
}

}  // namespace

absl::StatusOr<LogFormat> ParseLogFormat(absl::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(absl::StrCat("log format is text or json, not '", text, "'"));
}

absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view text) {
  if (text == "debug") return LogLevel::kDebug;
  if (text == "info") return LogLevel::kInfo;
  if (text == "warning") return LogLevel::kWarning;
  if (text == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(
      absl::StrCat("log level is debug, info, warning or error, not '", text, "'"));
}

void ConfigureLog(const LogOptions& options) {
  Apply(options, &ProcessSink());
}

void Log(LogLevel level, absl::string_view message, const LogFields& fields) {
  Sink& sink = ProcessSink();
  spdlog::level::level_enum spdlog_level = SpdlogLevel(level);
  if (!sink.logger->should_log(spdlog_level)) return;
  sink.logger->log(spdlog_level, spdlog::string_view_t(FormatLogMessage(sink.format, message, fields)));
}

std::string FormatLogMessage(LogFormat format, absl::string_view message, const LogFields& fields) {
  return format == LogFormat::kJson ? FormatJson(message, fields) : FormatText(message, fields);
}

}  // namespace rsidiff
