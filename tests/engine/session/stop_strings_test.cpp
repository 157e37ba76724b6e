#include "engine/session/stop_strings.h"

#include <gtest/gtest.h>

namespace layerscope::session {
namespace {

std::string feed(const std::vector<std::string>& stops, const std::string& text, std::size_t piece,
                 bool* hit) {
  StopStrings s(stops);
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += piece) {
    out += s.push(text.substr(i, piece));
  }
  *hit = s.hit();
  return out + s.finish();
}

TEST(StopStrings, AnyCutting_SameTextUpToTheFirstStop) {
  for (std::size_t piece = 1; piece <= 12; ++piece) {
    bool hit = false;
    EXPECT_EQ(feed({"END", "\n\n"}, "one two END three", piece, &hit), "one two ");
    EXPECT_TRUE(hit);
    EXPECT_EQ(feed({"\n\n", "three"}, "a\nb\n\nthree", piece, &hit), "a\nb");
    EXPECT_EQ(feed({"abcabd"}, "abcabcabd!", piece, &hit), "abc");
    EXPECT_TRUE(hit);
    EXPECT_EQ(feed({"zzz", ""}, "all of it zz", piece, &hit), "all of it zz");
    EXPECT_FALSE(hit);
  }
}

}  // namespace
}  // namespace layerscope::session
