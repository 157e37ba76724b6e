// The interface drawn by compute shaders, against the same triangles rasterised: two independent
// ways to the same pixels. Then the lists that the shader reads, against a plain search. Runs on
// any Vulkan 1.3 device, software included; the pixels are skipped without one.
#include <gtest/gtest.h>
#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "gui/vulkan/offscreen_target.h"
#include "gui/vulkan/renderer.h"
#include "tests/gui/on_device.h"

namespace layerscope::gui {
namespace {

constexpr std::uint32_t kWidth = 333;  // no multiple of a tile
constexpr std::uint32_t kHeight = 251;
constexpr ImU32 kRed = IM_COL32(220, 40, 30, 255);

using Scene = void (*)(ImDrawList&, VulkanHeatmaps&);

void boxes(ImDrawList& draw, VulkanHeatmaps& /*heatmaps*/) {
  draw.AddRectFilled({10, 10}, {200, 120}, IM_COL32(40, 80, 120, 255));
  draw.AddRectFilled({50.3F, 40.7F}, {250.5F, 200.5F}, IM_COL32(200, 180, 20, 90));
  draw.AddRectFilled({-40, 150}, {60, 900}, IM_COL32(20, 200, 90, 200), 12.0F);
  draw.AddRect({100, 100}, {300, 240}, kRed, 9.0F, 0, 3.0F);
  draw.AddRectFilledMultiColor({210, 10}, {330, 90}, kRed, IM_COL32(0, 0, 255, 255),
                               IM_COL32(0, 255, 0, 40), IM_COL32_WHITE);
  draw.PushClipRect({120.6F, 20.4F}, {180.2F, 77.7F});
  draw.AddRectFilled({0, 0}, {333, 251}, IM_COL32(255, 255, 255, 128));
  draw.PopClipRect();
  draw.AddRectFilled({64, 64}, {64, 128}, kRed);                     // no area
  draw.AddRectFilled({500, 10}, {600, 120}, kRed);                   // outside
  draw.AddRectFilled({80, 80}, {128, 144}, IM_COL32(9, 9, 9, 255));  // hides whole tiles
}

void curves(ImDrawList& draw, VulkanHeatmaps& /*heatmaps*/) {
  draw.AddCircleFilled({100, 90}, 60, IM_COL32(90, 160, 220, 140));
  draw.AddCircle({200, 140}, 75.5F, kRed, 0, 4.0F);
  draw.AddTriangleFilled({20, 230}, {150, 140}, {310, 245}, IM_COL32(120, 200, 60, 200));
  for (int i = 0; i < 20; ++i) {
    const float x = 16.0F * static_cast<float>(i);
    draw.AddLine({x, 5}, {330.0F - x, 245.0F}, IM_COL32(255, 255, 255, 120),
                 0.7F + 0.3F * static_cast<float>(i));
  }
  draw.AddBezierCubic({5, 240}, {90, -80}, {220, 320}, {325, 8}, kRed, 2.0F);
}

void words(ImDrawList& draw, VulkanHeatmaps& /*heatmaps*/) {
  for (int i = 0; i < 16; ++i) {
    draw.AddText({4.0F + 0.37F * static_cast<float>(i), 15.0F * static_cast<float>(i)},
                 IM_COL32(230, 230, 240, 255 - 8 * i), "Where does attention look? 0.123456789");
  }
}

/// Enlarged cells keep hard edges, shrunken ones are averaged: both kinds of sampling.
void maps(ImDrawList& draw, VulkanHeatmaps& heatmaps) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(0.0F, 1.0F);
  const auto map = [&](const char* key, int side, ImVec2 min, ImVec2 max) {
    std::vector<float> values(static_cast<std::size_t>(side) * static_cast<std::size_t>(side));
    for (float& value : values) {
      value = uniform(random);
    }
    HeatmapData data;
    data.width = data.height = side;
    data.values = values;
    data.version = 1;
    const auto texture = static_cast<ImTextureID>(heatmaps.texture(key, data));
    ASSERT_NE(texture, ImTextureID{0});
    draw.AddImage(texture, min, max, {0, 0}, {1, 1}, IM_COL32(255, 255, 255, 230));
  };
  map("large cells", 7, {3.2F, 4.3F}, {150.5F, 151.9F});
  map("small cells", 256, {160.2F, 10.3F}, {317.3F, 169.1F});
  map("one to one", 64, {20, 170}, {84, 234});
}

class TilePassPixels : public OnDevice, public ::testing::WithParamInterface<Scene> {
 protected:
  /// One frame of the scene, read back.
  static Pixels draw(const Context& context, DrawWith with, Scene scene) {
    ImGui::CreateContext();
    ImGui::GetIO().IniFilename = nullptr;
    Pixels pixels;
    {
      auto target = OffscreenTarget::create(context, {kWidth, kHeight}, VK_FORMAT_R8G8B8A8_UNORM);
      EXPECT_TRUE(target.ok());
      auto renderer = Renderer::create(context, *target.value(), "test", with);
      EXPECT_TRUE(renderer.ok()) << renderer.error().message;
      EXPECT_EQ(renderer.value()->draws_tiles(), with == DrawWith::kTiles);
      for (int frame = 0; frame < 3; ++frame) {  // glyphs are there from the second on
        EXPECT_TRUE(renderer.value()->begin().ok());
        ImGui::GetIO().DisplaySize = ImVec2(kWidth, kHeight);
        ImGui::GetIO().DeltaTime = 1.0F / 60.0F;
        ImGui::NewFrame();
        scene(*ImGui::GetBackgroundDrawList(), renderer.value()->heatmaps());
        ImGui::Render();
        EXPECT_TRUE(renderer.value()->end().ok());
      }
      auto captured = renderer.value()->capture();
      EXPECT_TRUE(captured.ok());
      pixels = captured.ok() ? std::move(captured).value() : Pixels{};
    }
    ImGui::DestroyContext();
    return pixels;
  }
};

TEST_P(TilePassPixels, Scene_EqualsTheRasteriser) {
  if (!TilePass::possible(*context_)) {
    GTEST_SKIP() << context_->device_name() << " has too few textures for a shader";
  }
  const Pixels tiles = draw(*context_, DrawWith::kTiles, GetParam());
  const Pixels raster = draw(*context_, DrawWith::kRaster, GetParam());
  ASSERT_EQ(tiles.rgba.size(), std::size_t{4} * kWidth * kHeight);
  ASSERT_EQ(raster.rgba.size(), tiles.rgba.size());
  std::size_t different = 0;
  std::size_t drawn = 0;
  for (std::size_t i = 0; i < tiles.rgba.size(); i += 4) {
    int most = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      most = std::max(most, std::abs(int{tiles.rgba[i + c]} - int{raster.rgba[i + c]}));
    }
    different += most > 2 ? 1 : 0;
    drawn += raster.rgba[i] != raster.rgba[0] || raster.rgba[i + 1] != raster.rgba[1] ? 1 : 0;
  }
  // Rasterisers round corners to 1/256 of a pixel: a centre that close to an edge may differ.
  EXPECT_LE(different, tiles.rgba.size() / 4 / 500) << "of " << tiles.rgba.size() / 4;
  EXPECT_GT(drawn, tiles.rgba.size() / 4 / 20) << "the scene is empty";
}

