// The same text gives the same pixels whatever order its glyphs were packed in. Runs on any
// Vulkan 1.3 device, software included; skipped without one.
#include <gtest/gtest.h>
#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gui/app/fonts.h"
#include "gui/app/glyph_grid.h"
#include "gui/vulkan/offscreen_target.h"
#include "gui/vulkan/renderer.h"
#include "tests/gui/on_device.h"

namespace layerscope::gui {
namespace {

constexpr std::uint32_t kWidth = 900;
constexpr std::uint32_t kHeight = 420;

std::string printable() {
  std::string all;
  for (char c = ' '; c < '\x7f'; ++c) {
    all += c;
  }
  return all;
}

/// One window's life: `first` is drawn before the text that is looked at.
class Page {
 public:
  Page() {
    ImGui::CreateContext();
    ImGui::GetIO().IniFilename = nullptr;
  }
  ~Page() {
    renderer_.reset();
    target_.reset();
    ImGui::DestroyContext();
  }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  Status start(const Context& context) {
    LS_TRY(target_, OffscreenTarget::create(context, {kWidth, kHeight}, VK_FORMAT_R8G8B8A8_UNORM));
    LS_TRY(renderer_, Renderer::create(context, *target_, "test"));
    loaded_ = fonts_.load();
    return {};
  }

  template <typename Draw>
  Status frame(bool aligned, Draw&& draw) {
    LS_CHECK(renderer_->begin());
    ImGui::GetIO().DisplaySize = ImVec2(kWidth, kHeight);
    ImGui::GetIO().DeltaTime = 1.0F / 60.0F;
    ImGui::NewFrame();
    draw(*ImGui::GetBackgroundDrawList());
    ImGui::Render();
    if (aligned) {
      align_glyphs(*ImGui::GetDrawData());
    }
    LS_TRY(const bool shown, renderer_->end());
    return shown ? Status{} : Status(internal_error("no image"));
  }

  Result<Pixels> draw(const std::string& first, bool aligned) {
    LS_CHECK(frame(aligned, [&](ImDrawList& list) {
      for (const float size : {13.0F, 15.0F, 22.0F}) {
        list.AddText(loaded_.regular, size, {0.0F, 0.0F}, ~0U, first.c_str());
        list.AddText(loaded_.mono, size, {0.0F, 0.0F}, ~0U, first.c_str());
      }
    }));
    LS_CHECK(frame(aligned, [&](ImDrawList& list) {
      float y = 2.0F;
      for (const float size : {13.0F, 15.0F, 22.0F, 48.0F}) {
        for (ImFont* font : {loaded_.regular, loaded_.mono}) {
          list.AddText(font, size, {3.3F, y}, ~0U, "Layer 4, head 7: 0.123456789 (AVATAR) fi jg");
          y += size * 1.6F;
        }
      }
      const int first_vertex = list.VtxBuffer.Size;
      list.AddText(loaded_.mono, 13.0F, {0.0F, 0.0F}, ~0U, "turned by a quarter");
      for (int i = first_vertex; i < list.VtxBuffer.Size; ++i) {
        const ImVec2 upright = list.VtxBuffer[i].pos;
        list.VtxBuffer[i].pos = {850.0F + upright.y, 400.0F - upright.x};
      }
      list.AddLine({400.0F, 10.0F}, {870.0F, 300.0F}, ~0U, 1.5F);
      list.AddRectFilled({600.0F, 20.0F}, {680.0F, 80.0F}, ~0U, 6.0F);
    }));
    return renderer_->capture();
  }

 private:
  FontSet fonts_;
  Fonts loaded_;
  std::unique_ptr<OffscreenTarget> target_;
  std::unique_ptr<Renderer> renderer_;
};

class GlyphGrid : public OnDevice {
 protected:
  Pixels draw(const std::string& first, bool aligned) {
    Page page;
    const Status started = page.start(*context_);
    EXPECT_TRUE(started.ok());
    auto pixels = page.draw(first, aligned);
    EXPECT_TRUE(pixels.ok());
    return pixels.ok() ? std::move(pixels).value() : Pixels{};
  }
};

struct Difference {
  std::size_t n = 0;
  int largest = 0;
};

Difference difference(const Pixels& a, const Pixels& b) {
  Difference found;
  EXPECT_EQ(a.rgba.size(), b.rgba.size());
  for (std::size_t i = 0; i < std::min(a.rgba.size(), b.rgba.size()); ++i) {
    const int off = std::abs(int{a.rgba[i]} - int{b.rgba[i]});
    found.n += off != 0 ? 1 : 0;
    found.largest = std::max(found.largest, off);
  }
  return found;
}

TEST_F(GlyphGrid, Text_PackedInAnyOrder_GivesTheSamePixels) {
  std::string backwards = printable();
  std::reverse(backwards.begin(), backwards.end());
  // Enough other glyphs to make the atlas grow.
  std::string many = "WMQ@%&" + printable();
  for (int c = 0xC0; c < 0x250; ++c) {
    many += {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
  }
  const Pixels plain = draw(printable(), true);
  for (const std::string& first : {backwards, many, std::string("7q")}) {
    const Difference aligned = difference(plain, draw(first, true));
    EXPECT_EQ(aligned.n, 0U) << "largest " << aligned.largest << " of 255";
  }
  // What would be without: on software Vulkan some pixels differ, so the test can fail.
  const Difference loose = difference(draw(printable(), false), draw(many, false));
  std::printf("not aligned: %zu values differ, by up to %d of 255\n", loose.n, loose.largest);
  if (context_->software()) {
    EXPECT_GT(loose.n, 0U);
  }
}

TEST_F(GlyphGrid, Glyphs_MoveByNoMoreThanHalfATexel) {
  Page page;
  ASSERT_TRUE(page.start(*context_).ok());
  std::vector<ImVec2> before;
  float farthest = 0.0F;
  int moved = 0;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(page.frame(false,
                           [](ImDrawList& list) {
                             list.AddText({3.4F, 5.0F}, ~0U, "moved by a little");
                             list.AddLine({10.0F, 40.0F}, {200.0F, 90.0F}, ~0U, 1.0F);
                           })
                    .ok());
    ImDrawData& data = *ImGui::GetDrawData();
    if (round == 1) {
      align_glyphs(data);
    }
    std::size_t i = 0;
    for (const ImDrawList* list : data.CmdLists) {
      for (const ImDrawVert& vertex : list->VtxBuffer) {
        if (round == 0) {
          before.push_back(vertex.pos);
          continue;
        }
        ASSERT_LT(i, before.size());
        const float dx = std::abs(vertex.pos.x - before[i].x);
        const float dy = std::abs(vertex.pos.y - before[i].y);
        farthest = std::max({farthest, dx, dy});
        moved += dx > 0.0F ? 1 : 0;
        ++i;
      }
    }
  }
  EXPECT_GT(moved, 0);
  EXPECT_LE(farthest, 0.26F);
}

}  // namespace
}  // namespace layerscope::gui
