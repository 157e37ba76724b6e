// TextProbe: every text of the frame laid out last, with where it stands and what cuts it.
// Owned by the UI thread of the program under test. text_probe.cpp takes the place of
// ImDrawList::AddText (linker option --wrap), through which every text goes.
#pragma once

#include <imgui_internal.h>

#include <string>
#include <vector>

namespace layerscope::gui {

/// One call of AddText.
struct DrawnText {
  std::string text;
  ImRect rect;     ///< of its lines, pixels
  ImRect clip;     ///< what may be seen
  float size = 0;  ///< of the font, pixels
  const ImDrawList* list = nullptr;
  bool field = false;  ///< typed text, which scrolls in its field
};

class TextProbe {
 public:
  void clear() { texts_.clear(); }
  void add(const ImDrawList& list, ImFont* font, float size, ImVec2 position, ImU32 color,
           const char* begin, const char* end, float wrap, const ImVec4* fine_clip);
  /// Texts that are cut off, texts on top of each other, and windows and columns whose content is
  /// larger than they are; a sentence each. Where one scrolls, that is no fault.
  [[nodiscard]] std::vector<std::string> problems() const;
  [[nodiscard]] std::size_t size() const { return texts_.size(); }

 private:
  std::vector<DrawnText> texts_;
};

/// The probe that AddText reports to.
TextProbe& text_probe();

}  // namespace layerscope::gui
