#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// "text" or "json". INVALID_ARGUMENT names the two.
absl::StatusOr<LogFormat> ParseLogFormat(absl::string_view text);
/// "debug", "info", "warning" or "error". INVALID_ARGUMENT names the four.
absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view text);

struct LogOptions {
  LogFormat format = LogFormat::kText;
  LogLevel level = LogLevel::kInfo;  // lines below it are dropped
};

/// What a line is about; only the fields that are set are printed.
struct LogFields {
  std::optional<uint64_t> run;
  std::optional<uint32_t> round;
  std::string task;
  std::string worker;
};

/// Sets format and level for the process. Call at the start of main, before threads log; without it
/// lines are text at level info.
void ConfigureLog(const LogOptions& options);

/// Writes one line to stderr: time (UTC, milliseconds), level, message, fields; as text, or as one JSON
/// object with the keys time, level, message, run, round, task, worker. Control characters are escaped,
/// so no message can forge a line. Any thread.
void Log(LogLevel level, absl::string_view message, const LogFields& fields);

inline void LogDebug(absl::string_view message) {
  Log(LogLevel::kDebug, message, {});
}
inline void LogInfo(absl::string_view message) {
  Log(LogLevel::kInfo, message, {});
}
inline void LogWarning(absl::string_view message) {
  Log(LogLevel::kWarning, message, {});
}
inline void LogError(absl::string_view message) {
  Log(LogLevel::kError, message, {});
}

/// The line's part after time and level, as Log prints it in the given format: for tests.
std::string FormatLogMessage(LogFormat format, absl::string_view message, const LogFields& fields);

}  // namespace rsidiff
