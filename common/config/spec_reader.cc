#include "common/config/spec_reader.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/config/nearest_name.h"

namespace rsidiff {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Spellings that are usual elsewhere.
const std::map<std::string, std::string>& EnumAliases() {
  static const auto* aliases =
      new std::map<std::string, std::string>{{"dpmsolver++", "dpmsolverpp"}, {"dpm++", "dpmsolverpp"}};
  return *aliases;
}

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a section";
    case YamlNode::Kind::kScalar:
      break;
  }
  constexpr size_t kShown = 40;
  absl::string_view shown = node.scalar;
  absl::string_view rest;
  if (shown.size() > kShown) {
    shown = shown.substr(0, kShown);
    rest = "...";
  }
  return absl::StrCat("\"", shown, rest, "\"");
}

// SCREAMING_CASE of a CamelCase name.
std::string UpperSnake(absl::string_view camel) {
  std::string upper;
  for (size_t i = 0; i < camel.size(); ++i) {
    if (i > 0 && absl::ascii_isupper(camel[i]) && !absl::ascii_isupper(camel[i - 1])) upper += '_';
    upper += absl::ascii_toupper(camel[i]);
  }
  return upper;
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(type.field_count()));
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::vector<std::string> EnumNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(EnumName(*type.value(i)));
  }
  return names;
}

std::string Join(const std::string& path, absl::string_view name) {
  return path.empty() ? std::string(name) : absl::StrCat(path, ".", name);
}

class Reader {
 public:
  void ReadMessage(const YamlNode& node, const std::string& path, Message* message) {
    result_.positions[path] = node.position;
    if (node.kind == YamlNode::Kind::kNull) return;  // a section whose keys are all commented out
    if (node.kind != YamlNode::Kind::kMap) {
      Error(node.position,
            absl::StrCat(Label(path), " has to be a section of `key: value` lines, not ", Describe(node)));
      return;
    }
    std::map<std::string, Position> seen;
    for (const YamlNode::Entry& entry : node.entries) {
      const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(entry.key);
      if (field == nullptr) {
        Error(entry.key_position,
              absl::StrCat("unknown key \"", entry.key, "\"", path.empty() ? "" : absl::StrCat(" in ", path),
                           "; ", SuggestName(entry.key, FieldNames(*message->GetDescriptor()), "keys")));
        continue;
      }
      const auto [first, inserted] = seen.emplace(entry.key, entry.key_position);
      if (!inserted) {
        Error(entry.key_position,
              absl::StrCat("key \"", entry.key, "\" is given twice, first in line ", first->second.line));
        continue;
      }
      ReadField(entry, Join(path, entry.key), *field, message);
    }
  }

  ReadSpec&& Take() && { return std::move(result_); }
  v1::RunSpec* spec() { return &result_.spec; }

 private:
  void Error(Position position, std::string message) {
    result_.errors.push_back({position, std::move(message)});
  }

  void Unreadable(const std::string& path, Position position, absl::string_view message) {
    result_.unreadable.insert(path);
    Error(position, absl::StrCat(path, " ", message));
  }

  static std::string Label(const std::string& path) { return path.empty() ? "the run file" : path; }

  void ReadField(const YamlNode::Entry& entry, const std::string& path, const FieldDescriptor& field,
                 Message* message) {
    const YamlNode& value = *entry.value;
    if (!field.is_repeated() && field.type() == FieldDescriptor::TYPE_MESSAGE) {
      ReadMessage(value, path, message->GetReflection()->MutableMessage(message, &field));
      // The key is the better place for what the section lacks.
      result_.positions[path] = entry.key_position;
      return;
    }
    if (value.kind == YamlNode::Kind::kNull) {
      result_.positions[path] = entry.key_position;
      Unreadable(path, entry.key_position, "has no value");
      return;
    }
    result_.positions[path] = value.position;
    if (field.is_repeated()) {
      ReadList(value, path, field, message);
    } else {
      ReadScalar(value, path, field, message);
    }
  }

  void ReadList(const YamlNode& value, const std::string& path, const FieldDescriptor& field,
                Message* message) {
    const bool of_sections = field.type() == FieldDescriptor::TYPE_MESSAGE;
    // A single text may stand for a list of one.
    if (value.kind == YamlNode::Kind::kScalar && !of_sections) return ReadScalar(value, path, field, message);
    if (value.kind != YamlNode::Kind::kSequence) {
      return Unreadable(path, value.position, absl::StrCat("has to be a list, not ", Describe(value)));
    }
    for (size_t i = 0; i < value.items.size(); ++i) {
      const YamlNode& item = *value.items[i];
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      result_.positions[item_path] = item.position;
      if (of_sections) {
        ReadMessage(item, item_path, message->GetReflection()->AddMessage(message, &field));
      } else {
        ReadScalar(item, item_path, field, message);
      }
    }
  }

