#include "coordinator/prompt/source.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "coordinator/prompt/words.h"

namespace rsidiff::coordinator {
namespace {

// No vocabulary has tokens of 13 characters on average.
constexpr size_t kMostCharacters = 1000;

constexpr const char* kPromptKeys[] = {"prompt", "caption", "text"};

size_t CountCharacters(absl::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool IsPromptKey(absl::string_view name) {
  return std::any_of(std::begin(kPromptKeys), std::end(kPromptKeys), [&](const char* key) {
    return absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(name), key);
  });
}

bool IsIndex(absl::string_view field) {
  field = absl::StripAsciiWhitespace(field);
  return !field.empty() && std::all_of(field.begin(), field.end(), absl::ascii_isdigit);
}

// What the first line of a table says.
struct Columns {
  bool header = false;
  std::optional<size_t> prompt;  // the column that a header names; else as the format has it
  size_t count = 0;
};

Columns ReadHeader(absl::string_view line, char separator) {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, separator);
  Columns columns;
  columns.count = cells.size();
  if (separator == ',' && IsIndex(cells[0])) return columns;
  const auto named = std::find_if(cells.begin(), cells.end(), IsPromptKey);
  if (named != cells.end()) columns.prompt = static_cast<size_t>(named - cells.begin());
  columns.header = columns.prompt || separator == ',';  // a .csv without a header begins with a number
  return columns;
}

absl::StatusOr<absl::string_view> TsvPrompt(absl::string_view line, const Columns& columns) {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, '\t');
  const size_t column = columns.prompt.value_or(0);
  if (column < cells.size()) return cells[column];
  return absl::InvalidArgumentError(
      absl::StrCat(cells.size(), " columns; the header names column ", column + 1, " for the prompt"));
}

// Prompts hold commas and are not quoted, so only the last column's end can be told, and with it the prompt.
absl::StatusOr<absl::string_view> CsvPrompt(absl::string_view line, const Columns& columns) {
  if (columns.prompt && (*columns.prompt > 1 || (*columns.prompt == 0 && columns.count > 1))) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header names column ", *columns.prompt + 1, " of ", columns.count,
                     " for the prompt; a row is INDEX,PROMPT or, with a header of one column, PROMPT"));
  }
  if (columns.prompt == 0) return line;
  const size_t comma = line.find(',');
  if (comma == absl::string_view::npos) return absl::InvalidArgumentError("no comma; a row is INDEX,PROMPT");
  if (!columns.prompt && !IsIndex(line.substr(0, comma))) {
    return absl::InvalidArgumentError(
        "the row begins with no number, and no header names a column prompt, caption or text; a row is "
        "INDEX,PROMPT");
  }
  return line.substr(comma + 1);
}

bool IsInQuotes(absl::string_view prompt) {
  prompt = absl::StripAsciiWhitespace(prompt);
  return prompt.size() > 1 && prompt.front() == '"' && prompt.back() == '"';
}

// What the rows of a .csv tell about it together, since no single one shows how it was written.
class CsvRows {
 public:
  explicit CsvRows(Columns columns) : columns_(columns) {}

  void Add(absl::string_view line, absl::string_view prompt) {
    ++rows_;
    quoted_ += IsInQuotes(prompt) ? 1 : 0;
    filled_ +=
        std::count(line.begin(), line.end(), ',') + 1 >= static_cast<ptrdiff_t>(columns_.count) ? 1 : 0;
  }

  // HPD's header names four columns and its rows have two, with commas in the second. Rows that have all the
  // columns would each end in something that is no prompt.
  absl::Status Check() const {
    if (!columns_.header || columns_.count < 3 || rows_ == 0 || filled_ < rows_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("every row fills the ", columns_.count,
                     " columns of the header; a row is INDEX,PROMPT, since prompts hold commas"));
  }

  bool SeemsQuoted() const { return 2 * quoted_ > rows_; }

 private:
  Columns columns_;
  size_t rows_ = 0;
  size_t quoted_ = 0;
  size_t filled_ = 0;
};

