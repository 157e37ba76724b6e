// Fonts: found through fontconfig, given to Dear ImGui's dynamic font atlas. UI thread.
//
// A regular, a bold and a monospaced face, each with fall-backs merged behind it for scripts that
// it lacks, chosen by the characters that they cover. Where fontconfig finds nothing usable, Dear
// ImGui's built-in font is taken. Only outline fonts work; colour emoji fonts are passed over.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Owns the font files' bytes; must live as long as the ImGui context uses them.
class FontSet {
 public:
  FontSet();
  ~FontSet();
  FontSet(const FontSet&) = delete;
  FontSet& operator=(const FontSet&) = delete;

  /// Adds the fonts to the atlas of the current ImGui context.
  Fonts load();
  /// "Inter, Inter Bold, Noto Mono; 9 fall-backs", for the log.
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct File;
  struct Face;
  const File* read(const std::string& path);
  ImFont* add(const std::vector<Face>& faces);

  std::vector<std::unique_ptr<File>> files_;
  std::string text_;
};

}  // namespace layerscope::gui
