// The script language: words, escapes, variables, and the sentences of its errors.
#include "gui/app/script.h"

#include <gtest/gtest.h>

namespace layerscope::gui {
namespace {

std::string error_of(std::string_view text) {
  const auto result = parse_script("s", text);
  return result.ok() ? "" : result.error().message;
}

TEST(Script, WordsQuotesAndComments_Parsed_AsWritten) {
  const auto actions = parse_script("s",
                                    "# first\n"
                                    "\n"
                                    "  click \"attention/layer 3/head 5\"  # why\n"
                                    "type prompt \"a \\\"b\\\"\\n\\x41\"\r\n"
                                    "wait steps 5");
  ASSERT_TRUE(actions.ok()) << actions.error().message;
  ASSERT_EQ(actions.value().size(), 3U);
  EXPECT_EQ(actions.value()[0].verb, Verb::kClick);
  EXPECT_EQ(actions.value()[0].args[0], "attention/layer 3/head 5");
  EXPECT_EQ(actions.value()[0].line, 3);
  EXPECT_EQ(actions.value()[1].args[1], "a \"b\"\nA");
  EXPECT_EQ(actions.value()[2].args, (std::vector<std::string>{"steps", "5"}));
}

TEST(Script, Mistakes_Parsed_NameLineAndWhatIsExpected) {
  EXPECT_EQ(error_of("click a\nklick b"), "s:2: unknown action 'klick'");
  EXPECT_EQ(error_of("click"), "s:1: expected: click ID");
  EXPECT_EQ(error_of("click \"a"), "s:1: a quoted word does not end");
  EXPECT_EQ(error_of("type a \"b\"c"), "s:1: a blank must follow a quoted word");
  EXPECT_EQ(error_of("type a \"\\q\""), "s:1: unknown escape '\\q'");
  EXPECT_EQ(error_of("type a \"\\x4\""), "s:1: \\x needs two hexadecimal digits");
  EXPECT_NE(error_of("wait until"), "");
  EXPECT_NE(error_of("wait steps"), "");
  EXPECT_NE(error_of("wait idle 3"), "");
}

TEST(Script, Variables_Expanded_AndUnknownOnesNamed) {
  const Lookup lookup = [](std::string_view name) -> std::optional<std::string> {
    return name == "MODEL" ? std::optional<std::string>("/m x") : std::nullopt;
  };
  EXPECT_EQ(expand_variables("a ${MODEL}b", lookup).value(), "a /m xb");
  EXPECT_EQ(expand_variables("\\${MODEL}", lookup).value(), "${MODEL}");
  EXPECT_EQ(expand_variables("costs 3$", lookup).value(), "costs 3$");
  EXPECT_EQ(expand_variables("${NO}", lookup).error().message, "unknown variable ${NO}");
  EXPECT_FALSE(expand_variables("${MODEL", lookup).ok());
}

TEST(Script, NearIds_Misspelt_ListsTheLikeliestFirst) {
  const std::vector<std::string> ids{"browser/open", "logits/top1", "transport/run",
                                     "transport/step"};
  EXPECT_EQ(near_ids("transport/stp", ids, 1), std::vector<std::string>{"transport/step"});
  EXPECT_EQ(near_ids("step", ids, 1), std::vector<std::string>{"transport/step"});
  EXPECT_EQ(near_ids("x", ids, 99).size(), ids.size());
  EXPECT_TRUE(near_ids("x", {}, 3).empty());
}

}  // namespace
}  // namespace layerscope::gui
