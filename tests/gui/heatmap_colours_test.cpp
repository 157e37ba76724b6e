// The compute shader's colours, read back from the device, against the CPU's colour maps that draw
// the legends. Runs on any Vulkan 1.3 device, software included; skipped without one.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "gui/view/color_map.h"
#include "tests/gui/device_image.h"

namespace layerscope::gui {
namespace {

class HeatmapColours : public DeviceImage {
 protected:
  /// Draws one frame with `data` stretched over the whole image and reads it back.
  Pixels draw(const HeatmapData& data) {
    return draw_texture([&] { return renderer_->heatmaps().texture("map", data); });
  }
  std::uint64_t shade_version_ = 0;
};

TEST_F(HeatmapColours, AllMaps_EqualTheLegends_WithinOneStep) {
  std::vector<float> values(std::size_t{kSize} * kSize);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = 1e-3F + static_cast<float>(i) / static_cast<float>(values.size());
  }
  std::uint64_t version = 0;
  for (const ColorMap map :
       {ColorMap::kViridis, ColorMap::kCividis, ColorMap::kMagma, ColorMap::kDiverging}) {
    for (const bool log_scale : {false, true}) {
      HeatmapData data;
      data.width = data.height = static_cast<int>(kSize);
      data.values = values;
      data.version = ++version;
      data.lo = 0.01F;
      data.hi = 1.0F;
      data.log_scale = log_scale;
      data.color_map = map;
      const Pixels pixels = draw(data);
      ASSERT_EQ(pixels.rgba.size(), values.size() * 4);
      for (std::size_t i = 0; i < values.size(); i += 7) {
        const float t = log_scale ? std::log(std::max(values[i], data.lo) / data.lo) /
                                        std::log(data.hi / data.lo)
                                  : (values[i] - data.lo) / (data.hi - data.lo);
        const auto expected = view::sample_color_map(map, t);
        for (std::size_t channel = 0; channel < 3; ++channel) {
          ASSERT_NEAR(pixels.rgba[4 * i + channel], expected[channel] * 255.0F, 1.6F)
              << view::color_map_name(map) << " value " << values[i];
        }
      }
    }
  }
}

// A slot of shared memory is an input like any other: the same pixels as through the staging
// buffer.
TEST_F(HeatmapColours, DeviceSlot_AnyOffset_EqualsStaging) {
  constexpr std::size_t kCells = std::size_t{kSize} * kSize;
  constexpr std::size_t kOffset = 192;
  auto slot = context_->make_buffer(
      2 * kCells * sizeof(float), VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
  ASSERT_TRUE(slot.ok());
  auto* floats = static_cast<float*>(slot.value().mapped);
  for (std::size_t i = 0; i < 2 * kCells; ++i) {
    floats[i] = i % 97 == 0 ? NAN : static_cast<float>(i * 37 % 1000) / 1000.0F;
  }
  const VkBuffer buffer = slot.value().buffer.get();
  ASSERT_TRUE(renderer_->heatmaps()
                  .set_device_slots(std::span(&buffer, 1), 2 * kCells * sizeof(float))
                  .ok());
  HeatmapData staged;
  staged.width = staged.height = static_cast<int>(kSize);
  staged.values = std::span(floats + kOffset, kCells);
  staged.version = 1;
  HeatmapData shared = staged;
  shared.values = {};
  shared.device = {0, kOffset, 1};
  const std::uint64_t before = renderer_->heatmaps().uploads();
  const Pixels direct = draw(shared);
  EXPECT_EQ(renderer_->heatmaps().uploads(), before) << "nothing is uploaded";
  EXPECT_EQ(direct.rgba, draw(staged).rgba);
  EXPECT_EQ(renderer_->heatmaps().uploads(), before + 1);
  // Newer content of the slot is drawn, a part outside it is not.
  floats[kOffset + kCells / 2] = 5.0F;
  shared.device.value = 2;
  staged.version = 2;
  const Pixels newer = draw(shared);
  EXPECT_NE(newer.rgba, direct.rgba);
  EXPECT_EQ(newer.rgba, draw(staged).rgba);
  renderer_->finish();
  ASSERT_TRUE(renderer_->heatmaps().set_device_slots({}, 0).ok());
  EXPECT_EQ(context_->validation_errors(), 0U);
}

TEST_F(HeatmapColours, Shade_Tinted_GrowsWithTheRoot) {
  std::vector<float> values(std::size_t{kSize} * kSize, 0.0F);
  const auto brightness = [&](float value) {
    std::fill(values.begin(), values.end(), value);
    HeatmapData data;
    data.width = data.height = static_cast<int>(kSize);
    data.values = values;
    data.version = ++shade_version_;
    data.color_map = ColorMap::kShade;
    const Pixels pixels = draw(data);
    return pixels.rgba.empty() ? -1 : int{pixels.rgba[0]};
  };
  const int nothing = brightness(0.0F);
  const int all = brightness(1.0F);
  const int quarter = brightness(0.25F);
  EXPECT_EQ(brightness(HeatmapData::kHole), nothing);
  EXPECT_NEAR(all - nothing, 0.62 * (255 - nothing), 2.0);
  EXPECT_NEAR(quarter - nothing, 0.31 * (255 - nothing), 2.0);
}

TEST_F(HeatmapColours, SpecialValues_Flagged_HaveTheirOwnColours) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> values{kNan, kInf, -kInf, 0.0F, HeatmapData::kHole, 0.5F, 1.0F, -kNan};
  HeatmapData data;
  data.width = 4;
  data.height = 2;
  data.values = values;
  data.version = 1;
  const Pixels pixels = draw(data);
  const auto at = [&pixels](std::uint32_t column, std::uint32_t row) {
    const std::size_t p = (row * kSize / 2 + kSize / 4) * kSize + column * kSize / 4 + kSize / 8;
    return std::array<int, 3>{pixels.rgba[4 * p], pixels.rgba[4 * p + 1], pixels.rgba[4 * p + 2]};
  };
  const auto nan = at(0, 0);
  EXPECT_GT(nan[0], 200);
  EXPECT_LT(nan[1], 60);
  EXPECT_EQ(at(3, 1), nan);  // a negative NaN too
  std::vector<std::array<int, 3>> seen;
  for (const auto& color : {at(0, 0), at(1, 0), at(2, 0), at(3, 0), at(1, 1), at(2, 1)}) {
    for (const auto& other : seen) {
      EXPECT_NE(color, other);
    }
    seen.push_back(color);
  }
  // A hole shows what lies behind.
  const ImVec4 behind = ImGui::GetStyle().Colors[ImGuiCol_WindowBg];
  EXPECT_NEAR(at(0, 1)[0], behind.x * 255.0F, 2.0F);
}

TEST_F(HeatmapColours, SameVersion_DrawnAgain_IsNotUploadedAgain) {
  const std::vector<float> values(16, 0.5F);
  HeatmapData data;
  data.width = data.height = 4;
  data.values = values;
  data.version = 5;
  draw(data);
  EXPECT_EQ(renderer_->heatmaps().uploads(), 1U);
  draw(data);
  EXPECT_EQ(renderer_->heatmaps().uploads(), 1U);
  data.hi = 2.0F;
  draw(data);
  EXPECT_EQ(renderer_->heatmaps().uploads(), 2U);
  EXPECT_EQ(renderer_->heatmaps().textures(), 1U);
}

}  // namespace
}  // namespace layerscope::gui
