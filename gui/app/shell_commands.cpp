// What the shell offers beyond keys: the command palette's list and exports.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "engine/session/findings_page.h"
#include "gui/app/exports.h"
#include "gui/app/shell.h"
#include "gui/panels/actions.h"
#include "gui/panels/diagnosis.h"
#include "gui/view/export_text.h"
#include "gui/view/history_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

constexpr std::size_t kMostTensors = 4000;

}  // namespace

const Panel* Shell::find_panel(const std::string& id) const {
  const std::string& wanted = id == "bottom" ? open_tab_ : id;
  for (const PanelEntry& entry : panels_) {
    if (wanted == entry.panel->id()) {
      return entry.panel.get();
    }
  }
  return nullptr;
}

std::vector<PaletteEntry> Shell::palette_entries() {
  std::vector<PaletteEntry> entries;
  for (const Binding& binding : bindings()) {
    if (binding.action != Action::kPalette && binding.action != Action::kDismiss) {
      entries.push_back({binding.group, binding.text, chord_text(binding.chord),
                         [this, action = binding.action] { perform(action); }});
    }
  }
  for (const PanelEntry& entry : panels_) {
    if (entry.place == Place::kBottom) {
      entries.push_back({"Go to", fmt::format("{} tab", entry.panel->title()), "",
                         [this, id = entry.panel->id()] { ui_.requests.show_tab = id; }});
    }
  }
  const auto ask = [&entries](std::string text, std::function<void()> act) {
    entries.push_back({"Export", std::move(text), "", std::move(act)});
  };
  for (const char* panel : {"attention", "tokens", "logits", "bottom"}) {
    ask(fmt::format("{} as PNG", panel), [this, panel] { ui_.requests.panel_png = panel; });
    ask(fmt::format("{} as CSV", panel), [this, panel] { ui_.requests.panel_csv = panel; });
    ask(fmt::format("{} as command", panel), [this, panel] { ui_.requests.panel_command = panel; });
  }
  ask("session as trace", [this] { ui_.requests.export_trace = true; });
  ask("session as trace, every tensor", [this] { ui_.requests.export_whole_trace = true; });
  ask("findings as a page", [this] { ui_.requests.findings_html = true; });
  const auto command = [&](std::string text, std::string line) {
    if (!line.empty()) {
      ask(std::move(text), [this, line = std::move(line)] {
        ImGui::SetClipboardText(line.c_str());
        inform("Copied: " + line);
      });
    }
  };
  const session::Snapshot& now = *ui_.snapshot;
  const std::string& tensor = ui_.selection.tensor;
  command("copy the deep checks as a command", view::diagnose_command(now));
  command("copy the file's metadata as a command", view::metadata_command(now));
  command("copy the list of tensors as a command", view::inspect_command(now, ""));
  if (!tensor.empty() && !tensor.starts_with("tap/")) {
    command("copy the shown tensor as a command", view::inspect_command(now, tensor));
  }
  for (const float pace : paces()) {
    entries.push_back({"Pace", pace_text(pace), "", [this, pace] { pace_in_use(ui_) = pace; }});
  }
  static constexpr std::array<const char*, 3> kMaps{"viridis", "cividis", "magma"};
  for (std::size_t i = 0; i < kMaps.size(); ++i) {
    entries.push_back(
        {"Colours", kMaps[i], "", [this, i] { ui_.settings.color_map = static_cast<int>(i); }});
  }
  if (!ui_.demo_path.empty()) {
    entries.push_back({"File", "Open the demo", "", [this] { ui_.requests.open_demo = true; }});
  }
  for (const std::string& path : ui_.settings.recent) {
    entries.push_back({"Recent", path, "", [this, path] { ui_.requests.open_path = path; }});
  }
  const auto& model = ui_.snapshot->model;
  if (model == nullptr) {
    return entries;
  }
  entries.push_back(
      {"Compare", "Choose a reference", "", [this] { ui_.requests.open_reference_dialog = true; }});
  if (compared_.has_sides()) {
    for (const session::Side side :
         {session::Side::kA, session::Side::kB, session::Side::kDifference}) {
      entries.push_back({"Compare", fmt::format("show {}", session::side_name(side)), "",
                         [this, side] { compared_.set_side(side); }});
    }
  }
  entries.push_back({"Check", "Run deep checks", "", [this] {
                       ui_.send(session::DiagnoseNow{});
                       ui_.requests.show_tab = "findings";
                     }});
  for (int layer = 0; layer < model->n_layers; ++layer) {
    entries.push_back({"Go to", fmt::format("layer {}", layer), "",
                       [this, layer] { ui_.selection.layer = layer; }});
  }
  for (const session::FaultInfo& fault : model->faults) {
    if (fault.reason.empty()) {
      entries.push_back({"Inject", fmt::format("{}  {}", fault.example, fault.title), "",
                         [this, name = fault.example] {
                           std::vector<std::string> faults = ui_.snapshot->faults;
                           faults.push_back(name);
                           set_faults(ui_, std::move(faults));
                         }});
    }
  }
  if (!ui_.snapshot->faults.empty()) {
    entries.push_back({"Inject", "remove all faults", "", [this] { set_faults(ui_, {}); }});
  }
  if (model->file != nullptr) {
    const auto& tensors = model->file->tensors;
    for (std::size_t i = 0; i < std::min(tensors.size(), kMostTensors); ++i) {
      entries.push_back({"Tensor", tensors[i].name, "", [this, name = tensors[i].name] {
                           ui_.selection.tensor = name;
                           ui_.requests.show_tab = "tensors";
                         }});
    }
  }
  return entries;
}

