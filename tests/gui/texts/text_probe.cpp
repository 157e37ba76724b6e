#include "tests/gui/texts/text_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cstring>
#include <map>

namespace layerscope::gui {
namespace {

/// Fonts have room above and below their letters; that much of a line may be cut or overlap.
constexpr float kAbove = 0.20F, kBelow = 0.18F;
constexpr float kOver = 3.0F;  ///< pixels of content beyond a window or column: rounding
constexpr float kSide = 1.5F;  ///< pixels, likewise for the edges of letters

std::string shown(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() > 60) {
    std::size_t end = 60;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
      --end;
    }
    text.resize(end);
    text += "…";
  }
  return text;
}

const ImGuiWindow* owner_of(const ImDrawList* list) {
  for (const ImGuiWindow* window : ImGui::GetCurrentContext()->Windows) {
    if (window->DrawList == list) {
      return window;
    }
  }
  return nullptr;
}

/// Some window around the text scrolls that way, so that what is cut can be brought into view.
bool scrolls(const ImGuiWindow* window, ImGuiAxis axis) {
  for (; window != nullptr; window = window->ParentWindow) {
    const bool barred = (window->Flags & ImGuiWindowFlags_NoScrollWithMouse) != 0;
    if (window->ScrollMax[axis] > 0.0F && !barred) {
      return true;
    }
    if ((window->Flags & ImGuiWindowFlags_ChildWindow) == 0) {
      return false;
    }
  }
  return false;
}

std::string place(const DrawnText& text, const ImGuiWindow* window) {
  return fmt::format("\"{}\" at {:.0f},{:.0f} in {}", shown(text.text), text.rect.Min.x,
                     text.rect.Min.y, window != nullptr ? window->Name : "no window");
}

void find_cut(const DrawnText& text, const ImGuiWindow* window, std::vector<std::string>& out) {
  const float left = text.clip.Min.x - text.rect.Min.x;
  const float right = text.rect.Max.x - text.clip.Max.x;
  if ((left > kSide || right > kSide) && !text.field && !scrolls(window, ImGuiAxis_X)) {
    out.push_back(fmt::format("{} is cut off {} by {:.0f} pixels", place(text, window),
                              right > kSide ? "on the right" : "on the left",
                              std::max(left, right)));
    return;
  }
  const float top = text.clip.Min.y - text.rect.Min.y - kAbove * text.size;
  const float bottom = text.rect.Max.y - text.clip.Max.y - kBelow * text.size;
  if ((top > 1.0F || bottom > 1.0F) && !text.field && !scrolls(window, ImGuiAxis_Y)) {
    out.push_back(fmt::format("{} is cut off {} by {:.0f} pixels", place(text, window),
                              bottom > 0.0F ? "below" : "above", std::max(top, bottom)));
  }
}

ImRect ink(const DrawnText& text) {
  ImRect rect = text.rect;
  rect.Min.y += kAbove * text.size;
  rect.Max.y -= kBelow * text.size;
  rect.ClipWith(text.clip);
  return rect;
}

void find_windows(std::vector<std::string>& out) {
  const ImGuiContext& g = *ImGui::GetCurrentContext();
  for (const ImGuiWindow* window : g.Windows) {
    if (!window->WasActive || window->Hidden || window->SkipItems) {
      continue;
    }
    const ImVec2 over{window->DC.CursorMaxPos.x - window->WorkRect.Max.x,
                      window->DC.CursorMaxPos.y - window->WorkRect.Max.y};
    const bool still = (window->Flags & ImGuiWindowFlags_NoScrollWithMouse) != 0;
    const bool sideways = (window->Flags & ImGuiWindowFlags_HorizontalScrollbar) != 0;
    // A table that scrolls is a window of its own whose columns are looked at below.
    const bool table = std::strstr(window->Name, "/##") != nullptr && window->ScrollMax.x > 0.0F;
    if (over.x > kOver && !sideways && !table) {
      out.push_back(
          fmt::format("the content of {} is {:.0f} pixels wider than it", window->Name, over.x));
    }
    // A frame's padding may be hidden; its text may not.
    if (over.y > kOver + ImGui::GetStyle().FramePadding.y && still) {
      out.push_back(
          fmt::format("the content of {} is {:.0f} pixels higher than it, and it does "
                      "not scroll",
                      window->Name, over.y));
    }
  }
}

void find_columns(std::vector<std::string>& out) {
  ImGuiContext& g = *ImGui::GetCurrentContext();
  for (int i = 0; i < g.Tables.GetMapSize(); ++i) {
    ImGuiTable* table = g.Tables.TryGetMapData(i);
    if (table == nullptr || table->LastFrameActive != g.FrameCount) {
      continue;
    }
    for (int n = 0; n < table->ColumnsCount; ++n) {
      const ImGuiTableColumn& column = table->Columns[n];
      const float over =
          std::max(column.ContentMaxXFrozen, column.ContentMaxXUnfrozen) - column.WorkMaxX;
      const bool sideways = (table->Flags & ImGuiTableFlags_ScrollX) != 0;
      if (column.IsEnabled && over > kOver && !sideways) {
        out.push_back(fmt::format("column {} (\"{}\") of a table in {} is {:.0f} pixels too narrow",
                                  n, ImGui::TableGetColumnName(table, n), table->OuterWindow->Name,
                                  over));
      }
    }
  }
}