INSTANTIATE_TEST_SUITE_P(All, TilePassPixels, ::testing::Values(&boxes, &curves, &words, &maps));

/// Draw data made by hand: upright rectangles as Dear ImGui writes them, and triangles.
struct Drawing {
  ImDrawListSharedData shared;
  ImDrawList list{&shared};
  ImDrawData data;

  Drawing() {
    shared.TexUvWhitePixel = {0.5F, 0.5F};
    list._ResetForNewFrame();
    list.PushTexture(ImTextureRef(ImTextureID{1}));
    list.PushClipRect({0, 0}, {100, 80});
  }
  const ImDrawData& finish() {
    data.CmdLists.push_back(&list);
    data.DisplaySize = {100, 80};
    data.FramebufferScale = {1, 1};
    return data;
  }
};

/// Entries of the tile at (x, y).
std::vector<std::uint32_t> tile(const TileLists& lists, std::uint32_t x, std::uint32_t y) {
  const auto starts = lists.starts();
  const std::size_t i = std::size_t{y} * lists.across() + x;
  return {lists.entries().begin() + starts[i], lists.entries().begin() + starts[i + 1]};
}

TEST(TileLists, Rectangles_AreInTheTilesTheyTouch_InOrder) {
  Drawing d;
  d.list.PrimReserve(12, 8);
  d.list.PrimRect({10, 10}, {40, 20}, kRed);
  d.list.PrimRect({20, 12}, {100, 80}, IM_COL32(1, 2, 3, 100));
  TileLists lists;
  ASSERT_TRUE(lists.build(d.finish(), {100, 80}, ImTextureID{1}, {0.5F, 0.5F}));
  EXPECT_EQ(lists.across(), 7U);
  EXPECT_EQ(lists.down(), 5U);
  ASSERT_EQ(lists.primitives().size(), 2U);
  EXPECT_EQ(tile(lists, 0, 0), (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(tile(lists, 1, 0), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(tile(lists, 6, 4), (std::vector<std::uint32_t>{1}));
  EXPECT_TRUE(tile(lists, 0, 4).empty());
}

TEST(TileLists, OpaqueBoxOverATile_HidesWhatWasThere) {
  Drawing d;
  d.list.PrimReserve(24, 16);
  d.list.PrimRect({0, 0}, {100, 80}, kRed);
  d.list.PrimRect({0, 0}, {20, 80}, IM_COL32(0, 255, 0, 254));  // shines through
  d.list.PrimRect({16, 0}, {100, 80}, IM_COL32(0, 0, 255, 255));
  d.list.PrimRect({30, 30}, {31, 31}, kRed);
  TileLists lists;
  ASSERT_TRUE(lists.build(d.finish(), {100, 80}, ImTextureID{1}, {0.5F, 0.5F}));
  EXPECT_EQ(tile(lists, 0, 0), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(tile(lists, 1, 1), (std::vector<std::uint32_t>{2, 3}));
  EXPECT_EQ(tile(lists, 6, 4), (std::vector<std::uint32_t>{2}));  // cut by the image's edge
}

TEST(TileLists, MoreTexturesThanOneFrameMayHave_IsSaid) {
  Drawing d;
  for (std::uint32_t i = 0; i <= TileLists::kMostTextures; ++i) {
    d.list.PushTexture(ImTextureRef(ImTextureID{i + 2}));
    d.list.PrimReserve(6, 4);
    d.list.PrimRectUV({0, 0}, {20, 20}, {0, 0}, {1, 1}, kRed);
  }
  TileLists lists;
  EXPECT_FALSE(lists.build(d.finish(), {100, 80}, ImTextureID{1}, {0.5F, 0.5F}));
}

}  // namespace
}  // namespace layerscope::gui
