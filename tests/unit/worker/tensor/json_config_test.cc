#include "worker/tensor/json_config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

JsonConfig Parse(absl::string_view text) {
  return JsonConfig::Parse(text, "config.json").value();
}

TEST(JsonConfigTest, GivesValuesAndDefaults) {
  JsonConfig json = Parse(R"({"int": 3, "number": 0.5, "bool": true, "text": "x", "null": null,
                              "ints": [1, 2], "texts": ["a"], "one": 7, "flags": [true, false], "size": [8, 8]})");
  EXPECT_EQ(json.Int("int", 1), 3);
  EXPECT_EQ(json.Int("absent", 1), 1);
  EXPECT_EQ(json.Int("null", 2), 2);
  EXPECT_EQ(json.Number("number", 0), 0.5);
  EXPECT_EQ(json.Number("int", 0), 3.0);
  EXPECT_TRUE(json.Bool("bool", false));
  EXPECT_EQ(json.String("text", ""), "x");
  EXPECT_THAT(json.Ints("ints", {}), ElementsAre(1, 2));
  EXPECT_THAT(json.Strings("texts", {}), ElementsAre("a"));
  EXPECT_THAT(json.IntOrInts("ints", 2, 0), ElementsAre(1, 2));
  EXPECT_THAT(json.IntOrInts("one", 3, 0), ElementsAre(7, 7, 7));
  EXPECT_THAT(json.BoolOrBools("flags", 2, true), ElementsAre(true, false));
  EXPECT_EQ(json.SquareSize("size"), 8);
  EXPECT_EQ(json.OptionalInt("null"), std::nullopt);
  EXPECT_TRUE(json.Contains("null"));
  EXPECT_FALSE(json.Has("null"));
  EXPECT_TRUE(json.CheckAllRead().ok());
}

TEST(JsonConfigTest, ReportsEveryProblemAtOnce) {
  JsonConfig json =
      Parse(R"({"int": "three", "list": [1, "a"], "big": 18446744073709551615, "size": [8, 9]})");
  EXPECT_EQ(json.Int("int", 4), 4);
  json.Ints("list", {});
  json.Int("big", 0);
  json.SquareSize("size");
  json.RequiredString("name");
  json.AddProblem("own problem");
  EXPECT_THAT(json.CheckAllRead().message(),
              AllOf(HasSubstr("config.json: "), HasSubstr("int should be an integer, not \"three\""),
                    HasSubstr("list"), HasSubstr("big"), HasSubstr("size"), HasSubstr("name is missing"),
                    HasSubstr("own problem")));
}

TEST(JsonConfigTest, RefusesWhatNobodyRead) {
  JsonConfig json = Parse(R"({"new_option": 1, "new_null": null, "_private": 3, "ignored": {}})");
  json.Ignore({"ignored"});
  EXPECT_THAT(json.CheckAllRead().message(),
              AllOf(HasSubstr("unsupported key new_option: 1"), Not(HasSubstr("new_null")),
                    Not(HasSubstr("_private")), Not(HasSubstr("ignored"))));
}

TEST(JsonConfigTest, RequireValueTakesOnlyTheListed) {
  JsonConfig json = Parse(R"({"a": null, "b": "default", "c": 1.0, "d": "other", "e": null})");
  json.RequireValue("a", {"null"});
  json.RequireValue("b", {"\"default\""});
  json.RequireValue("c", {"1"});
  json.RequireValue("absent", {"false"});
  EXPECT_TRUE(Parse("{}").CheckAllRead().ok());
  json.RequireValue("d", {"null", "\"default\""});
  json.RequireValue("e", {"1"});
  EXPECT_THAT(json.CheckAllRead().message(),
              AllOf(HasSubstr("unsupported value for d: \"other\""),
                    HasSubstr("unsupported value for e: null"), Not(HasSubstr("for c"))));
}

TEST(JsonConfigTest, NestedObjectsNameThemselves) {
  JsonConfig json = Parse(R"({"inner": {"x": "y"}, "wrong": 3})");
  JsonConfig inner = json.Object("inner");
  inner.Int("x", 0);
  EXPECT_THAT(inner.CheckAllRead().message(), HasSubstr("config.json: inner: x should be"));
  json.Object("wrong");
  EXPECT_THAT(json.CheckAllRead().message(), HasSubstr("wrong should be an object"));
}

TEST(JsonConfigTest, RefusesWhatIsNoObject) {
  for (const std::string& text : {std::string(), std::string("[]"), std::string("{"), std::string("{} {}"),
                                  std::string(200'000, '['), std::string("{\"a\": \"\xff\"}")}) {
    EXPECT_THAT(JsonConfig::Parse(text, "config.json").status().message(), HasSubstr("config.json"));
  }
}

}  // namespace
}  // namespace rsidiff::worker
