// Top bar: brand, file menu, what is loaded, the transport, and how fast it goes. UI thread.
#include <fmt/format.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "gui/panels/actions.h"
#include "gui/panels/diagnosis.h"
#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/bar_fit.h"
#include "gui/view/history_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

enum class Icon : std::uint8_t { kNone, kRestart, kBack, kStep, kRun, kPause, kStop };

void draw_icon(ImDrawList* draw, Icon icon, ImVec2 c, float r, ImU32 ink) {
  const auto triangle = [&](float x, float way) {
    draw->AddTriangleFilled({x - way * r * 0.8F, c.y - r}, {x - way * r * 0.8F, c.y + r},
                            {x + way * r * 0.8F, c.y}, ink);
  };
  const auto bar = [&](float x, float half) {
    draw->AddRectFilled({x - half, c.y - r}, {x + half, c.y + r}, ink);
  };
  switch (icon) {
    case Icon::kNone:
      break;
    case Icon::kRestart:
      bar(c.x - r * 1.1F, r * 0.16F);
      triangle(c.x - r * 0.2F, -1.0F);
      triangle(c.x + r * 0.9F, -1.0F);
      break;
    case Icon::kBack:
      triangle(c.x, -1.0F);
      break;
    case Icon::kStep:
      triangle(c.x - r * 0.2F, 1.0F);
      bar(c.x + r * 0.9F, r * 0.18F);
      break;
    case Icon::kRun:
      triangle(c.x, 1.0F);
      break;
    case Icon::kPause:
      bar(c.x - r * 0.5F, r * 0.28F);
      bar(c.x + r * 0.5F, r * 0.28F);
      break;
    case Icon::kStop:
      draw->AddRectFilled({c.x - r * 0.85F, c.y - r * 0.85F}, {c.x + r * 0.85F, c.y + r * 0.85F},
                          ink, r * 0.2F);
  }
}

struct Transport {
  Icon icon;
  const char* id;
  const char* label;
  const char* key;
  const char* help;
  bool primary;
  bool enabled;
  void (*act)(Ui&);
};

float transport_width(const Ui& ui, const Transport& t, bool with_key) {
  float width = px(ui, 34.0F);
  if (t.label[0] != '\0') {
    width += ImGui::CalcTextSize(t.label).x + px(ui, 6.0F);
  }
  if (with_key && t.key[0] != '\0') {
    width += ImGui::CalcTextSize(t.key).x + px(ui, 7.0F);
  }
  return width;
}

void transport_button(Ui& ui, const Transport& t, bool with_key) {
  const Palette& c = colors(ui);
  const ImVec2 size{transport_width(ui, t, with_key), button_size(ui, "X").y};
  ImGui::PushID(t.id);
  ImGui::BeginDisabled(!t.enabled);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const bool pressed = ImGui::InvisibleButton("transport", size, ImGuiButtonFlags_EnableNav);
  const bool hovered = ImGui::IsItemHovered();
  ImGui::EndDisabled();
  ImGui::PopID();
  ui.widgets.mark(t.id);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const ImVec2 max{min.x + size.x, min.y + size.y};
  ImU32 fill = hovered ? c.hover : c.card;
  ImU32 ink = c.text;
  ImU32 quiet = c.quiet;
  if (t.primary && t.enabled) {
    fill = hovered ? mix(c.accent_fill, c.accent, 0.2F) : c.accent_fill;
    ink = c.accent_text;
    quiet = mix(c.accent_fill, c.accent_text, 0.75F);
  } else if (!t.enabled) {
    fill = c.panel;
    ink = c.faint;
    quiet = c.faint;
  }
  draw->AddRectFilled(min, max, fill, px(ui, 4.0F));
  draw->AddRect(min, max, t.primary && t.enabled ? c.accent_fill : c.border, px(ui, 4.0F));
  draw_icon(draw, t.icon, {min.x + px(ui, 17.0F), (min.y + max.y) / 2.0F}, px(ui, 5.5F), ink);
  float x = min.x + px(ui, 31.0F);
  const float y = min.y + ImGui::GetStyle().FramePadding.y;
  if (t.label[0] != '\0') {
    draw->AddText({x, y}, ink, t.label);
    x += ImGui::CalcTextSize(t.label).x + px(ui, 7.0F);
  }
  if (with_key && t.key[0] != '\0') {
    draw->AddText({x, y}, quiet, t.key);
  }
  tip(fmt::format("{}{}{}", t.help, t.key[0] != '\0' ? "  ·  " : "", t.key));
  if (pressed && t.enabled) {
    t.act(ui);
  }
}

