// The chart shader: lines and bars where the values say, gaps and marks, and the same pixels from a
// slot of shared memory as through the staging buffer.
#include <cmath>
#include <vector>

#include "gui/view/chart.h"
#include "tests/gui/device_image.h"

namespace layerscope::gui {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::uint32_t kRed = 0xFF0000FFU;
constexpr std::uint32_t kGreen = 0xFF00FF00U;
constexpr std::uint32_t kBlue = 0xFFFF0000U;

class Chart : public DeviceImage {
 protected:
  Pixels draw(const ChartData& data) {
    return draw_texture([&] { return renderer_->heatmaps().chart("chart", data); });
  }
  static ChartData lines(const std::vector<float>& rows, int n, bool ranges, bool pooled) {
    ChartData data;
    data.width = data.height = static_cast<int>(kSize);
    data.source = view::chart_values(rows, ranges ? 2 * n : n);
    data.source.lines = n;
    data.source.ranges = ranges;
    data.source.pooled = pooled;
    data.thickness = 2.0F;
    data.colors = {kRed, kGreen, kBlue, 0xFFFFFFFFU};
    return data;
  }
  static int channel(const Pixels& pixels, int x, int y, int which) {
    return pixels.rgba[4 * (static_cast<std::size_t>(y) * kSize + static_cast<std::size_t>(x)) +
                       static_cast<std::size_t>(which)];
  }
  /// Middle of the texels of a column in which `which` outshines the others; −1: none.
  static float middle(const Pixels& pixels, int x, int which) {
    float sum = 0.0F;
    float weight = 0.0F;
    for (int y = 0; y < static_cast<int>(kSize); ++y) {
      const int other =
          std::max(channel(pixels, x, y, (which + 1) % 3), channel(pixels, x, y, (which + 2) % 3));
      const auto w = static_cast<float>(std::max(channel(pixels, x, y, which) - other - 40, 0));
      sum += w * (static_cast<float>(y) + 0.5F);
      weight += w;
    }
    return weight > 0.0F ? sum / weight : -1.0F;
  }
};

constexpr int kMargin = chart_margin(2.0F);
constexpr float kSpan = static_cast<float>(kSize) - 2.0F * kMargin;

/// Where a value of 0 … 1 lies.
float row_of(float value) { return static_cast<float>(kMargin) + kSpan * (1.0F - value); }

TEST_F(Chart, Lines_AreWhereTheValuesAre) {
  const std::vector<float> rows{0.1F, 0.9F, 0.5F, 0.5F, 0.5F,  //
                                0.8F, 0.8F, 0.2F, 0.2F, 0.9F};
  const Pixels pixels = draw(lines(rows, 2, false, false));
  for (int x = kMargin + 1; x < static_cast<int>(kSize) - kMargin - 1; ++x) {
    const float at = (static_cast<float>(x) + 0.5F - kMargin) / kSpan * 4.0F;
    const auto i = std::min(static_cast<std::size_t>(at), std::size_t{3});
    const float t = at - static_cast<float>(i);
    const float red = rows[i] * (1 - t) + rows[i + 1] * t;
    const float green = rows[5 + i] * (1 - t) + rows[6 + i] * t;
    if (std::fabs(red - green) > 0.15F) {
      EXPECT_NEAR(middle(pixels, x, 0), row_of(red), 1.3F) << x;
    }
    EXPECT_NEAR(middle(pixels, x, 1), row_of(green), 1.3F) << x;
  }
}

TEST_F(Chart, Logarithms_AreThoseToBase10) {
  std::vector<float> rows{0.001F, 0.1F, 10.0F};
  ChartData data = lines(rows, 1, false, false);
  data.log_scale = true;
  data.lo = -3.0F;
  data.hi = 1.0F;
  const Pixels pixels = draw(data);
  EXPECT_NEAR(middle(pixels, static_cast<int>(kSize) / 2, 0), row_of(0.5F), 1.0F);
  EXPECT_NEAR(middle(pixels, static_cast<int>(kSize) - kMargin - 1, 0), row_of(1.0F), 2.0F);
}

TEST_F(Chart, GapsAndOddValues_AreNotJoinedAndMarkedWhereAsked) {
  const std::vector<float> rows{0.2F, 0.2F, HeatmapData::kHole, 0.2F, 0.2F, kNan, 0.2F, 0.2F};
  ChartData data = lines(rows, 1, false, false);
  const auto column = [](float index) { return kMargin + static_cast<int>(kSpan * index / 7.0F); };
  const Pixels plain = draw(data);
  EXPECT_GT(middle(plain, column(0.5F), 0), 0.0F);
  EXPECT_EQ(middle(plain, column(2.0F), 0), -1.0F) << "a hole is a gap";
  EXPECT_EQ(middle(plain, column(5.0F), 0), -1.0F) << "so is a NaN";
  EXPECT_GT(middle(plain, column(6.5F), 0), 0.0F);
  data.marks = true;
  const Pixels marked = draw(data);
  const int top = kMargin + 1;
  EXPECT_GT(channel(marked, column(5.0F), top, 0), 100);
  EXPECT_GT(channel(marked, column(5.0F), top, 2), 80);
  EXPECT_LT(channel(marked, column(5.0F), top, 1), 60);
  for (int which = 0; which < 3; ++which) {
    EXPECT_EQ(channel(marked, column(2.0F), top, which), channel(plain, column(2.0F), top, which))
        << "a hole is not marked";
  }
}

TEST_F(Chart, MoreCellsThanTexels_ShowSmallestToLargest) {
  std::vector<float> rows(2000, 0.5F);
  for (std::size_t i = 0; i < 1000; ++i) {
    rows[1000 + i] = 0.6F;
  }
  rows[500] = 0.1F;    // one cell's smallest
  rows[1700] = 0.95F;  // one cell's largest
  const Pixels pixels = draw(lines(rows, 1, true, true));
  const auto lit = [&](int x, float value) {
    return channel(pixels, x, static_cast<int>(row_of(value)), 0) > 150;
  };
  const auto column = [](int cell) {
    return kMargin + static_cast<int>(static_cast<float>(cell) * kSpan / 1000.0F);
  };
  EXPECT_TRUE(lit(column(500), 0.12F)) << "nothing is hidden";
  EXPECT_TRUE(lit(column(700), 0.93F));
  EXPECT_TRUE(lit(column(250), 0.55F));
  EXPECT_FALSE(lit(column(250), 0.3F));
  EXPECT_FALSE(lit(column(250), 0.8F));
}

TEST_F(Chart, Bars_AreAsLongAsTheirValues) {
  std::vector<float> cells(2 * 32, HeatmapData::kHole);
  for (std::size_t i = 0; i < 16; ++i) {
    cells[i] = static_cast<float>(i) / 15.0F;
    cells[32 + i] = i == 8 ? 1.0F : 0.0F;
  }
  ChartData data;
  data.kind = ChartData::Kind::kBars;
  data.source = view::chart_values(cells, 2);
  data.width = static_cast<int>(kSize);
  data.height = 32;
  data.colors = {kBlue, kGreen, kRed, 0};
  data.thickness = 3.0F;
  const Pixels pixels = draw(data);
  for (int i = 0; i < 16; ++i) {
    const int fill = i == 8 ? 0 : 1;
    int length = 0;
    for (int x = 0; x < static_cast<int>(kSize); ++x) {
      length += channel(pixels, x, 2 * i, fill) > 127 ? 1 : 0;
      EXPECT_EQ(channel(pixels, x, 2 * i, 1 - fill), 0);
    }
    const float want = static_cast<float>(i) / 15.0F * static_cast<float>(kSize);
    EXPECT_NEAR(static_cast<float>(length), i == 0 ? 0.0F : std::max(want, 3.0F), 0.51F) << i;
  }
  EXPECT_LT(channel(pixels, 10, 40, 2), 200) << "nothing is drawn behind the last bar";
}

TEST_F(Chart, DeviceSlot_AnyOffset_EqualsStaging) {
  constexpr std::size_t kCells = 300;
  constexpr std::size_t kOffset = 128;
  auto slot = context_->make_buffer(
      4096 * sizeof(float), VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
  ASSERT_TRUE(slot.ok());
  auto* floats = static_cast<float*>(slot.value().mapped);
  std::vector<float> rows(6 * kCells);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = i % 53 == 0   ? kNan
              : i % 31 == 0 ? HeatmapData::kHole
                            : static_cast<float>(i * 37 % 1000) / 1000.0F;
    floats[kOffset + i] = rows[i];
  }
  const VkBuffer buffer = slot.value().buffer.get();
  ASSERT_TRUE(
      renderer_->heatmaps().set_device_slots(std::span(&buffer, 1), 4096 * sizeof(float)).ok());
  for (const bool pooled : {true, false}) {
    ChartData staged = lines(rows, 3, true, pooled);
    staged.marks = true;
    ChartData shared = staged;
    shared.source.values = {};
    shared.source.device = {0, kOffset, pooled ? 1U : 2U};
    const std::uint64_t before = renderer_->heatmaps().uploads();
    const Pixels direct = draw(shared);
    EXPECT_EQ(renderer_->heatmaps().uploads(), before) << "nothing is uploaded";
    EXPECT_EQ(direct.rgba, draw(staged).rgba);
    EXPECT_EQ(renderer_->heatmaps().uploads(), before + 1);
  }
  renderer_->finish();
  ASSERT_TRUE(renderer_->heatmaps().set_device_slots({}, 0).ok());
}

}  // namespace
}  // namespace layerscope::gui
