#include "coordinator/prompt/contradiction.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/prompt/lexicon.h"

namespace rsidiff::coordinator {
namespace {

// How far apart two words may stand to belong to one thing; also keeps a hostile prompt from costing a
// square.
constexpr size_t kReach = 8;

class Finder {
 public:
  explicit Finder(const std::vector<Word>& words) : words_(words) {
    entries_.reserve(words.size());
    for (const Word& word : words) entries_.push_back(LookUp(word.text));
  }

  std::string Find() const {
    for (size_t i = 0; i + 1 < words_.size(); ++i) {
      for (const auto& rule :
           {&Finder::Neighbours, &Finder::SizesApart, &Finder::Denied, &Finder::DeniedThing,
            &Finder::ToItself, &Finder::BothSides, &Finder::InACircle}) {
        std::string found = (this->*rule)(i);
        if (!found.empty()) return found;
      }
    }
    return "";
  }

 private:
  WordClass ClassOf(size_t i) const {
    return i < entries_.size() ? entries_[i].word_class : WordClass::kFunction;
  }
  bool Is(size_t i, absl::string_view text) const { return i < words_.size() && words_[i].text == text; }
  bool FollowsOn(size_t i) const { return i < words_.size() && !words_[i].after_break; }

  // Something that the words before `i` can belong to.
  bool IsNoun(size_t i) const {
    const WordClass word_class = ClassOf(i);
    return FollowsOn(i) && word_class != WordClass::kArticle && word_class != WordClass::kFunction &&
           word_class != WordClass::kRelation && word_class != WordClass::kColour &&
           word_class != WordClass::kNumber;
  }

  // The words before `i` describe a figure, which has one colour and size: after colours and sizes a figure's
  // name, and not that of its user (a red blue circle logo).
  bool DescribesFigure(size_t i) const {
    while (FollowsOn(i) && (ClassOf(i) == WordClass::kColour || ClassOf(i) == WordClass::kSize)) ++i;
    return FollowsOn(i) && ClassOf(i) == WordClass::kShape && !IsNoun(i + 1);
  }

  std::string Neighbours(size_t i) const {
    const LexiconEntry& a = entries_[i];
    const LexiconEntry& b = entries_[i + 1];
    if (a.word_class != b.word_class || a.name == b.name || !FollowsOn(i + 1)) return "";
    const std::string both = absl::StrCat("\"", words_[i].text, " ", words_[i + 1].text, "\"");
    switch (a.word_class) {
      case WordClass::kColour:
        if (IsBlend(a.name, b.name) || IsBlackAndWhite(a, b) || !DescribesFigure(i + 2)) return "";
        return absl::StrCat("two colours for one thing: ", both);
      case WordClass::kNumber:
        // Counting (one two three) is none.
        if (!DescribesFigure(i + 2) || (i > 0 && ClassOf(i - 1) == WordClass::kNumber)) return "";
        return absl::StrCat("two numbers for one thing: ", both);
      case WordClass::kShape:
        // Where another noun follows, both are said of that one.
        if (IsNoun(i + 2) || !StartsThing(i) || IsShapedAs(i + 1, a.name) || IsPlural(i + 1)) return "";
        return absl::StrCat("two figures in one: ", both);
      default:
        return "";
    }
  }

  // A solid on a figure (a square pyramid), or a ring with an outline (an oval ring).
  bool IsShapedAs(size_t i, absl::string_view figure) const {
    return IsSolid(entries_[i].name) || (entries_[i].name == "ring" && figure != "star" && figure != "cross");
  }

  // Also a verb: a star crosses the sky.
  bool IsPlural(size_t i) const {
    const absl::string_view text = words_[i].text;
    return absl::EndsWith(text, "s") && !absl::EndsWith(text, "ss");
  }

  // Black and white stand side by side for a pattern (a black white cat) or a kind of photograph.
  static bool IsBlackAndWhite(const LexiconEntry& a, const LexiconEntry& b) {
    return (a.name == "black" && b.name == "white") || (a.name == "white" && b.name == "black");
  }

  // An article with nothing but colours and sizes up to `i`: the thing begins there.
  bool StartsThing(size_t i) const {
    while (i > 0 && (ClassOf(i - 1) == WordClass::kColour || ClassOf(i - 1) == WordClass::kSize)) --i;
    return i > 0 && ClassOf(i - 1) == WordClass::kArticle;
  }

  // Opposites in one row of adjectives: a large red small star.
  std::string SizesApart(size_t i) const {
    if (ClassOf(i) != WordClass::kSize) return "";
    for (size_t k = i + 1; k < i + kReach && FollowsOn(k) &&
                           (ClassOf(k) == WordClass::kSize || ClassOf(k) == WordClass::kColour);
         ++k) {
      if (AreOpposite(entries_[i].name, entries_[k].name) && DescribesFigure(k + 1)) {
        return absl::StrCat("opposites for one thing: \"", words_[i].text, " ", words_[k].text, "\"");
      }
    }
    return "";
  }

