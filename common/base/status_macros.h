#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Prefixed: torch's headers define LOG, CHECK and friends.

/// Returns the status from the enclosing function unless it is OK.
#define RSIDIFF_RETURN_IF_ERROR(expression)            \
  do {                                                 \
    absl::Status rsidiff_status_ = (expression);       \
    if (!rsidiff_status_.ok()) return rsidiff_status_; \
  } while (false)

#define RSIDIFF_CONCAT_INNER(a, b) a##b
#define RSIDIFF_CONCAT(a, b) RSIDIFF_CONCAT_INNER(a, b)

/// `RSIDIFF_ASSIGN_OR_RETURN(auto x, StatusOrExpression())`: assigns the value or returns the error.
#define RSIDIFF_ASSIGN_OR_RETURN(lhs, expression) \
  RSIDIFF_ASSIGN_OR_RETURN_INNER(RSIDIFF_CONCAT(rsidiff_statusor_, __LINE__), lhs, expression)
#define RSIDIFF_ASSIGN_OR_RETURN_INNER(statusor, lhs, expression) \
  auto statusor = (expression);                                   \
  if (!statusor.ok()) return std::move(statusor).status();        \
  lhs = std::move(statusor).value()

namespace rsidiff {

/// Puts "context: " before the message, keeping the code; OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace rsidiff
