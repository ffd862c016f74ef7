#include "common/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace rsidiff {
namespace {

Position ToPosition(const YAML::Mark& mark) {
  return mark.is_null() ? Position{} : Position{mark.line + 1, mark.column + 1};
}

// Thrown through the YAML library's parser and caught in ParseYaml.
struct TreeError {
  Diagnostic diagnostic;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  std::shared_ptr<const YamlNode> root() const { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) Fail(ToPosition(mark), "a second document; a run file holds one");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(NewNode(YamlNode::Kind::kNull, mark), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Fail(ToPosition(mark), "an alias inside the value that it stands for");
    Place(found->second, ToPosition(mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    std::shared_ptr<YamlNode> node = NewNode(YamlNode::Kind::kScalar, mark);
    node->scalar = value;
    node->quoted = tag != "?";
    Add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    Open(NewNode(YamlNode::Kind::kSequence, mark), anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    Open(NewNode(YamlNode::Kind::kMap, mark), anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A container that is being filled; `key` is the map key that waits for its value.
  struct Frame {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor;
    std::optional<std::pair<std::string, Position>> key;
  };

  [[noreturn]] static void Fail(Position position, std::string message) {
    throw TreeError{{position, std::move(message)}};
  }

  std::shared_ptr<YamlNode> NewNode(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > kMaxYamlNodes) {
      Fail(ToPosition(mark), absl::StrCat("more than ", kMaxYamlNodes, " values in the file"));
    }
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->position = ToPosition(mark);
    return node;
  }

  void Add(std::shared_ptr<YamlNode> node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    const Position position = node->position;
    Place(std::move(node), position);
  }

  void Open(std::shared_ptr<YamlNode> node, YAML::anchor_t anchor) {
    if (stack_.size() >= kMaxYamlDepth) {
      Fail(node->position, absl::StrCat("nested deeper than ", kMaxYamlDepth, " levels"));
    }
    stack_.push_back({std::move(node), anchor, std::nullopt});
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    Add(std::move(frame.node), frame.anchor);
  }

  // Puts a finished value where it belongs: the root, a sequence's end, a map's next key or its value.
  void Place(std::shared_ptr<const YamlNode> node, Position position) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node->kind == YamlNode::Kind::kSequence) {
      top.node->items.push_back(std::move(node));
    } else if (top.key) {
      top.node->entries.push_back({std::move(top.key->first), top.key->second, std::move(node)});
      top.key.reset();
    } else if (node->kind == YamlNode::Kind::kScalar) {
      top.key.emplace(node->scalar, position);
    } else {
      Fail(position, "a key has to be a name");
    }
  }

  std::shared_ptr<const YamlNode> root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, std::shared_ptr<const YamlNode>> anchors_;
  size_t nodes_ = 0;
  int documents_ = 0;
};

Position PositionOf(absl::string_view text, size_t offset) {
  const absl::string_view before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') == absl::string_view::npos ? 0 : before.rfind('\n') + 1;
  return {static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(offset - line_start) + 1};
}

YamlDocument Failed(Position position, std::string message) {
  return {nullptr, {{position, std::move(message)}}};
}

}  // namespace

YamlDocument ParseYaml(absl::string_view text) {
  if (text.size() > kMaxYamlBytes) return Failed({}, absl::StrCat("larger than ", kMaxYamlBytes, " bytes"));
  if (std::optional<size_t> bad = FirstInvalidUtf8(text)) {
    return Failed(PositionOf(text, *bad), "not valid UTF-8");
  }
  if (const size_t zero = text.find('\0'); zero != absl::string_view::npos) {
    return Failed(PositionOf(text, zero), "a zero byte; this is not a text file");
  }
  TreeBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const TreeError& error) {
    return {nullptr, {error.diagnostic}};
  } catch (const YAML::Exception& error) {
    return Failed(ToPosition(error.mark), absl::StrCat("YAML syntax: ", error.msg));
  } catch (const std::exception& error) {
    return Failed({}, absl::StrCat("YAML syntax: ", error.what()));
  }
  if (builder.root() == nullptr) return Failed({}, "the file is empty");
  return {builder.root(), {}};
}

}  // namespace rsidiff
