#include "coordinator/prompt/contradiction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rsidiff::coordinator {
namespace {

using testing::HasSubstr;

std::string Find(absl::string_view prompt) {
  return FindContradiction(SplitWords(prompt));
}

TEST(Contradiction, NamesWhatContradicts) {
  EXPECT_THAT(Find("a red blue circle"), HasSubstr("red blue"));
  EXPECT_THAT(Find("a white red large circle on a table"), HasSubstr("white red"));
  EXPECT_THAT(Find("a large small red star"), HasSubstr("large small"));
  EXPECT_THAT(Find("a huge red tiny star"), HasSubstr("huge tiny"));
  EXPECT_THAT(Find("one two red stars"), HasSubstr("one two"));
  EXPECT_THAT(Find("a circle square in red"), HasSubstr("circle square"));
  EXPECT_THAT(Find("a cross ring"), HasSubstr("cross ring"));
  EXPECT_THAT(Find("a square cross"), HasSubstr("square cross"));
  EXPECT_THAT(Find("a red star that is not red"), HasSubstr("red"));
  EXPECT_THAT(Find("no red star but a red star"), HasSubstr("star"));
  EXPECT_THAT(Find("a red star to the left of itself"), HasSubstr("itself"));
  EXPECT_THAT(Find("a star above and below a ring"), HasSubstr("above and below"));
  EXPECT_THAT(Find("a blue cross right of a red star right of the blue cross"), HasSubstr("cross"));
}

TEST(Contradiction, LetsPassWhatCanBeDrawn) {
  for (const char* prompt : {"a red and blue circle",
                             "a red, blue and green flag",
                             "a blue-green dress",
                             "a blue green dress",
                             "a black white cat",
                             "a bowl of green oranges",
                             "a large bird and a small bird",
                             "an old man, a young woman",
                             "one, two, three stars",
                             "one two three stars",
                             "twenty two red stars",
                             "a star in a circle",
                             "a cat that is not black",
                             "a red car that is not red but blue",
                             "no stars but a moon",
                             "a snake that eats itself",
                             "fish above and below the water",
                             "a cat above a dog above the city",
                             "a mirror left of a mirror left of the door",
                             "a tall man short of breath",
                             "a square pyramid",
                             "a square pyramid in red",
                             "an oval ring",
                             "a square ring in gold",
                             "a circle cylinder",
                             "a star crosses the sky",
                             "a pink orange sunset",
                             "a blue white porcelain vase",
                             "a red white checkered cloth",
                             "a green orange tree",
                             "a red blue car",
                             "a red blue circle logo",
                             "three one eyed monsters",
                             "two one way signs",
                             "two three legged stools",
                             "a giant mini cooper",
                             "a large tiny house",
                             "a dog that is wet and a cat that is not wet",
                             "the sky is red, birds are not red",
                             "a ribbon folded over itself",
                             "a wave in front of itself",
                             "a border above and below a text",
                             "star",
                             ""}) {
    EXPECT_EQ(Find(prompt), "") << prompt;
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
