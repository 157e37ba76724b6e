// Command palette: everything that can be done, found by typing a few letters of it. Matching and
// ranking are pure; the shell fills the list and carries out what was chosen. UI thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gui/panels/ui.h"

namespace layerscope::gui {

struct PaletteEntry {
  std::string group;  ///< "Generate", "Go to"
  std::string text;   ///< "Run or pause"
  std::string key;    ///< "F5"; may be empty
  std::function<void()> act;
};

/// How well `needle`'s letters are found in `text`, in order: higher is better, −1 not at all. Runs
/// of neighbours and beginnings of words count more.
int match_score(std::string_view needle, std::string_view text);

/// Indices of the entries that match, best first, at most `most`; all in order for an empty needle.
std::vector<std::size_t> rank_entries(const std::vector<PaletteEntry>& entries,
                                      std::string_view needle, std::size_t most);

class CommandPalette {
 public:
  /// Opens with nothing typed.
  void open() { opening_ = true; }
  [[nodiscard]] bool visible() const { return visible_; }
  /// Draws it; carries out the chosen entry after it has closed.
  void draw(Ui& ui, const std::function<std::vector<PaletteEntry>()>& list, float scale);

 private:
  bool opening_ = false;
  bool visible_ = false;
  std::string typed_;
  std::vector<PaletteEntry> entries_;
  std::vector<std::size_t> shown_;
  int chosen_ = 0;
};

}  // namespace layerscope::gui