  void ReadScalar(const YamlNode& value, const std::string& path, const FieldDescriptor& field,
                  Message* message) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return ReadText(value, path, field, message);
      case FieldDescriptor::CPPTYPE_ENUM:
        return ReadEnum(value, path, field, message);
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        if (std::optional<double> number = ReadNumber(value, path)) {
          message->GetReflection()->SetDouble(message, &field, *number);
        }
        return;
      }
      case FieldDescriptor::CPPTYPE_UINT32: {
        if (auto number = ReadWhole(value, path, std::numeric_limits<uint32_t>::max())) {
          message->GetReflection()->SetUInt32(message, &field, static_cast<uint32_t>(*number));
        }
        return;
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        if (auto number = ReadWhole(value, path, std::numeric_limits<uint64_t>::max())) {
          message->GetReflection()->SetUInt64(message, &field, *number);
        }
        return;
      }
      case FieldDescriptor::CPPTYPE_BOOL: {
        if (const std::optional<bool> truth = ReadTruth(value, path)) {
          message->GetReflection()->SetBool(message, &field, *truth);
        }
        return;
      }
      default:
        Unreadable(path, value.position, "cannot be set in a run file");
    }
  }

  std::optional<bool> ReadTruth(const YamlNode& value, const std::string& path) {
    if (value.kind == YamlNode::Kind::kScalar && (value.scalar == "true" || value.scalar == "false")) {
      return value.scalar == "true";
    }
    Unreadable(path, value.position, absl::StrCat("has to be true or false, not ", Describe(value)));
    return std::nullopt;
  }

  void ReadText(const YamlNode& value, const std::string& path, const FieldDescriptor& field,
                Message* message) {
    if (value.kind != YamlNode::Kind::kScalar) {
      return Unreadable(path, value.position, absl::StrCat("has to be a text, not ", Describe(value)));
    }
    const google::protobuf::Reflection* reflection = message->GetReflection();
    if (field.is_repeated()) {
      reflection->AddString(message, &field, value.scalar);
    } else {
      reflection->SetString(message, &field, value.scalar);
    }
  }

  void ReadEnum(const YamlNode& value, const std::string& path, const FieldDescriptor& field,
                Message* message) {
    if (value.kind == YamlNode::Kind::kScalar) {
      const auto alias = EnumAliases().find(value.scalar);
      const std::string& name = alias == EnumAliases().end() ? value.scalar : alias->second;
      const EnumDescriptor& type = *field.enum_type();
      for (int i = 0; i < type.value_count(); ++i) {
        if (type.value(i)->number() == 0 || EnumName(*type.value(i)) != name) continue;
        return message->GetReflection()->SetEnum(message, &field, type.value(i));
      }
    }
    Unreadable(path, value.position,
               absl::StrCat("cannot be ", Describe(value), "; ",
                            SuggestName(value.scalar, EnumNames(*field.enum_type()), "values")));
  }

  std::optional<double> ReadNumber(const YamlNode& value, const std::string& path) {
    double number = 0;
    if (value.kind != YamlNode::Kind::kScalar || value.quoted || !absl::SimpleAtod(value.scalar, &number) ||
        !std::isfinite(number)) {
      Unreadable(path, value.position, absl::StrCat("has to be a number, not ", Describe(value)));
      return std::nullopt;
    }
    return number;
  }

  std::optional<uint64_t> ReadWhole(const YamlNode& value, const std::string& path, uint64_t largest) {
    uint64_t number = 0;
    if (value.kind == YamlNode::Kind::kScalar && !value.quoted) {
      if (absl::SimpleAtoi(value.scalar, &number) && number <= largest) return number;
      double real = 0;
      if (absl::SimpleAtod(value.scalar, &real) && std::isfinite(real) && std::floor(real) == real &&
          (real < 0 || real > static_cast<double>(largest))) {
        Unreadable(path, value.position,
                   absl::StrCat("has to be from 0 to ", largest, ", not ", value.scalar));
        return std::nullopt;
      }
    }
    Unreadable(path, value.position, absl::StrCat("has to be a whole number, not ", Describe(value)));
    return std::nullopt;
  }

  ReadSpec result_;
};

}  // namespace

std::string EnumName(const google::protobuf::EnumValueDescriptor& value) {
  if (value.options().HasExtension(v1::run_file_name)) return value.options().GetExtension(v1::run_file_name);
  const std::string prefix = absl::StrCat(UpperSnake(value.type()->name()), "_");
  return absl::AsciiStrToLower(absl::string_view(value.name()).substr(prefix.size()));
}

ReadSpec ReadRunSpec(const YamlNode& root) {
  Reader reader;
  reader.ReadMessage(root, "", reader.spec());
  return std::move(reader).Take();
}

}  // namespace rsidiff
