// Shell: the window's frame around the panels — layout, keys, file browser, messages, and what the
// panels request. Draws with Dear ImGui, knows neither Vulkan nor GLFW. UI thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/session/compared_session.h"
#include "engine/session/session.h"
#include "engine/session/trace_export.h"
#include "gui/app/file_browser.h"
#include "gui/app/keymap.h"
#include "gui/app/palette.h"
#include "gui/app/remote_dialog.h"
#include "gui/app/settings.h"
#include "gui/app/system_dialog.h"
#include "gui/panels/ui.h"

namespace layerscope::gui {

/// What the program's main loop must do after a frame.
struct ShellRequests {
  bool quit = false;
  bool restyle = false;  ///< theme or text size changed
  bool redraw = false;   ///< a panel works in slices and wants the next frame soon
  std::string screenshot_path;
  std::string panel_path;  ///< save the part of the window below there
  ImVec2 panel_min{0.0F, 0.0F}, panel_max{0.0F, 0.0F};
  std::optional<RemoteChoice> attach;  ///< to this worker, instead of the present session
  bool detach = false;                 ///< back to a session in this process …
  std::string open_trace;              ///< show this trace once it is read
  std::string open_path;               ///< … which then loads this, unless empty
};

class Shell {
 public:
  /// `wake` makes the main loop draw a frame; any thread may call it.
  Shell(session::SessionLink& session, HeatmapRenderer& heatmaps, StoredState stored,
        std::function<void()> wake);

  /// Shows another session from the next frame on; the one before may then go.
  void set_session(session::SessionLink& session);

  Ui& ui() { return ui_; }
  [[nodiscard]] const StoredState& stored();

  /// A command chord (keymap.h) that the next frame carries out.
  void press(ImGuiKeyChord chord) { chords_.push_back(chord); }
  /// Command chords come through `press` alone, not from Dear ImGui's keys.
  void set_own_chords(bool own) { own_chords_ = own; }

  /// Takes the session's newest snapshot; `draw` shows it.
  void begin_frame();
  /// Draws one frame into the current ImGui frame of `size` pixels.
  void draw(float scale, double frame_seconds);
  /// Carries out what panels and keys asked for.
  ShellRequests after_frame();
  /// Whether the last frame showed every token where it should.
  [[nodiscard]] bool whole() const { return !partial_; }

  /// Loads a model or opens a trace (a folder opens the browser there). The present one stays if
  /// that fails.
  void load(const std::string& path);
  /// Chooses what the session is compared with.
  void choose_reference(const std::string& path);
  [[nodiscard]] session::ComparedSession& compared() { return compared_; }
  /// The prompt to set as soon as a model is loaded; `evaluate` also feeds it.
  void set_prompt(std::string text, bool chat, bool evaluate);
  /// That prompt has not been sent yet.
  [[nodiscard]] bool prompt_waiting() const { return prompt_wanted_; }
  /// Shows a message until it is dismissed.
  void notify(std::string text);
  /// Says that something went well; goes by itself unless `stays`.
  void inform(std::string text, bool stays = false);
  /// Where exports go; the working folder when empty.
  void set_export_folder(std::string folder) { export_folder_ = std::move(folder); }
  [[nodiscard]] const std::string& export_folder() const { return export_folder_; }
  [[nodiscard]] const std::string& message() const { return ui_.notice; }
  [[nodiscard]] bool dialog_running() const { return system_dialog_.running(); }
  /// Extra states for scripts, such as "app/validation_errors".
  void set_state(const std::string& id, std::string value) { extra_states_[id] = std::move(value); }

 private:
  void follow_session();
  void draw_regions(float width, float height);
  void draw_region(const char* name, const Rect& rect, Place place, ImGuiChildFlags flags,
                   ImVec2 padding);
  void draw_bottom(const Rect& rect);
  void draw_splitters(const Layout& layout, float width, float height);
  void splitter(const char* id, Splitter which, const Rect& rect, float width, float height);
  void draw_message();
  void draw_note(const std::string& id, std::string& note, ImU32 color);
  void draw_keys();
  void register_states();
  void handle_keys();
  void perform(Action action);
  void perform_if_allowed(Action action);
  void select_layer_head(int layer_step, int head_step);
  void poll_system_dialog();
  std::vector<PaletteEntry> palette_entries();
  void export_what_was_asked(const AppRequests& asked, ShellRequests& result);
  [[nodiscard]] const Panel* find_panel(const std::string& id) const;
  void register_link();
  void register_recording();
  void start_export(bool whole);
  void follow_export();

  session::SessionLink* session_;
  std::function<void()> wake_;
  session::ComparedSession compared_;
  StoredState stored_;
  Ui ui_;
  std::vector<PanelEntry> panels_;
  FileBrowser browser_;
  SystemDialog system_dialog_;
  RemoteDialog remote_dialog_;
  std::optional<RemoteChoice> attach_wanted_;
  std::string open_wanted_;
  std::string trace_wanted_;
  std::unique_ptr<session::TraceExport> export_;
  std::uint64_t export_error_ = 0;  ///< the session's error serial then
  float scale_ = 1.0F;
  CommandPalette palette_;
  std::string export_folder_;
  bool partial_ = false;  ///< the last frame's AppRequests::partial
  std::string info_;
  double info_until_ = 0.0;  ///< ImGui time; the note goes then
  std::string open_tab_;     ///< of the last frame
  std::string wanted_tab_;   ///< to be opened by the next frame
  std::uint64_t seen_error_ = 0;
  std::uint64_t seen_session_ = 0;
  std::shared_ptr<const session::ModelInfo> seen_model_;
  std::string wanted_prompt_;
  bool wanted_chat_ = false;
  bool prompt_wanted_ = false;
  bool evaluate_wanted_ = false;
  bool keys_visible_ = false;
  bool choosing_reference_ = false;  ///< what the browser is open for
  bool export_waits_ = false;        ///< for every tensor of the present tokens
  bool notice_of_session_ = false;
  bool own_chords_ = false;  ///< command chords come through press()
  std::vector<ImGuiKeyChord> chords_;
  LayoutSettings drag_start_;
  std::map<std::string, std::string> extra_states_;
};

/// "empty", "loading", "idle", "evaluating", "running"
const char* state_name(session::State state);

}  // namespace layerscope::gui
