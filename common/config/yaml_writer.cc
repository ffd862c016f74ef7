#include "common/config/yaml_writer.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <charconv>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/config/spec_reader.h"

namespace rsidiff {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool IsPlainText(absl::string_view text) {
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/')) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '-' && c != '.' && c != '/') return false;
  }
  for (const char* word : {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"}) {
    if (absl::AsciiStrToLower(text) == word) return false;
  }
  return true;
}

std::string TextScalar(absl::string_view text) {
  if (IsPlainText(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", absl::string_view(&c, 1));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02X", static_cast<unsigned char>(c));
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

// The shortest text that reads back as the same number.
std::string NumberScalar(double number) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
  return std::string(buffer, result.ptr);
}

std::string Scalar(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return NumberScalar(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumName(*reflection.GetEnum(message, &field));
    default:
      return TextScalar(reflection.GetString(message, &field));
  }
}

void WriteMessage(const Message& message, int indent, std::string& out);

void WriteList(const Message& message, const FieldDescriptor& field, int indent, std::string& out) {
  const Reflection& reflection = *message.GetReflection();
  const std::string pad(indent + 2, ' ');
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      std::string item;
      WriteMessage(reflection.GetRepeatedMessage(message, &field, i), indent + 4, item);
      // The item's first key follows the dash.
      absl::StrAppend(&out, pad, "- ", item.empty() ? "{}\n" : item.substr(indent + 4));
    } else {
      absl::StrAppend(&out, pad, "- ", TextScalar(reflection.GetRepeatedString(message, &field, i)), "\n");
    }
  }
}

void WriteMessage(const Message& message, int indent, std::string& out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);  // in the order of field numbers
  for (const FieldDescriptor* field : fields) {
    absl::StrAppend(&out, std::string(indent, ' '), field->name(), ":");
    if (field->is_repeated()) {
      out += "\n";
      WriteList(message, *field, indent, out);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      std::string section;
      WriteMessage(message.GetReflection()->GetMessage(message, field), indent + 2, section);
      absl::StrAppend(&out, section.empty() ? " {}\n" : "\n", section);
    } else {
      absl::StrAppend(&out, " ", Scalar(message, *field), "\n");
    }
  }
}

}  // namespace

std::string RunSpecToYaml(const v1::RunSpec& spec) {
  std::string out;
  WriteMessage(spec, 0, out);
  return out;
}

}  // namespace rsidiff