void find_overlaps(const std::vector<DrawnText>& texts, std::vector<std::string>& out) {
  std::map<const ImGuiWindow*, std::vector<const DrawnText*>> by_root;
  for (const DrawnText& text : texts) {
    const ImGuiWindow* window = owner_of(text.list);
    const ImRect rect = ink(text);
    if (window != nullptr && rect.GetWidth() > 0.0F && rect.GetHeight() > 0.0F) {
      by_root[window->RootWindow].push_back(&text);
    }
  }
  for (auto& [root, all] : by_root) {
    std::sort(all.begin(), all.end(),
              [](const DrawnText* a, const DrawnText* b) { return a->rect.Min.y < b->rect.Min.y; });
    for (std::size_t i = 0; i < all.size(); ++i) {
      const ImRect first = ink(*all[i]);
      for (std::size_t j = i + 1; j < all.size() && all[j]->rect.Min.y < first.Max.y; ++j) {
        ImRect both = ink(*all[j]);
        both.ClipWith(first);
        if (both.GetWidth() > kSide && both.GetHeight() > 1.0F) {
          out.push_back(fmt::format("{} and \"{}\" stand on top of each other",
                                    place(*all[i], owner_of(all[i]->list)), shown(all[j]->text)));
        }
      }
    }
  }
}

}  // namespace

TextProbe& text_probe() {
  static TextProbe probe;
  return probe;
}

void TextProbe::add(const ImDrawList& list, ImFont* font, float size, ImVec2 position, ImU32 color,
                    const char* begin, const char* end, float wrap, const ImVec4* fine_clip) {
  end = end != nullptr ? end : begin + std::strlen(begin);
  while (end > begin && (end[-1] == ' ' || end[-1] == '\n')) {
    --end;
  }
  if (begin == end || (color & IM_COL32_A_MASK) == 0) {
    return;
  }
  DrawnText text;
  text.text.assign(begin, end);
  text.size = size;
  text.list = &list;
  const ImVec2 extent = font->CalcTextSizeA(size, FLT_MAX, wrap, begin, end);
  text.rect = ImRect(position.x, position.y, position.x + extent.x, position.y + extent.y);
  const ImVec4& clip = list._CmdHeader.ClipRect;
  text.clip = ImRect(clip.x, clip.y, clip.z, clip.w);
  if (fine_clip != nullptr) {
    text.clip.ClipWith(ImRect(fine_clip->x, fine_clip->y, fine_clip->z, fine_clip->w));
  }
  text.clip.ClipWith(ImRect(ImVec2(0.0F, 0.0F), ImGui::GetIO().DisplaySize));
  // A hint stands in a field, but does not scroll.
  const bool hint = color == ImGui::GetColorU32(ImGuiCol_TextDisabled);
  text.field =
      (ImGui::GetCurrentContext()->LastItemData.ItemFlags & ImGuiItemFlags_Inputable) != 0 && !hint;
  texts_.push_back(std::move(text));
}

std::vector<std::string> TextProbe::problems() const {
  std::vector<std::string> out;
  for (const DrawnText& text : texts_) {
    const ImGuiWindow* window = owner_of(text.list);
    if (window == nullptr || !window->Hidden) {  // a tooltip is measured before it is shown
      find_cut(text, window, out);
    }
  }
  find_overlaps(texts_, out);
  find_windows(out);
  find_columns(out);
  if (texts_.empty()) {
    out.emplace_back("no text was drawn at all");
  }
  return out;
}

}  // namespace layerscope::gui

// The linker sends calls of AddText here (--wrap) and names the real ones __real_….
#define LS_SHORT "_ZN10ImDrawList7AddTextERK6ImVec2jPKcS4_"
#define LS_LONG "_ZN10ImDrawList7AddTextEP6ImFontfRK6ImVec2jPKcS6_fPK6ImVec4"

void real_short(ImDrawList* list, const ImVec2& at, ImU32 color, const char* begin,
                const char* end) __asm__("__real_" LS_SHORT);
void real_long(ImDrawList* list, ImFont* font, float size, const ImVec2& at, ImU32 color,
               const char* begin, const char* end, float wrap,
               const ImVec4* clip) __asm__("__real_" LS_LONG);
void wrap_short(ImDrawList* list, const ImVec2& at, ImU32 color, const char* begin,
                const char* end) __asm__("__wrap_" LS_SHORT);
void wrap_long(ImDrawList* list, ImFont* font, float size, const ImVec2& at, ImU32 color,
               const char* begin, const char* end, float wrap,
               const ImVec4* clip) __asm__("__wrap_" LS_LONG);

void wrap_short(ImDrawList* list, const ImVec2& at, ImU32 color, const char* begin,
                const char* end) {
  layerscope::gui::text_probe().add(*list, list->_Data->Font, list->_Data->FontSize, at, color,
                                    begin, end, 0.0F, nullptr);
  real_short(list, at, color, begin, end);
}

void wrap_long(ImDrawList* list, ImFont* font, float size, const ImVec2& at, ImU32 color,
               const char* begin, const char* end, float wrap, const ImVec4* clip) {
  layerscope::gui::text_probe().add(*list, font != nullptr ? font : list->_Data->Font,
                                    size != 0.0F ? size : list->_Data->FontSize, at, color, begin,
                                    end, wrap, clip);
  real_long(list, font, size, at, color, begin, end, wrap, clip);
}