std::array<Transport, 5> transport(const Ui& ui) {
  const bool ready = has_model(ui);
  const bool running = ui.snapshot->state == session::State::kRunning;
  const bool evaluating = ui.snapshot->state == session::State::kEvaluating;
  return {{
      {Icon::kRestart, "transport/restart", "", "Ctrl+R",
       "Restart: feed the prompt again from token 0", false, ready, apply_prompt},
      {Icon::kBack, "transport/back", "Back", "Shift+F10", "Take the newest token back", false,
       can_step_back(ui), step_back},
      {Icon::kStep, "transport/step", "Step", "F10", "Generate one token", true,
       ready && !running && !evaluating, step},
      {running ? Icon::kPause : Icon::kRun, "transport/run", running ? "Pause" : "Run", "F5",
       running ? "Pause after the current token" : "Generate until the end", false,
       ready && !evaluating, run_or_pause},
      {Icon::kStop, "transport/stop", "", "Shift+F5", "Stop at once, also loading and evaluation",
       false, is_busy(ui), stop},
  }};
}

/// One piece of the bar: how wide it is and how it draws itself.
struct Piece {
  float width;
  int priority;  ///< 0 always stays
  std::function<void()> draw;
};

class TopBar final : public Panel {
 public:
  explicit TopBar(std::shared_ptr<TabTitles> titles) : titles_(std::move(titles)) {}
  [[nodiscard]] const char* id() const override { return "topbar"; }
  [[nodiscard]] const char* title() const override { return "Top bar"; }
  void draw(Ui& ui) override;

 private:
  static void file_menu(Ui& ui);
  static void export_menu(Ui& ui);
  static void side_switch(Ui& ui, std::vector<Piece>& left);
  static void add_chip(Ui& ui, std::vector<Piece>& to, int priority, const char* id,
                       std::string label, ImU32 color, std::string help);
  static void model_chips(Ui& ui, std::vector<Piece>& left);
  static void recording_chip(Ui& ui, std::vector<Piece>& left,
                             const session::RecordingInfo& recording);
  static void speed_chips(Ui& ui, std::vector<Piece>& right);
  static void pace_choice(Ui& ui, std::vector<Piece>& centre);
  static void fault_chip(Ui& ui, std::vector<Piece>& right);

  std::shared_ptr<TabTitles> titles_;
};

void TopBar::export_menu(Ui& ui) {
  const auto item = [&ui](const std::string& id, const char* label, const char* key, bool enabled) {
    const bool chosen = ImGui::MenuItem(label, key, false, enabled);
    ui.widgets.mark(id);
    return chosen;
  };
  const bool open = ImGui::BeginMenu("Export");
  ui.widgets.mark("menu/file/export");
  if (!open) {
    return;
  }
  struct Target {
    const char* panel;
    const char* label;
  };
  static constexpr std::array kTargets{Target{"attention", "Attention"}, Target{"tokens", "Tokens"},
                                       Target{"logits", "Next token"},
                                       Target{"bottom", "Bottom tab"}};
  if (item("menu/file/screenshot", "Window as PNG", "F12", true)) {
    ui.requests.screenshot_path = "layerscope.png";
  }
  for (const Target& target : kTargets) {
    if (item(fmt::format("menu/file/export/{}/png", target.panel),
             fmt::format("{} as PNG", target.label).c_str(), "", true)) {
      ui.requests.panel_png = target.panel;
    }
  }
  ImGui::Separator();
  const bool tokens = ui.snapshot->n_frames > 0;
  for (const Target& target : kTargets) {
    if (item(fmt::format("menu/file/export/{}/csv", target.panel),
             fmt::format("{} as CSV", target.label).c_str(), "", tokens)) {
      ui.requests.panel_csv = target.panel;
    }
  }
  ImGui::Separator();
  const bool model = ui.snapshot->model != nullptr;
  for (const Target& target : kTargets) {
    if (item(fmt::format("menu/file/export/{}/command", target.panel),
             fmt::format("Copy {} as command", target.label).c_str(), "", model)) {
      ui.requests.panel_command = target.panel;
    }
  }
  ImGui::Separator();
  if (item("menu/file/export/trace", "Session as trace", "", tokens)) {
    ui.requests.export_trace = true;
  }
  if (item("menu/file/export/whole trace", "Session as trace, every tensor", "", tokens)) {
    ui.requests.export_whole_trace = true;
  }
  if (item("menu/file/export/findings", "Findings as a page", "", model)) {
    ui.requests.findings_html = true;
  }
  if (item("menu/file/export/command", "Copy the run as command", "Ctrl+Shift+C", model)) {
    ui.requests.copy_command = true;
  }
  ImGui::EndMenu();
}

