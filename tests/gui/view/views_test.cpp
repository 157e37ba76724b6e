// Text, token layout, tensor scan, vocabulary search, bar, colour maps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "gui/view/bar_fit.h"
#include "gui/view/color_map.h"
#include "gui/view/tensor_scan.h"
#include "gui/view/text.h"
#include "gui/view/token_layout.h"
#include "gui/view/vocabulary.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui::view {
namespace {

using sample::Builder;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Text, Numbers_AreShortAndRight) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(15'200'000), "15.2 MB");
  EXPECT_EQ(bytes_text(141'000'000'000), "141 GB");
  EXPECT_EQ(count_text(494'032'768), "494M");
  EXPECT_EQ(count_text(7'100'000), "7.1M");
  EXPECT_EQ(count_text(8'030'261'248), "8.03B");
  EXPECT_EQ(grouped(1912), "1,912");
  EXPECT_EQ(grouped(12), "12");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(number_text(0.38171), "0.3817");
  EXPECT_EQ(number_text(9.369), "9.369");
  EXPECT_EQ(number_text(-13.344), "-13.34");
  EXPECT_EQ(number_text(std::nan("")), "nan");
  EXPECT_EQ(number_text(1e30), "1.00e+30");
  EXPECT_EQ(percent_text(0.412), "41.2%");
  EXPECT_EQ(percent_text(1e-6), "<0.01%");
  EXPECT_EQ(percent_text(0.0), "0.00%");
}

TEST(Text, Chips_ShowWhiteSpaceAndControl) {
  EXPECT_EQ(chip_text_of(" forty", false).text, "forty");
  EXPECT_TRUE(chip_text_of(" forty", false).gap_before);
  EXPECT_FALSE(chip_text_of("-six", false).gap_before);
  EXPECT_EQ(chip_text_of("\n", false).text, "⏎");
  EXPECT_TRUE(chip_text_of(".\n", false).ends_line);
  EXPECT_EQ(chip_text_of("  ", false).text, "␣␣");
  EXPECT_EQ(chip_text_of(" ", false).text, "␣");
  EXPECT_EQ(chip_text_of("a b\t", false).text, "a␣b⇥");
  EXPECT_EQ(chip_text_of("<|im_end|>", true).text, "‹im_end›");
  EXPECT_EQ(chip_text_of("</s>", true).text, "‹/s›");
  EXPECT_EQ(chip_text_of("\xE2\x82", false).text, "\\xe2\\x82");
  EXPECT_EQ(chip_text_of("", false).text, "∅");
  const auto tokenizer = sample::tokenizer();
  EXPECT_EQ(quoted_token(tokenizer.get(), 5), "\" forty\"");
  EXPECT_EQ(quoted_token(tokenizer.get(), 2), "\"\\n\"");
  EXPECT_EQ(quoted_token(tokenizer.get(), 999), "#999");
  EXPECT_EQ(chip_text(nullptr, 3).text, "#3");
}

TEST(Text, Metadata_IsOneBoundedLine) {
  EXPECT_EQ(meta_text(format::MetaValue(std::string("a\nb"))), "a\\nb");
  EXPECT_EQ(meta_text(format::MetaValue(true)), "true");
  EXPECT_EQ(meta_text(format::MetaValue(std::uint64_t{7})), "7");
  EXPECT_EQ(meta_text(format::MetaValue(std::vector<std::int64_t>{1, -2})), "[2] 1, -2");
  EXPECT_EQ(meta_text(format::MetaValue(std::vector<bool>{true, false})), "[2] true, false");
  const std::string many =
      meta_text(format::MetaValue(std::vector<std::string>(5000, "token")), 60);
  EXPECT_LE(many.size(), 63U);
  EXPECT_TRUE(many.starts_with("[5,000] \"token\", "));
  EXPECT_EQ(cut_text("äöü", 3), "ä…");
  EXPECT_TRUE(contains_ci("Blk.0.ATTN", "attn"));
  EXPECT_TRUE(contains_ci("x", ""));
  EXPECT_FALSE(contains_ci("", "x"));
}

/// Every character is 10 wide.
float measure(const std::string& text) { return 10.0F * static_cast<float>(text.size()); }

TEST(TokenLayout, Growing_EqualsLayingOutAnew) {
  Builder builder({1, 1, 6});
  const LayoutMetrics metrics{200.0F, 6.0F, 1.0F, 4.0F};
  TokenLayout grown;
  for (const int n : {0, 1, 5, 40, 41, 20, 90}) {
    const auto s = builder.cut_to(std::min(n, builder.build()->n_frames)).grow_to(n).build();
    grown.update(*s, s->model->tokenizer.get(), metrics, measure);
    TokenLayout fresh;
    fresh.update(*s, s->model->tokenizer.get(), metrics, measure);
    ASSERT_EQ(grown.size(), std::max(n, 6));
    ASSERT_EQ(grown.lines(), fresh.lines());
    for (int i = 0; i < grown.size(); ++i) {
      EXPECT_EQ(grown.place(i).x, fresh.place(i).x);
      EXPECT_EQ(grown.place(i).line, fresh.place(i).line);
    }
  }
}

TEST(TokenLayout, Chips_NeverOverlapNorLeaveTheWidth) {
  Builder builder({1, 1, 6});
  const auto s = builder.grow_to(400).build();
  for (const float width : {45.0F, 130.0F, 800.0F}) {
    TokenLayout layout;
    layout.update(*s, s->model->tokenizer.get(), {width, 6.0F, 1.0F, 4.0F}, measure);
    for (int i = 0; i < layout.size(); ++i) {
      const ChipPlace& place = layout.place(i);
      EXPECT_LE(place.x + place.width, width);
      if (i > 0) {
        const ChipPlace& last = layout.place(i - 1);
        const bool below = place.line == last.line + 1 && place.x == 0.0F;
        const bool beside = place.line == last.line && place.x > last.x + last.width;
        EXPECT_TRUE(below || beside) << i;
        if (layout.text(i - 1).ends_line) {
          EXPECT_TRUE(below) << i;
        }
      }
    }
    for (int line = 0; line < layout.lines(); ++line) {
      EXPECT_EQ(layout.place(layout.line_first(line)).line, line);
    }
    EXPECT_EQ(layout.line_first(layout.lines()), layout.size());
  }
}

TEST(TokenLayout, OnlyChangedTokens_AreMeasured) {
  Builder builder({1, 1, 6});
  const LayoutMetrics metrics{200.0F, 6.0F, 1.0F, 4.0F};
  TokenLayout layout;
  int measured = 0;
  const auto counting = [&measured](const std::string& text) {
    ++measured;
    return measure(text);
  };
  auto s = builder.grow_to(100).build();
  layout.update(*s, s->model->tokenizer.get(), metrics, counting);
  EXPECT_EQ(measured, 100);
  s = builder.grow_to(101).build();
  layout.update(*s, s->model->tokenizer.get(), metrics, counting);
  EXPECT_EQ(measured, 101);
  layout.update(*s, s->model->tokenizer.get(), metrics, counting);
  EXPECT_EQ(measured, 101);
}

TEST(TokenSurprise, Modes_AreBoundedAndOrdered) {
  capture::Choice choice;
  EXPECT_EQ(token_surprise(choice, TokenColor::kProbability), -1.0F);
  choice.known = true;
  choice.prob = 1.0F;
  choice.rank = 0;
  EXPECT_EQ(token_surprise(choice, TokenColor::kProbability), 0.0F);
  EXPECT_EQ(token_surprise(choice, TokenColor::kRank), 0.0F);
  choice.prob = 0.0F;
  choice.entropy = kNan;
  EXPECT_EQ(token_surprise(choice, TokenColor::kProbability), 1.0F);
  EXPECT_EQ(token_surprise(choice, TokenColor::kEntropy), 1.0F);
  choice.prob = kNan;
  EXPECT_EQ(token_surprise(choice, TokenColor::kProbability), 1.0F);
}

TEST(TensorScan, Slices_EqualNaiveStatistics) {
  const auto file = sample::model_file();
  const format::TensorInfo& tensor = file->tensors[0];
  TensorScan scan;
  scan.start(TensorSource::weight(file, tensor));
  int slices = 0;
  while (!scan.advance(1000)) {
    ASSERT_LT(++slices, 100);
  }
  const std::vector<float> values = format::decode_values(tensor, 0, 4096).value();
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  EXPECT_EQ(scan.seen, 4096U);
  EXPECT_NEAR(scan.mean(), sum / 4096.0, 1e-12);
  EXPECT_EQ(scan.min, *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(scan.max, *std::max_element(values.begin(), values.end()));
  const auto total =
      std::accumulate(scan.histogram.begin(), scan.histogram.end(), std::uint64_t{0});
  EXPECT_EQ(total, 4096U);
  EXPECT_EQ(scan.first.size(), TensorScan::kFirstValues);
  EXPECT_EQ(scan.progress(), 1.0);
}

TEST(TensorScan, NonFiniteValues_AreCountedNotSummed) {
  const auto file = sample::model_file();
  TensorScan scan;
  scan.start(TensorSource::weight(file, file->tensors[1]));
  while (!scan.advance(3)) {
  }
  EXPECT_EQ(scan.nan, 1U);
  EXPECT_EQ(scan.inf, 1U);
  EXPECT_EQ(scan.zeros, 1U);
  EXPECT_TRUE(std::isfinite(scan.mean()) && std::isfinite(scan.deviation()));
}

TEST(TensorScan, UnknownType_FailsWithWords) {
  const auto file = sample::model_file();
  format::TensorInfo tensor = file->tensors[0];
  tensor.dtype = DType::kIQ1_M;
  TensorScan scan;
  scan.start(TensorSource::weight(file, tensor));
  EXPECT_TRUE(scan.advance(10));
  EXPECT_TRUE(scan.failed());
  EXPECT_FALSE(scan.error().empty());
}

TEST(Vocabulary, Search_FindsIdThenExactThenPrefix) {
  const auto tokenizer = sample::tokenizer();
  EXPECT_EQ(search_vocabulary(*tokenizer, "#5", 3).front(), 5);
  EXPECT_EQ(search_vocabulary(*tokenizer, "forty", 3), (std::vector<std::int32_t>{5}));
  const auto words = search_vocabulary(*tokenizer, "word2", 50);
  ASSERT_FALSE(words.empty());
  EXPECT_TRUE(std::all_of(words.begin(), words.end(), [&](std::int32_t id) {
    return tokenizer->decode(id).find("word2") != std::string::npos;
  }));
  EXPECT_EQ(search_vocabulary(*tokenizer, "WORD", 4).size(), 4U);
  EXPECT_TRUE(search_vocabulary(*tokenizer, "", 4).empty());
  EXPECT_TRUE(search_vocabulary(*tokenizer, "#63", 4).empty()) << "an unused row";
}

TEST(BarFit, Items_DropByPriorityAndNeverOverlap) {
  for (float width = 60.0F; width < 900.0F; width += 7.0F) {
    BarGroups bar;
    bar.left = {{50, 1}, {40, 0}, {120, 3}, {200, 5}};
    bar.centre = {{30, 0}, {30, 0}};
    bar.right = {{60, 4}, {60, 2}};
    fit_bar(bar, width, 8.0F, 18.0F);
    float end = 0.0F;
    int smallest_hidden = 100;
    int largest_shown = -1;
    for (const auto* group : {&bar.left, &bar.centre, &bar.right}) {
      for (const BarItem& item : *group) {
        if (item.shown) {
          EXPECT_GE(item.x, end);
          end = item.x + item.width;
          largest_shown = std::max(largest_shown, item.priority);
        } else {
          smallest_hidden = std::min(smallest_hidden, item.priority);
        }
      }
    }
    EXPECT_LT(largest_shown, smallest_hidden);
    EXPECT_TRUE(bar.centre[0].shown && bar.left[1].shown);
    if (width > 200.0F) {
      EXPECT_LE(end, width + 0.01F);
    }
  }
}

TEST(ColorMap, Samples_AreInRangeAndEndAtTheStops) {
  for (const ColorMap map :
       {ColorMap::kViridis, ColorMap::kCividis, ColorMap::kMagma, ColorMap::kDiverging}) {
    for (const float t : {-1.0F, 0.0F, 0.3F, 1.0F, 2.0F, kNan}) {
      for (const float v : sample_color_map(map, t)) {
        EXPECT_TRUE(v >= 0.0F && v <= 1.0F);
      }
    }
  }
  EXPECT_NEAR(sample_color_map(ColorMap::kViridis, 0.0F)[0], 0x44 / 255.0F, 1e-6F);
  EXPECT_NEAR(sample_color_map(ColorMap::kViridis, 1.0F)[2], 0x25 / 255.0F, 1e-6F);
}

}  // namespace
}  // namespace layerscope::gui::view
