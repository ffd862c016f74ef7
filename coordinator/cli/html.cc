#include "coordinator/cli/html.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace rsidiff::coordinator {
namespace {

constexpr char kPageStyle[] = R"(
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1, h2 { font-weight: 600; }
table { border-collapse: collapse; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; }
)";

}  // namespace

std::string HtmlEscaped(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string HtmlRow(const std::vector<std::string>& cells, HtmlCell kind, absl::string_view css_class) {
  const absl::string_view tag = kind == HtmlCell::kHead ? "th" : "td";
  std::string row = css_class.empty() ? "<tr>" : absl::StrCat("<tr class=\"", css_class, "\">");
  for (const std::string& cell : cells)
    absl::StrAppend(&row, "<", tag, ">", HtmlEscaped(cell), "</", tag, ">");
  return row + "</tr>\n";
}

std::string HtmlPage(absl::string_view title, absl::string_view style, absl::string_view body) {
  const std::string heading = HtmlEscaped(title);
  return absl::StrCat("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>",
                      heading, "</title>\n<style>", kPageStyle, style, "</style>\n</head>\n<body>\n<h1>",
                      heading, "</h1>\n", body, "</body>\n</html>\n");
}

}  // namespace rsidiff::coordinator