void TopBar::file_menu(Ui& ui) {
  if (button(ui, "menu/file", "File ▾", Look::kPlain,
             "Open a model or a trace, recent files, export")) {
    ImGui::OpenPopup("file menu");
  }
  if (!begin_popup("file menu")) {
    return;
  }
  const auto item = [&ui](const char* id, const char* label, const char* key) {
    const bool chosen = ImGui::MenuItem(label, key);
    ui.widgets.mark(id);
    return chosen;
  };
  if (item("menu/file/open", "Open…", "Ctrl+O")) {
    ui.requests.open_file_dialog = true;
  }
  if (item("menu/file/open system", "System dialog…", "Ctrl+Shift+O")) {
    ui.requests.open_system_dialog = true;
  }
  if (item("menu/file/remote", "Open remote…", "Ctrl+Shift+R")) {
    ui.requests.open_remote_dialog = true;
  }
  ImGui::BeginDisabled(ui.settings.recent.empty());
  const bool recent = ImGui::BeginMenu("Recent");
  ui.widgets.mark("menu/file/recent");
  if (recent) {
    for (std::size_t i = 0; i < ui.settings.recent.size(); ++i) {
      ImGui::PushID(static_cast<int>(i));
      if (item(fmt::format("menu/file/recent/{}", i).c_str(), ui.settings.recent[i].c_str(), "")) {
        ui.requests.open_path = ui.settings.recent[i];
      }
      ImGui::PopID();
    }
    ImGui::EndMenu();
  }
  ImGui::EndDisabled();
  const session::LinkState link = ui.session != nullptr ? ui.session->link() : session::LinkState{};
  const bool elsewhere = link.remote || link.recording;
  ImGui::BeginDisabled(ui.snapshot->model == nullptr && !elsewhere);
  if (item("menu/file/close",
           link.remote      ? "Leave the worker"
           : link.recording ? "Close trace"
                            : "Close model",
           "")) {
    if (elsewhere) {
      ui.requests.detach = true;
    } else {
      ui.send(session::Unload{});
    }
  }
  ImGui::EndDisabled();
  ImGui::Separator();
  export_menu(ui);
  if (item("menu/file/palette", "Command palette…", "Ctrl+P")) {
    ui.requests.show_palette = true;
  }
  if (item("menu/file/theme", ui.settings.dark ? "Light theme" : "Dark theme", "Ctrl+T")) {
    ui.settings.dark = !ui.settings.dark;
  }
  if (item("menu/file/keys", "Keys", "F1")) {
    ui.requests.show_keys = true;
  }
  ImGui::Separator();
  if (item("menu/file/quit", "Quit", "Ctrl+Q")) {
    ui.requests.quit = true;
  }
  ImGui::EndPopup();
}

