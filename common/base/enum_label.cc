#include "common/base/enum_label.h"

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace rsidiff {

std::string EnumLabel(absl::string_view name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

}  // namespace rsidiff
