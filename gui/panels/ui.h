// Ui: what every panel gets — the shared selection, commands, settings, and the registry of widgets
// and readable state that the script driver uses. Owned by the UI thread.
#pragma once

#include <imgui.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/session/compared_session.h"
#include "engine/session/session.h"
#include "engine/session/snapshot.h"
#include "gui/view/drawn.h"
#include "gui/view/fault_view.h"
#include "gui/view/finding_view.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui {

/// One shared selection: everything follows it.
struct Selection {
  int position = -1;  ///< selected step; −1 follows the newest
  int layer = 0;
  int head = 0;
  bool head_open = true;  ///< detail map shown beside the overview
  int key_position = -1;  ///< key under the crosshair, −1 none
  std::string tensor;     ///< key of a view::TensorSource: what the Tensors tab shows; empty: none
};

/// Settings that are remembered between starts (written by gui/app).
struct Settings {
  int color_map = 0;  ///< ColorMap
  bool dark = true;
  float font_scale = 1.0F;
  bool log_attention = false;
  bool show_scores = false;
  int token_color = 0;  ///< 0 probability, 1 entropy, 2 rank, 3 finding
  int norms_tap = 0;
  int norms_statistic = 0;  ///< backend::Statistic
  bool norms_linear = false;
  bool lens = true;  ///< the logit lens is open
  /// Tokens a second while it runs, of a session here and of a recording; 0: as fast as it goes.
  float pace = 0.0F, replay_pace = 12.0F;
  std::string last_folder;
  std::vector<std::string> recent;  ///< most recent first, at most 12
};

/// Records where widgets are and what can be asserted, for the script driver and for tests.
/// Cleared at the start of each frame.
class WidgetRegistry {
 public:
  struct Widget {
    ImVec2 min, max;
    bool visible;  ///< inside the clip rectangle
  };
  void clear();
  /// Records the last ImGui item under `id` ("attention/layer 3/head 5").
  void mark(std::string_view id);
  /// Records a rectangle in screen coordinates.
  void mark_rect(std::string_view id, ImVec2 min, ImVec2 max);
  /// Records a readable value ("logits/top1" → " frog").
  void state(std::string_view id, std::string value);
  [[nodiscard]] const Widget* find(std::string_view id) const;
  [[nodiscard]] const std::string* find_state(std::string_view id) const;
  [[nodiscard]] std::vector<std::string> ids() const;

 private:
  std::map<std::string, Widget, std::less<>> widgets_;
  std::map<std::string, std::string, std::less<>> states_;
};

struct Fonts {
  ImFont* regular = nullptr;
  ImFont* bold = nullptr;
  ImFont* mono = nullptr;
};

/// Requests from panels to the application shell, handled after the frame.
struct AppRequests {
  bool open_file_dialog = false;
  bool open_system_dialog = false;
  bool open_remote_dialog = false;
  bool open_reference_dialog = false;  ///< choose what to compare with
  bool export_trace = false;           ///< save the session as a trace
  bool export_whole_trace = false;     ///< likewise with every tensor, evaluated again
  bool detach = false;                 ///< leave the worker or the recording
  bool show_keys = false;
  bool quit = false;
  bool redraw = false;    ///< A panel works in slices: draw the next frame without waiting.
  bool partial = false;   ///< What a panel shows lacks tokens that a next frame will have.
  std::string open_path;  ///< load this model
  std::string show_tab;   ///< open this bottom tab
  bool show_palette = false;
  bool open_demo = false;       ///< load the demo and feed it a prompt
  bool copy_command = false;    ///< the command line that repeats what is shown
  bool findings_html = false;   ///< save the findings as a page
  std::string panel_png;        ///< save this panel's picture
  std::string panel_csv;        ///< save this panel's data
  std::string panel_command;    ///< copy the command line that computes it again
  std::string screenshot_path;  ///< save the window as PNG
};