/// A, B or their difference: what every panel shows.
void TopBar::side_switch(Ui& ui, std::vector<Piece>& left) {
  if (ui.compared == nullptr || !ui.compared->has_sides()) {
    return;
  }
  struct Choice {
    session::Side side;
    const char* id;
    const char* help;
  };
  static constexpr std::array kChoices{
      Choice{session::Side::kA, "side/A", "Every panel shows this session"},
      Choice{session::Side::kB, "side/B", "Every panel shows the reference"},
      Choice{session::Side::kDifference, "side/difference",
             "Every panel shows A − B: attention and probabilities as magnitudes, norms of a − b "
             "where both hold whole tensors, else differences of norms"}};
  for (const Choice& choice : kChoices) {
    const char* label = session::side_name(choice.side);
    left.push_back(
        {button_size(ui, label).x, 1, [&ui, choice, label] {
           const bool on = ui.compared->side() == choice.side;
           if (button(ui, choice.id, label, on ? Look::kOn : Look::kPlain, choice.help)) {
             ui.compared->set_side(choice.side);
           }
         }});
  }
}

void TopBar::add_chip(Ui& ui, std::vector<Piece>& to, int priority, const char* id,
                      std::string label, ImU32 color, std::string help) {
  const float width = button_size(ui, label).x;
  to.push_back(
      {width, priority, [&ui, id, label = std::move(label), color, help = std::move(help)] {
         chip(ui, id, label, color, help);
       }});
}

void TopBar::model_chips(Ui& ui, std::vector<Piece>& left) {
  const session::ModelInfo* model = ui.snapshot->model.get();
  if (model == nullptr) {
    return;
  }
  const std::size_t slash = model->path.find_last_of('/');
  const std::string file = slash == std::string::npos ? model->path : model->path.substr(slash + 1);
  add_chip(ui, left, 3, "topbar/file", view::cut_text(file.empty() ? model->name : file, 36), 0,
           model->path);
  const std::string detail = fmt::format("{} · {} · {} · {} layers × {} heads", model->architecture,
                                         view::count_text(model->n_params), model->quantization,
                                         model->n_layers, model->n_heads);
  if (const auto& recording = ui.snapshot->recording; recording != nullptr) {
    recording_chip(ui, left, *recording);
    return;
  }
  if (ui.snapshot->state == session::State::kEmpty) {
    add_chip(
        ui, left, 4, "topbar/listed",
        fmt::format("{} · {} · listed, cannot be run",
                    model->architecture.empty() ? "no architecture" : model->architecture,
                    model->quantization),
        colors(ui).warn,
        fmt::format("{}\n\nIts header stands in the Model tab, its weights in the Tensors tab.",
                    ui.snapshot->error));
    return;
  }
  ui.widgets.state("topbar/model", detail);
  add_chip(ui, left, 8, "topbar/detail", detail, 0,
           fmt::format("{}\n{} parameters, {} of weights\nhidden {}, feed-forward {}\n{} heads of "
                       "{}, {} for keys and values\nvocabulary {} rows, {} tokens, {} padded\n"
                       "trained on a context of {}",
                       model->name, view::grouped(model->n_params),
                       view::bytes_text(model->weight_bytes), model->hidden, model->ffn,
                       model->n_heads, model->head_dim, model->n_kv_heads, model->vocab_rows,
                       model->n_tokens, model->n_padded, model->train_context));
  std::string path = ui.snapshot->backend_text;
  std::string reason = ui.snapshot->backend_reason;
  if (ui.heatmaps != nullptr) {
    reason += fmt::format("\n\nPicture path: {}\n{}", ui.heatmaps->path_text(),
                          ui.heatmaps->path_reason());
    // "staging · software Vulkan (llvmpipe)": the chip says the first part, hovering the rest.
    const std::string_view full = ui.heatmaps->path_text();
    path += fmt::format(" · {}", full.substr(0, full.find(" · ")));
  }
  add_chip(ui, left, 4, "topbar/backend", path, colors(ui).good, reason);
}