  // "... red ... is not red".
  std::string Denied(size_t i) const {
    if (!Is(i + 1, "not") || !(Is(i, "is") || Is(i, "are"))) return "";
    const size_t at = ClassOf(i + 2) == WordClass::kArticle ? i + 3 : i + 2;
    const WordClass denied = ClassOf(at);
    if (denied == WordClass::kFunction || denied == WordClass::kArticle) return "";
    if (at + 1 < words_.size() && FollowsOn(at + 1)) return "";  // "is not red but ..." is let pass
    // Of one thing: where another begins, that is the other's (a dog that is wet and a cat that is not wet).
    for (size_t k = i; k-- > 0 && !BeginsThing(k);) {
      if (words_[k].text == words_[at].text)
        return absl::StrCat("\"", words_[at].text, "\" is stated and denied");
      if (words_[k].after_break) break;
    }
    return "";
  }

  bool BeginsThing(size_t i) const {
    return ClassOf(i) == WordClass::kArticle || ClassOf(i) == WordClass::kNumber || Is(i, "and") ||
           Is(i, "or") || Is(i, "but") || Is(i, "other");
  }

  // "no red star but a red star".
  std::string DeniedThing(size_t i) const {
    if (!Is(i, "no") && !Is(i, "without")) return "";
    size_t end = i + 1;
    while (end < words_.size() && FollowsOn(end) && IsContent(end)) ++end;
    const size_t length = end - i - 1;
    if (length == 0 || !Is(end, "but") || ClassOf(end + 1) != WordClass::kArticle) return "";
    if (end + 2 + length > words_.size()) return "";
    for (size_t k = 0; k < length; ++k) {
      if (words_[i + 1 + k].text != words_[end + 2 + k].text) return "";
    }
    return absl::StrCat("\"", words_[end - 1].text, "\" is denied and stated");
  }

  bool IsContent(size_t i) const {
    const WordClass word_class = ClassOf(i);
    return word_class != WordClass::kFunction && word_class != WordClass::kArticle &&
           word_class != WordClass::kRelation;
  }

  // A relation that begins at `i`: its name and where it ends. "to the left of", "left of", "above", "on top
  // of".
  struct Relation {
    absl::string_view name;
    size_t end = 0;
  };
  Relation RelationAt(size_t i) const {
    size_t at = i;
    if ((Is(at, "to") || Is(at, "on") || Is(at, "in")) && ClassOf(at + 1) != WordClass::kOther) ++at;
    if (at > i && Is(at, "the")) ++at;
    if (ClassOf(at) != WordClass::kRelation) return {};
    const bool of = Is(at + 1, "of");
    const absl::string_view name = entries_[at].name;
    const bool needs_of =
        name == "left" || name == "right" || name == "top" || name == "bottom" || name == "front";
    if (needs_of && !of) return {};
    return {name, at + (of ? 2 : 1)};
  }

  std::string ToItself(size_t i) const {
    const Relation relation = RelationAt(i);
    if (relation.end == 0 || !(Is(relation.end, "itself") || Is(relation.end, "themselves"))) return "";
    // A ribbon lies over itself, and a wave falls in front of itself.
    if (relation.name != "left" && relation.name != "right" && !Is(i, "above") && !Is(i, "below")) return "";
    return absl::StrCat("a thing ", relation.name, " itself");
  }

  // "a star above and below a ring": one thing cannot be on both sides.
  std::string BothSides(size_t i) const {
    const Relation first = RelationAt(i);
    if (first.end == 0 || !Is(first.end, "and")) return "";
    const Relation second = RelationAt(first.end + 1);
    const auto opposite = [&](absl::string_view a, absl::string_view b) {
      return (first.name == a && second.name == b) || (first.name == b && second.name == a);
    };
    if (!opposite("above", "below") && !opposite("left", "right")) return "";
    const auto is_one = [&](size_t k) { return Is(k, "a") || Is(k, "an") || Is(k, "one"); };
    if (!is_one(0) || ClassOf(second.end) != WordClass::kArticle) return "";
    // Figures only: a border goes above and below a text.
    if (ClassOf(i - 1) != WordClass::kShape) return "";
    for (size_t k = 1; k < i; ++k) {
      if (!IsContent(k)) return "";
    }
    return absl::StrCat("one thing ", first.name, " and ", second.name, " another");
  }

  // Words of a thing that begins with an article at `i`.
  std::pair<size_t, size_t> ThingAt(size_t i) const {
    if (ClassOf(i) != WordClass::kArticle) return {0, 0};
    size_t end = i + 1;
    while (end < words_.size() && FollowsOn(end) && IsContent(end)) ++end;
    return {i + 1, end};
  }

  // "a star above a ring above the star".
  std::string InACircle(size_t i) const {
    const auto [a, a_end] = ThingAt(i);
    if (a == a_end) return "";
    const Relation first = RelationAt(a_end);
    if (first.end == 0) return "";
    const auto [b, b_end] = ThingAt(first.end);
    if (b == b_end) return "";
    const Relation second = RelationAt(b_end);
    if (second.end == 0 || second.name != first.name || !Is(second.end, "the")) return "";
    const auto [c, c_end] = ThingAt(second.end);
    if (c_end - c != a_end - a || c == c_end) return "";
    for (size_t k = 0; k < c_end - c; ++k) {
      if (words_[a + k].text != words_[c + k].text) return "";
    }
    return absl::StrCat("\"", words_[c_end - 1].text, "\" is ", first.name, " what is ", first.name, " it");
  }

  const std::vector<Word>& words_;
  std::vector<LexiconEntry> entries_;
};

}  // namespace

std::string FindContradiction(const std::vector<Word>& words) {
  if (words.size() < 2) return "";
  return Finder(words).Find();
}

}  // namespace rsidiff::coordinator