/// Faults asked for but not yet in force: once they are, as many tokens are generated again.
struct FaultRequest {
  bool waiting = false;
  std::vector<std::string> wanted;
  int tokens = 0;
  bool evaluate = false;  ///< at least the prompt was evaluated before
  std::uint64_t session_serial = 0, error_serial = 0;
  std::string error;  ///< why the last request was refused
};

/// The token that panels asked the worker to evaluate again (inspect.h).
struct DetailRequest {
  std::uint64_t serial = 0;  ///< of the frame last asked for
  bool lens = false;
  double at = -1.0;  ///< seconds of the steady clock then
};

/// Parts of a map that panels asked the worker to bring to the host, by InspectAttention::use.
struct AttentionRequest {
  session::InspectAttention part;
  std::uint64_t last_serial = 0;  ///< of its last query's frame then
};

struct Ui {
  session::SessionLink* session = nullptr;
  session::ComparedSession* compared = nullptr;  ///< `session`, where a reference can stand by it
  std::shared_ptr<const session::Snapshot> snapshot;  ///< never null
  HeatmapRenderer* heatmaps = nullptr;  ///< null in panel tests: panels then draw a flat rectangle
  WidgetRegistry widgets;
  Selection selection;
  Settings settings;
  Fonts fonts;
  AppRequests requests;
  view::FindingBadges badges;  ///< kept up to date by follow_diagnosis
  view::HealthyText healthy;   ///< likewise
  FaultRequest fault_request;  ///< likewise
  DetailRequest detail_request;
  std::array<AttentionRequest, 2> attention_requests;
  /// The newest picture of the engine, if it shows tokens that are still there; null: none.
  const view::Drawn* drawn = nullptr;
  bool pictures = false;  ///< `look` is answered: the session is in this process
  /// What the panels drawn in this frame want to see in the next pictures.
  backend::DrawRequest look;
  std::string notice;       ///< message shown over the window; empty: none
  std::string prompt_text;  ///< the editor's text
  bool prompt_chat = true;
  float scale = 1.0F;          ///< DPI scale
  double frame_seconds = 0.0;  ///< of the last frame; 0: not every frame is drawn
  std::uint64_t frames_dropped = 0;
  std::string demo_path;          ///< the demo model; empty: not installed
  bool focus_search = false;      ///< the token search is to take the keyboard
  bool beside_reference = false;  ///< the Tensors tab shows A, B and their difference

  void send(session::Command command) {
    if (session != nullptr) {
      session->send(std::move(command));
    }
  }
  /// The position that panels show: the selected one, or the newest when following; −1 when none.
  [[nodiscard]] int shown_position() const;
  [[nodiscard]] const capture::TokenFrame* shown_frame() const;
  /// Which of A, B and their difference is shown.
  [[nodiscard]] session::Side side() const {
    return compared != nullptr ? compared->side() : session::Side::kA;
  }
};

/// A panel: its settings and one draw function. Draws into the current ImGui window, whose content
/// region is the panel's place. Never calls the engine except through Ui::send.
class Panel {
 public:
  virtual ~Panel() = default;
  [[nodiscard]] virtual const char* id() const = 0;     ///< "attention"
  [[nodiscard]] virtual const char* title() const = 0;  ///< "Attention"; may change by the frame
  virtual void draw(Ui& ui) = 0;
  /// What it shows as comma-separated values with a line of names; empty: nothing to save.
  [[nodiscard]] virtual std::string csv(const Ui& /*ui*/) const { return {}; }
};

/// Where a panel stands in the window's layout.
enum class Place : std::uint8_t { kTop, kLeft, kCentre, kRight, kBottom, kStatus };

struct PanelEntry {
  Place place;
  std::unique_ptr<Panel> panel;
};

/// All panels, in the order in which they are shown (registry.cpp: one line per panel).
std::vector<PanelEntry> make_panels();

}  // namespace layerscope::gui