/// A recording has no file to measure: its format, and what it does not hold.
void TopBar::recording_chip(Ui& ui, std::vector<Piece>& left,
                            const session::RecordingInfo& recording) {
  std::string help = fmt::format(
      "{}\n{}\n{} positions{}", recording.format, recording.path, recording.n_positions,
      recording.capture.empty() ? std::string() : fmt::format(", captured: {}", recording.capture));
  for (const std::string* missing : {&recording.attention, &recording.norms, &recording.logits,
                                     &recording.tensors, &recording.texts}) {
    help += missing->empty() ? "" : "\n\n" + *missing;
  }
  for (const std::string& note : recording.notes) {
    help += "\n\n" + note;
  }
  ui.widgets.state("topbar/recording", help);
  add_chip(ui, left, 2, "topbar/recording",
           fmt::format("recording · {}", view::cut_text(recording.format, 28)), colors(ui).accent,
           help);
}

/// What is broken on purpose is never to be mistaken for the model's own doing.
void TopBar::fault_chip(Ui& ui, std::vector<Piece>& right) {
  const std::vector<std::string>& faults = ui.snapshot->faults;
  if (faults.empty()) {
    return;
  }
  std::string help = "Injected on purpose, in the Faults tab:";
  for (const std::string& fault : faults) {
    help += "\n" + view::fault_title(ui.snapshot->model->faults, fault);
  }
  // The width is measured in the font that the chip is drawn in.
  const FontScope font(ui.fonts.mono);
  add_chip(ui, right, 1, "topbar/faults",
           fmt::format("{} fault{} active", faults.size(), faults.size() == 1 ? "" : "s"),
           colors(ui).warn, help);
}

void TopBar::speed_chips(Ui& ui, std::vector<Piece>& right) {
  const session::Snapshot& s = *ui.snapshot;
  if (s.model == nullptr || s.state == session::State::kEmpty) {
    return;
  }
  const Palette& c = colors(ui);
  const FontScope font(ui.fonts.mono);
  const auto plain = [&ui, &right](int priority, const char* id, const std::string& label,
                                   ImU32 color, const char* help) {
    right.push_back({ImGui::CalcTextSize(label.c_str()).x, priority, [&ui, id, label, color, help] {
                       ImGui::SetCursorPosY(ImGui::GetCursorPosY() +
                                            ImGui::GetStyle().FramePadding.y);
                       text(color, label);
                       ui.widgets.mark(id);
                       tip(help);
                     }});
  };
  ui.widgets.state("topbar/speed", fmt::format("{:.1f} tok/s", s.timing.decode_tok_s));
  ui.widgets.state("topbar/memory",
                   fmt::format("{} weights and caches, {} of {} history, {} rows and {} statistics "
                               "dropped",
                               view::bytes_text(s.device_bytes), view::bytes_text(s.history.host()),
                               view::bytes_text(s.history.budget), s.history.without_rows,
                               s.history.without_statistics));
  ui.widgets.state("history/bytes", fmt::format("{}", s.history.host()));
  ui.widgets.state("history/budget", fmt::format("{}", s.history.budget));
  ui.widgets.state("history/without_rows", fmt::format("{}", s.history.without_rows));
  ui.widgets.state("history/without_statistics", fmt::format("{}", s.history.without_statistics));
  if (s.timing.decode_tok_s > 0.0) {
    plain(
        4, "topbar/speed",
        fmt::format("{:.{}f} tok/s", s.timing.decode_tok_s, s.timing.decode_tok_s < 100.0 ? 1 : 0),
        c.text, "Tokens per second over the last run, capture included");
    plain(6, "topbar/ms", fmt::format("{:.2f} ms", s.timing.ms_per_token), c.quiet,
          "Milliseconds per token, smoothed over the last tokens");
  }
  add_chip(ui, right, 7, "topbar/memory",
           view::bytes_text(s.device_bytes + s.history.host() + s.history.device_rows), 0,
           fmt::format("Weights and caches {}\n{}", view::bytes_text(s.device_bytes),
                       view::history_lines(s)));
  const bool nearly_full = s.n_frames * 10 >= s.context * 9 && s.context > 0;
  add_chip(ui, right, 2, "topbar/context", fmt::format("ctx {} / {}", s.n_frames, s.context),
           nearly_full ? c.warn : 0,
           fmt::format("{} of {} positions of the context are in use{}", s.n_frames, s.context,
                       nearly_full ? ": generation ends when it is full" : ""));
}

