#include "engine/base/utf8.h"

#include <gtest/gtest.h>

namespace layerscope {
namespace {

/// Code points to and around every boundary of the encoding.
std::vector<std::uint32_t> sample_points() {
  return {0x0,    0x7F,   0x80,   0x7FF,   0x800,   0xD7FF,
          0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x1F642, 0x10FFFF};
}

TEST(Utf8, EveryCodePoint_RoundTrips) {
  for (std::uint32_t cp = 0; cp <= 0x10FFFF; ++cp) {
    if (cp >= 0xD800 && cp <= 0xDFFF) {
      continue;
    }
    std::string text;
    utf8_append(text, cp);
    std::size_t pos = 0;
    ASSERT_TRUE(utf8_valid(text)) << cp;
    ASSERT_EQ(utf8_next(text, pos), cp);
    ASSERT_EQ(pos, text.size());
  }
}

TEST(Utf8, MalformedSequences_AreInvalid) {
  for (const char* text :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE", "\xFF",
        "\xC3", "\xE2\x82", "\xF0\x9F\x99", "\xC3(", "\xE2(\x82"}) {
    EXPECT_FALSE(utf8_valid(text)) << utf8_escape(text);
    EXPECT_TRUE(utf8_valid(utf8_sanitize(text)));
    std::size_t pos = 0;
    EXPECT_EQ(utf8_next(text, pos), 0xFFFDU);
    EXPECT_EQ(pos, 1U);
  }
}

TEST(Utf8, CompletePrefix_HoldsBackOnlyUnfinishedCharacters) {
  for (const std::uint32_t cp : sample_points()) {
    std::string character;
    utf8_append(character, cp);
    const std::string text = "ab" + character;
    EXPECT_EQ(utf8_complete_prefix(text), text.size());
    for (std::size_t cut = 1; cut < character.size(); ++cut) {
      EXPECT_EQ(utf8_complete_prefix(text.substr(0, 2 + cut)), 2U) << cp << " cut at " << cut;
    }
  }
  EXPECT_EQ(utf8_complete_prefix(""), 0U);
  EXPECT_EQ(utf8_complete_prefix("a\xFF"), 2U);         // can never become valid
  EXPECT_EQ(utf8_complete_prefix("\x80\x80\x80"), 3U);  // the same
  EXPECT_EQ(utf8_complete_prefix("\xE2\x82\xE2"), 2U);  // only the last may still become one
  EXPECT_EQ(utf8_complete_prefix("\xED\xA0"), 2U);      // a surrogate: never valid
}

TEST(Utf8, Sanitize_ReplacesEachBadByte) {
  EXPECT_EQ(utf8_sanitize("a\xFF"
                          "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(utf8_sanitize("\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(utf8_sanitize("grün 日本"), "grün 日本");
}

TEST(Utf8, Escape_ShowsControlAndBadBytes) {
  EXPECT_EQ(utf8_escape("a\n\t\r\x1B\x7F\xFFé"), "a\\n\\t\\r\\x1b\\x7f\\xffé");
  EXPECT_EQ(utf8_escape(""), "");
}

}  // namespace
}  // namespace layerscope
