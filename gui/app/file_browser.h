// FileBrowser: the program's own open dialog, a modal window. UI thread.
//
// Places on the left, a sortable list in the middle, a preview read from the file's header on the
// right. Everything works with the mouse and with the keyboard: arrows, Enter, Backspace (up), Esc,
// typing finds a name; in the path field Tab completes and Enter goes there.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gui/app/browser_model.h"
#include "gui/panels/ui.h"

struct ImGuiInputTextCallbackData;

namespace layerscope::gui {

/// What is chosen, and so which files are shown first.
enum class BrowserPurpose : std::uint8_t { kOpen, kReference };

class FileBrowser {
 public:
  /// `on_change` wakes the window when a folder or preview has been read (any thread).
  explicit FileBrowser(std::function<void()> on_change) : worker_(std::move(on_change)) {}

  /// Opens the dialog in `folder` (the working folder when empty or gone).
  void open(const std::string& folder, const std::vector<std::string>& recent,
            BrowserPurpose purpose = BrowserPurpose::kOpen);
  [[nodiscard]] bool visible() const { return visible_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }

  /// Draws the dialog; the chosen file's path when one was opened in this frame.
  std::optional<std::string> draw(Ui& ui);

 private:
  void go_to(const std::string& folder);
  void select(int index);
  void activate(int index);
  void open_path_field();
  [[nodiscard]] std::string complete_path(const std::string& typed) const;
  void rearrange();
  void take_results();
  void keyboard(Ui& ui);
  void draw_contents(Ui& ui);
  void draw_path_row(Ui& ui);
  void draw_places(Ui& ui);
  void draw_list(Ui& ui);
  void draw_preview(Ui& ui);
  static void draw_trace_preview(Ui& ui, const TracePreview& trace);
  void draw_buttons(Ui& ui);
  static int on_path_key(ImGuiInputTextCallbackData* data);

  BrowserWorker worker_;
  BrowserPurpose purpose_ = BrowserPurpose::kOpen;
  bool visible_ = false;
  bool opening_ = false;
  bool path_active_ = false;
  bool scroll_to_selected_ = false;
  std::string folder_;
  std::string path_text_;
  std::string error_;
  std::string pending_select_;  ///< name to select when the listing arrives
  std::vector<std::pair<std::string, std::string>> places_;  ///< name, folder
  std::vector<BrowserEntry> all_;
  std::vector<BrowserEntry> shown_;
  bool listing_ = false;
  int filter_ = 0;
  BrowserSort sort_ = BrowserSort::kName;
  bool descending_ = false;
  int selected_ = -1;
  std::string typed_;
  double typed_at_ = 0.0;
  std::string preview_path_;
  std::optional<PreviewResult> preview_;
  std::uint64_t available_ = 0;
  std::string chosen_;
};

}  // namespace layerscope::gui
