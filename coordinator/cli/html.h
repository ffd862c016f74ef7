#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// `text` with the characters that HTML gives a meaning replaced.
std::string HtmlEscaped(absl::string_view text);

enum class HtmlCell { kHead, kData };

/// A table row of `cells` (plain text), of CSS class `css_class` if that is not empty.
std::string HtmlRow(const std::vector<std::string>& cells, HtmlCell kind, absl::string_view css_class = "");

/// A page with `title` (plain text) as its heading above `body` (HTML). Self-contained; `style` is added to
/// the style that all pages share.
std::string HtmlPage(absl::string_view title, absl::string_view style, absl::string_view body);

}  // namespace rsidiff::coordinator