/// The snapshot as it is now is written beside the session; whole tensors are made first.
void Shell::start_export(bool whole) {
  if (export_ != nullptr || export_waits_) {
    inform("A trace is being written already");
    return;
  }
  const auto snapshot = compared_.candidate();
  if (whole && !session::trace_is_present(*snapshot)) {
    if (session_->link().remote) {
      notify("A worker's session is saved there: start it with --trace-dir");
      return;
    }
    export_waits_ = true;
    export_error_ = snapshot->error_serial;
    session_->send(session::MakeTrace{});
    return;
  }
  export_ = std::make_unique<session::TraceExport>(
      snapshot, export_path(export_folder_, "session", "safetensors"), whole, wake_);
}

void Shell::follow_export() {
  if (export_waits_ && session_->idle()) {
    const auto snapshot = compared_.candidate();
    export_waits_ = false;
    if (session::trace_is_present(*snapshot)) {
      start_export(true);
    } else if (snapshot->error_serial == export_error_) {
      inform("Writing the trace was cancelled");
    }
  }
  if (export_ == nullptr) {
    return;
  }
  if (const auto outcome = export_->take()) {
    if (!outcome->ok()) {
      notify(outcome->error().message);
    } else {
      const session::TraceExportReport& report = outcome->value();
      inform(fmt::format(
          "Saved {} ({} tokens, {}){}{}", export_->path(), report.n_positions,
          view::bytes_text(report.bytes),
          report.without_rows > 0
              ? fmt::format("; attention rows of {} tokens are not in it: they were dropped, or "
                            "stay on the GPU (“every tensor” has them)",
                            report.without_rows)
              : std::string(),
          report.without_statistics > 0
              ? fmt::format("; statistics of {} tokens are not in it: they were dropped to stay "
                            "within the history's budget (--history-memory)",
                            report.without_statistics)
              : std::string()));
    }
    export_.reset();
  }
}

void Shell::export_what_was_asked(const AppRequests& asked, ShellRequests& result) {
  const auto save = [this](const std::string& path, const std::string& text,
                           const std::string& missing = {}) {
    if (const Status status = write_text(path, text); !status.ok()) {
      notify(status.error().message);
    } else {
      inform("Saved " + path + missing);
    }
  };
  if (asked.copy_command) {
    const std::string command = view::command_line(*ui_.snapshot);
    if (!command.empty()) {
      ImGui::SetClipboardText(command.c_str());
      inform("Copied: " + command);
    }
  }
  if (asked.export_trace || asked.export_whole_trace) {
    start_export(asked.export_whole_trace);
  }
  if (asked.findings_html && ui_.snapshot->model != nullptr) {
    save(export_path(export_folder_, "findings", "html"),
         session::findings_html(*ui_.snapshot, view::diagnose_command(*ui_.snapshot)));
  }
  const auto name_of = [this](const std::string& panel) {
    return panel == "bottom" ? open_tab_ : panel;
  };
  if (!asked.panel_csv.empty()) {
    const Panel* panel = find_panel(asked.panel_csv);
    const std::string text = panel != nullptr ? panel->csv(ui_) : std::string();
    if (text.empty()) {
      inform(fmt::format("There is no table of data in {} to save", name_of(asked.panel_csv)));
    } else {
      save(export_path(export_folder_, name_of(asked.panel_csv), "csv"), text,
           view::missing_in_export(*ui_.snapshot));
    }
  }
  if (!asked.panel_command.empty()) {
    const std::string command =
        view::panel_command(*ui_.snapshot, name_of(asked.panel_command), ui_.selection.layer,
                            ui_.selection.tensor, compared_.reference_path());
    if (command.empty()) {
      inform(
          fmt::format("Nothing in {} can be repeated by a command", name_of(asked.panel_command)));
    } else {
      ImGui::SetClipboardText(command.c_str());
      inform("Copied: " + command);
    }
  }
  if (!asked.panel_png.empty()) {
    const auto* widget = ui_.widgets.find("layout/" + asked.panel_png);
    if (widget != nullptr) {
      result.panel_path = export_path(export_folder_, name_of(asked.panel_png), "png");
      result.panel_min = widget->min;
      result.panel_max = widget->max;
    }
  }
}

}  // namespace layerscope::gui