// Collects prompts of any number of files.
class Collector {
 public:
  // `place` is FILE:LINE or FILE: element N.
  absl::Status Add(absl::string_view prompt, absl::string_view place) {
    prompt = absl::StripAsciiWhitespace(prompt);
    if (prompt.empty()) return absl::OkStatus();
    ++of_file_;
    if (prompt.size() > kMaxPromptBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": the prompt has ", prompt.size(), " bytes; the limit is ", kMaxPromptBytes));
    }
    if (absl::StrContains(prompt, '\0')) {  // JSON can write one
      return absl::InvalidArgumentError(absl::StrCat(place, ": the prompt has a zero byte"));
    }
    if (!seen_.emplace(prompt).second) {
      ++list_.duplicates;
      return absl::OkStatus();
    }
    const size_t characters = CountCharacters(prompt);
    const std::vector<absl::string_view> words = absl::StrSplit(prompt, ' ', absl::SkipEmpty());
    if (words.size() > kMostWords || characters > kMostCharacters) {
      list_.warnings.push_back(
          absl::StrCat(place, ": the prompt has ", characters,
                       " characters; the text encoder reads 77 tokens and drops the rest"));
    }
    list_.prompts.emplace_back(prompt);
    return absl::OkStatus();
  }

  absl::Status AddFile(absl::string_view text, const std::filesystem::path& path) {
    of_file_ = 0;
    RSIDIFF_RETURN_IF_ERROR(CheckUtf8(text, path.string()));
    if (const size_t zero = text.find('\0'); zero != absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ":", LineOf(text, zero), ": a zero byte; this is not a text file"));
    }
    absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
    const std::string ending = path.extension().string();
    if (ending == ".txt" || ending == ".tsv" || ending == ".csv") {
      RSIDIFF_RETURN_IF_ERROR(AddLines(text, path.string(), ending));
    } else if (ending == ".json") {
      RSIDIFF_RETURN_IF_ERROR(AddJson(text, path.string()));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": a prompt file ends in .txt, .tsv, .csv or .json"));
    }
    if (of_file_ == 0)
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": no prompt in the file"));
    return absl::OkStatus();
  }

  LoadedPrompts Take() && { return std::move(list_); }

 private:
  absl::Status AddLines(absl::string_view text, const std::string& file, absl::string_view ending) {
    size_t number = 0;
    std::optional<Columns> columns;
    std::optional<CsvRows> csv;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      ++number;
      absl::ConsumeSuffix(&line, "\r");
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      const std::string place = absl::StrCat(file, ":", number);
      if (ending == ".txt") {
        RSIDIFF_RETURN_IF_ERROR(Add(line, place));
        continue;
      }
      if (!columns) {
        columns = ReadHeader(line, ending == ".tsv" ? '\t' : ',');
        if (ending == ".csv") csv.emplace(*columns);
        if (columns->header) continue;
      }
      absl::StatusOr<absl::string_view> prompt = csv ? CsvPrompt(line, *columns) : TsvPrompt(line, *columns);
      if (!prompt.ok())
        return absl::InvalidArgumentError(absl::StrCat(place, ": ", prompt.status().message()));
      if (csv) csv->Add(line, *prompt);
      RSIDIFF_RETURN_IF_ERROR(Add(*prompt, place));
    }
    return csv ? Conclude(*csv, file) : absl::OkStatus();
  }

  absl::Status Conclude(const CsvRows& rows, const std::string& file) {
    if (absl::Status status = rows.Check(); !status.ok()) return Annotate(status, file);
    if (rows.SeemsQuoted()) {
      list_.warnings.push_back(absl::StrCat(
          file, ": most prompts are in double quotes, which are kept: a .csv is read without quoting"));
    }
    return absl::OkStatus();
  }

  absl::Status AddJson(absl::string_view text, const std::string& file) {
    nlohmann::json list;
    try {
      list = nlohmann::json::parse(text.begin(), text.end());
    } catch (const nlohmann::json::parse_error& error) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ":", LineOf(text, error.byte), ": not valid JSON"));
    }
    if (!list.is_array()) return absl::InvalidArgumentError(absl::StrCat(file, ": not a JSON list"));
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string place = absl::StrCat(file, ": element ", i + 1);
      const std::string* prompt = PromptOf(list[i]);
      if (prompt == nullptr) {
        return absl::InvalidArgumentError(absl::StrCat(
            place, " is neither a text nor an object with a text under prompt, caption or text"));
      }
      RSIDIFF_RETURN_IF_ERROR(Add(*prompt, place));
    }
    return absl::OkStatus();
  }

  static const std::string* PromptOf(const nlohmann::json& element) {
    if (element.is_string()) return element.get_ptr<const std::string*>();
    if (!element.is_object()) return nullptr;
    for (const char* key : kPromptKeys) {
      const auto found = element.find(key);
      if (found != element.end() && found->is_string()) return found->get_ptr<const std::string*>();
    }
    return nullptr;
  }

  LoadedPrompts list_;
  std::unordered_set<std::string> seen_;
  size_t of_file_ = 0;  // prompts of the file being read, duplicates included
};

}  // namespace

absl::StatusOr<LoadedPrompts> ParsePrompts(absl::string_view text, const std::filesystem::path& path) {
  Collector collector;
  RSIDIFF_RETURN_IF_ERROR(collector.AddFile(text, path));
  return std::move(collector).Take();
}

absl::StatusOr<LoadedPrompts> ReadPromptFiles(const std::vector<std::filesystem::path>& files) {
  Collector collector;
  for (const std::filesystem::path& file : files) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
    RSIDIFF_RETURN_IF_ERROR(collector.AddFile(text, file));
  }
  return std::move(collector).Take();
}

}  // namespace rsidiff::coordinator