/// How fast Run goes: slow motion for a session here, the speed of a recording.
void TopBar::pace_choice(Ui& ui, std::vector<Piece>& centre) {
  if (ui.snapshot->model == nullptr || is_only_listed(ui) || ui.session == nullptr ||
      ui.session->link().remote) {
    return;  // a worker's pace is its own
  }
  std::vector<std::string> names;
  std::size_t chosen = 0;
  float widest = 0.0F;
  for (const float pace : paces()) {
    chosen = pace == pace_in_use(ui) ? names.size() : chosen;
    names.push_back(pace_text(pace));
    widest = std::max(widest, ImGui::CalcTextSize((names.back() + " ▾").c_str()).x);
  }
  centre.push_back(
      {widest, 3, [&ui, names = std::move(names), chosen] {
         std::vector<const char*> items;
         for (const std::string& name : names) {
           items.push_back(name.c_str());
         }
         int index = static_cast<int>(chosen);
         if (combo(ui, "transport/pace", "", index, items.data(), static_cast<int>(items.size()))) {
           pace_in_use(ui) = paces()[static_cast<std::size_t>(index)];
         }
         tip("How many tokens a second Run makes at most: slow motion, or the speed "
             "of a recording  ·  Alt+Down slower, Alt+Up faster");
       }});
}

void TopBar::draw(Ui& ui) {
  const Palette& c = colors(ui);
  follow_diagnosis(ui, *titles_);
  std::vector<Piece> left;
  std::vector<Piece> centre;
  std::vector<Piece> right;
  {
    const FontScope bold(ui.fonts.bold, 1.08F);
    left.push_back({ImGui::CalcTextSize("Layerscope").x + px(ui, 4.0F), 1, [&ui, &c] {
                      const FontScope font(ui.fonts.bold, 1.08F);
                      ImGui::SetCursorPosY(ImGui::GetCursorPosY() +
                                           ImGui::GetStyle().FramePadding.y - px(ui, 1.0F));
                      text(c.text, "Layerscope");
                    }});
  }
  left.push_back({button_size(ui, "File ▾").x, 0, [&ui] { file_menu(ui); }});
  side_switch(ui, left);
  model_chips(ui, left);
  const float room = ImGui::GetContentRegionAvail().x;
  const bool with_keys = room > px(ui, 1180.0F);
  for (const Transport& t : transport(ui)) {
    const bool key =
        with_keys && (t.icon == Icon::kStep || t.icon == Icon::kRun || t.icon == Icon::kPause);
    centre.push_back(
        {transport_width(ui, t, key), 0, [&ui, t, key] { transport_button(ui, t, key); }});
  }
  pace_choice(ui, centre);
  if (ui.snapshot->model != nullptr) {
    fault_chip(ui, right);
  }
  speed_chips(ui, right);

  view::BarGroups bar;
  const auto copy = [](const std::vector<Piece>& from, std::vector<view::BarItem>& to) {
    for (const Piece& piece : from) {
      to.push_back({piece.width, piece.priority, true, 0.0F});
    }
  };
  copy(left, bar.left);
  copy(centre, bar.centre);
  copy(right, bar.right);
  view::fit_bar(bar, room, px(ui, 8.0F), px(ui, 18.0F));
  const ImVec2 start = ImGui::GetCursorPos();
  const float offset =
      std::max(0.0F, (ImGui::GetContentRegionAvail().y - button_size(ui, "X").y) / 2.0F);
  const auto show = [&](const std::vector<Piece>& pieces, const std::vector<view::BarItem>& items,
                        bool use_mono) {
    const FontScope font(use_mono ? ui.fonts.mono : nullptr);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (items[i].shown) {
        ImGui::SetCursorPos({start.x + items[i].x, start.y + offset});
        pieces[i].draw();
      }
    }
  };
  show(left, bar.left, false);
  show(centre, bar.centre, false);
  show(right, bar.right, true);
}

}  // namespace

std::unique_ptr<Panel> make_topbar(std::shared_ptr<TabTitles> titles) {
  return std::make_unique<TopBar>(std::move(titles));
}

}  // namespace layerscope::gui
