#include "coordinator/prompt/lexicon.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_split.h"

namespace rsidiff::coordinator {
namespace {

struct Group {
  WordClass word_class;
  // Blank-separated names; words that mean the same are joined by '=', the name first.
  absl::string_view words;
};

constexpr Group kGroups[] = {
    {WordClass::kArticle, "a an the"},
    {WordClass::kFunction,
     "and or but of with without in on at by for to from into onto as than then that this these those which "
     "who "
     "whose what where when while it its it's he she his her him they them their i you your my our we us me "
     "is are "
     "was were be been being am has have had do does did can could will would shall should may might must "
     "not no nor "
     "so such very too also just only some any each every all both either neither few several many much more "
     "most "
     "other another same own there here up out off please against around"},
    {WordClass::kRelation,
     "above=over below=under=beneath=underneath left right behind front beside inside outside between top "
     "bottom"},
    {WordClass::kGeneric,
     "thing=things=something=anything=everything=nothing=stuff object=objects item=items "
     "image=images=pic=pics "
     "picture=pictures shape=shapes form=forms figure=figures scene=scenes background=backgrounds "
     "style=styles "
     "kind=kinds type=types sort=sorts colour=color=colours=colors someone=somebody=anyone=anybody "
     "nice=nicer=nicest "
     "pretty beautiful good=better=best cool interesting simple plain lovely fine awesome amazing wonderful "
     "special normal ordinary certain various different colourful=colorful coloured=colored"},
    {WordClass::kColour,
     "red green blue yellow orange purple=violet pink cyan=turquoise=aqua black white grey=gray brown "
     "beige=cream "
     "magenta"},
    {WordClass::kSize,
     "large=big=huge=giant=gigantic=enormous small=little=tiny=mini=miniature tall short wide narrow thick "
     "thin "
     "full empty old young"},
    {WordClass::kNumber,
     "one=1 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12"},
    {WordClass::kShape,
     "circle=circles=disc=discs=disk=disks square=squares triangle=triangles rectangle=rectangles "
     "pentagon=pentagons hexagon=hexagons octagon=octagons oval=ovals ring=rings star=stars cross=crosses "
     "cube=cubes sphere=spheres cone=cones cylinder=cylinders pyramid=pyramids"},
};

// Pairs of names, in both orders.
constexpr std::pair<absl::string_view, absl::string_view> kOpposites[] = {
    {"large", "small"}, {"tall", "short"}, {"wide", "narrow"},
    {"thick", "thin"},  {"full", "empty"}, {"old", "young"},
};
constexpr std::pair<absl::string_view, absl::string_view> kBlends[] = {
    {"blue", "green"},   {"yellow", "green"}, {"yellow", "orange"}, {"red", "orange"},  {"red", "purple"},
    {"blue", "purple"},  {"blue", "cyan"},    {"green", "cyan"},    {"pink", "purple"}, {"grey", "black"},
    {"grey", "white"},   {"grey", "blue"},    {"grey", "green"},    {"grey", "brown"},  {"red", "brown"},
    {"yellow", "brown"}, {"magenta", "pink"}, {"beige", "white"},
};

constexpr absl::string_view kSolids[] = {"cube", "sphere", "cone", "cylinder", "pyramid"};

using Lexicon = absl::flat_hash_map<absl::string_view, LexiconEntry>;

Lexicon Build() {
  Lexicon lexicon;
  for (const Group& group : kGroups) {
    for (const absl::string_view same : absl::StrSplit(group.words, ' ', absl::SkipEmpty())) {
      const absl::string_view name = same.substr(0, same.find('='));
      for (const absl::string_view word : absl::StrSplit(same, '=')) {
        lexicon.emplace(word, LexiconEntry{group.word_class, name});
      }
    }
  }
  return lexicon;
}

template <typename Pairs>
bool HasPair(const Pairs& pairs, absl::string_view a, absl::string_view b) {
  return std::any_of(std::begin(pairs), std::end(pairs), [&](const auto& pair) {
    return (pair.first == a && pair.second == b) || (pair.first == b && pair.second == a);
  });
}

}  // namespace

LexiconEntry LookUp(absl::string_view word) {
  static const auto& lexicon = *new Lexicon(Build());
  const auto found = lexicon.find(word);
  return found == lexicon.end() ? LexiconEntry{} : found->second;
}

bool AreOpposite(absl::string_view a, absl::string_view b) {
  return HasPair(kOpposites, a, b);
}

bool IsSolid(absl::string_view name) {
  return std::find(std::begin(kSolids), std::end(kSolids), name) != std::end(kSolids);
}

bool IsBlend(absl::string_view a, absl::string_view b) {
  return HasPair(kBlends, a, b);
}

}  // namespace rsidiff::coordinator
