// The file browser's list, preview and buttons.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "engine/base/utf8.h"
#include "gui/app/file_browser.h"
#include "gui/app/system_dialog.h"
#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

std::string date_text(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm local{};
  if (seconds == 0 || localtime_r(&time, &local) == nullptr) {
    return {};
  }
  return fmt::format("{:%Y-%m-%d %H:%M}", local);
}

/// A folder or file sign drawn with lines: no icon font is needed.
void entry_icon(const Ui& ui, bool folder, bool model) {
  const Palette& c = colors(ui);
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float h = ImGui::GetTextLineHeight();
  const float w = px(ui, 13.0F);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float top = at.y + h * 0.2F;
  const float end = at.y + h * 0.86F;
  if (folder) {
    draw->AddRectFilled({at.x, top}, {at.x + w * 0.45F, top + h * 0.2F}, c.quiet, px(ui, 1.5F));
    draw->AddRectFilled({at.x, top + h * 0.1F}, {at.x + w, end}, c.quiet, px(ui, 1.5F));
  } else {
    const ImU32 ink = model ? c.accent : c.faint;
    draw->AddRect({at.x + w * 0.12F, top}, {at.x + w * 0.88F, end}, ink, px(ui, 1.5F));
    draw->AddLine({at.x + w * 0.3F, top + h * 0.25F}, {at.x + w * 0.7F, top + h * 0.25F}, ink);
    draw->AddLine({at.x + w * 0.3F, top + h * 0.42F}, {at.x + w * 0.7F, top + h * 0.42F}, ink);
  }
  ImGui::Dummy({w, h});
  ImGui::SameLine(0.0F, px(ui, 7.0F));
}

void fact_state(Ui& ui, const char* id, const char* name, const std::string& value) {
  ui.widgets.state(std::string("browser/preview/") + id, value);
  if (!value.empty()) {
    text(colors(ui).quiet, name);
    ImGui::SameLine(px(ui, 112.0F));
    ImGui::PushTextWrapPos(0.0F);
    ImGui::TextUnformatted(value.c_str());
    ImGui::PopTextWrapPos();
  }
}

}  // namespace

void FileBrowser::draw_contents(Ui& ui) {
  keyboard(ui);
  draw_path_row(ui);
  const float foot = ImGui::GetFrameHeightWithSpacing() + px(ui, 8.0F);
  const float height = std::max(px(ui, 80.0F), ImGui::GetContentRegionAvail().y - foot);
  const float gap = px(ui, 8.0F);
  const float whole = ImGui::GetContentRegionAvail().x;
  const float places = std::min(px(ui, 160.0F), whole * 0.2F);
  const float preview = std::min(px(ui, 320.0F), whole * 0.34F);
  const ImGuiChildFlags frame = ImGuiChildFlags_Borders;
  ImGui::BeginChild("places", {places, height}, frame);
  draw_places(ui);
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  ImGui::BeginChild("list", {whole - places - preview - 2 * gap, height}, frame);
  draw_list(ui);
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  ImGui::BeginChild("preview", {preview, height}, frame);
  draw_preview(ui);
  ImGui::EndChild();
  draw_buttons(ui);
  ui.widgets.state("browser/folder", folder_);
  ui.widgets.state("browser/selected",
                   selected_ >= 0 ? shown_[static_cast<std::size_t>(selected_)].name : "");
  ui.widgets.state("browser/entries", listing_ ? "reading" : std::to_string(shown_.size()));
  ui.widgets.state("browser/error", error_);
}

void FileBrowser::draw_list(Ui& ui) {
  const Palette& c = colors(ui);
  if (!error_.empty()) {
    ImGui::PushTextWrapPos(0.0F);
    text(c.error, error_);
    ImGui::PopTextWrapPos();
  }
  if (listing_) {
    text(c.quiet, "Reading the folder…");
    return;
  }
  if (shown_.empty() && error_.empty()) {
    empty_state(ui, "browser/list", "Nothing to open here",
                filter_ == 0 ? "No folder, .gguf or .safetensors file; “All files” shows the rest."
                             : "The folder is empty.");
    return;
  }
  const ImGuiTableFlags flags = ImGuiTableFlags_Sortable | ImGuiTableFlags_ScrollY |
                                ImGuiTableFlags_RowBg | ImGuiTableFlags_NoBordersInBody |
                                ImGuiTableFlags_Resizable;
  if (!ImGui::BeginTable("files", 3, flags)) {
    return;
  }
  ImGui::TableSetupScrollFreeze(0, 1);
  ImGui::TableSetupColumn("Name", ImGuiTableColumnFlags_WidthStretch);
  ImGui::TableSetupColumn("Size", ImGuiTableColumnFlags_WidthFixed, px(ui, 76.0F));
  ImGui::TableSetupColumn("Changed", ImGuiTableColumnFlags_WidthFixed, px(ui, 128.0F));
  ImGui::TableNextRow(ImGuiTableRowFlags_Headers);
  constexpr const char* kHeads[] = {"Name", "Size", "Changed"};
  for (int column = 0; column < 3; ++column) {
    ImGui::TableSetColumnIndex(column);
    ImGui::TableHeader(kHeads[column]);
    ui.widgets.mark(fmt::format("browser/sort/{}", kHeads[column]));
  }
  if (ImGuiTableSortSpecs* specs = ImGui::TableGetSortSpecs();
      specs != nullptr && specs->SpecsDirty && specs->SpecsCount > 0) {
    sort_ = static_cast<BrowserSort>(specs->Specs[0].ColumnIndex);
    descending_ = specs->Specs[0].SortDirection == ImGuiSortDirection_Descending;
    specs->SpecsDirty = false;
    rearrange();
  }
  int activated = -1;
  ImGuiListClipper clipper;
  clipper.Begin(static_cast<int>(shown_.size()));
  if (selected_ >= 0) {
    clipper.IncludeItemByIndex(selected_);
  }
  while (clipper.Step()) {
    for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
      const BrowserEntry& entry = shown_[static_cast<std::size_t>(i)];
      const std::string name = utf8_sanitize(entry.name);
      ImGui::TableNextRow();
      ImGui::TableNextColumn();
      ImGui::PushID(i);
      entry_icon(ui, entry.folder, is_model_file(entry.name));
      const std::string label = fitted(name, ImGui::GetContentRegionAvail().x);
      if (ImGui::Selectable(label.c_str(), i == selected_,
                            ImGuiSelectableFlags_SpanAllColumns |
                                ImGuiSelectableFlags_AllowDoubleClick |
                                ImGuiSelectableFlags_NoAutoClosePopups)) {
        select(i);
        if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) {
          activated = i;
        }
      }
      ui.widgets.mark("browser/file/" + name);
      tip(label == name ? std::string_view() : std::string_view(name));
      if (i == selected_ && scroll_to_selected_) {
        ImGui::SetScrollHereY(0.5F);
        scroll_to_selected_ = false;
      }
      ImGui::PopID();
      ImGui::TableNextColumn();
      if (!entry.folder) {
        const std::string size = view::bytes_text(entry.bytes);
        const float space = ImGui::GetContentRegionAvail().x - ImGui::CalcTextSize(size.c_str()).x;
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() + std::max(0.0F, space));
        text(c.quiet, size);
      }
      ImGui::TableNextColumn();
      text(c.quiet, date_text(entry.modified));
    }
  }
  ImGui::EndTable();
  if (activated >= 0) {
    activate(activated);
  }
}

void FileBrowser::draw_preview(Ui& ui) {
  const Palette& c = colors(ui);
  section_title(ui, "Preview");
  if (preview_path_.empty()) {
    ImGui::PushTextWrapPos(0.0F);
    text(c.quiet, "Select a file: what it holds is read from its header, without loading it.");
    ImGui::PopTextWrapPos();
    return;
  }
  const std::string file = utf8_sanitize(std::filesystem::path(preview_path_).filename().string());
  {
    const FontScope bold(ui.fonts.bold);
    ImGui::PushTextWrapPos(0.0F);
    ImGui::TextUnformatted(file.c_str());
    ImGui::PopTextWrapPos();
  }
  ImGui::Spacing();
  if (!preview_) {
    text(c.quiet, "Reading the header…");
    return;
  }
  if (preview_->trace) {
    ui.widgets.state("browser/preview/error", "");
    ui.widgets.state("browser/preview/file", file);
    draw_trace_preview(ui, *preview_->trace);
    return;
  }
  if (!preview_->preview) {
    ui.widgets.state("browser/preview/error", preview_->error);
    text(c.error, "This file cannot be opened");
    ui.widgets.mark("browser/preview/error");
    ImGui::PushTextWrapPos(0.0F);
    ImGui::TextUnformatted(preview_->error.c_str());
    ImGui::PopTextWrapPos();
    return;
  }
  const format::FilePreview& p = *preview_->preview;
  ui.widgets.state("browser/preview/error", "");
  fact_state(ui, "name", "Name", utf8_sanitize(p.name));
  fact_state(ui, "architecture", "Architecture", p.architecture);
  fact_state(ui, "parameters", "Parameters", view::count_text(p.n_parameters));
  fact_state(ui, "quantisation", "Quantisation", p.quantisation);
  fact_state(ui, "layers", "Layers", p.n_layers > 0 ? std::to_string(p.n_layers) : "");
  fact_state(ui, "context", "Context",
             p.context_length > 0
                 ? view::grouped(static_cast<std::uint64_t>(p.context_length)) + " tokens"
                 : "");
  fact_state(ui, "tensors", "Tensors", view::grouped(p.n_tensors));
  fact_state(ui, "container", "Container", p.container);
  fact_state(ui, "size", "Size", view::bytes_text(p.file_bytes));
  const std::string fits = fits_text(p.file_bytes, available_, preview_->gpu_bytes);
  fact_state(ui, "fits", "Fits in memory", fits);
  ui.widgets.state("browser/preview/file", file);
  if (!p.undecodable.empty()) {
    ImGui::Spacing();
    ImGui::PushTextWrapPos(0.0F);
    text(c.warn, fmt::format("It cannot be run: tensors of type {} are not supported yet.",
                             fmt::join(p.undecodable, ", ")));
    ImGui::PopTextWrapPos();
  }
}

void FileBrowser::draw_trace_preview(Ui& ui, const TracePreview& trace) {
  fact_state(ui, "format", "Format", trace.format);
  fact_state(ui, "name", "Model", utf8_sanitize(trace.model));
  fact_state(ui, "architecture", "Architecture", trace.architecture);
  fact_state(ui, "tokens", "Tokens",
             trace.n_prompt > 0
                 ? fmt::format("{}, {} of them prompt", trace.n_positions, trace.n_prompt)
                 : fmt::format("{}", trace.n_positions));
  fact_state(ui, "tensors", "Tensors", view::grouped(trace.n_tensors));
  fact_state(ui, "captured", "Captured", trace.capture);
  fact_state(ui, "backend", "Backend", trace.backend);
  fact_state(ui, "faults", "Faults", fmt::format("{}", fmt::join(trace.faults, ", ")));
  fact_state(ui, "size", "Size", view::bytes_text(trace.file_bytes));
  for (const std::string& note : trace.notes) {
    ImGui::PushTextWrapPos(0.0F);
    text(colors(ui).quiet, note);
    ImGui::PopTextWrapPos();
  }
}

void FileBrowser::draw_buttons(Ui& ui) {
  ImGui::Dummy({0.0F, px(ui, 1.0F)});
  const std::string ways = SystemDialog::ways();
  if (button(ui, "browser/system", "System dialog…", Look::kPlain,
             ways.empty() ? "Needs the desktop's portal, zenity or kdialog; none of them is here"
                          : fmt::format("The desktop's own file dialog, through {}", ways),
             !ways.empty())) {
    ui.requests.open_system_dialog = true;
    visible_ = false;
  }
  const float open_width = button_size(ui, "Open").x;
  const float cancel_width = button_size(ui, "Cancel").x;
  ImGui::SameLine(ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x - open_width -
                  cancel_width - px(ui, 8.0F));
  if (button(ui, "browser/cancel", "Cancel", Look::kPlain, "Close without opening  ·  Esc")) {
    visible_ = false;
  }
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (button(ui, "browser/open", "Open", Look::kPrimary, "Open what is selected  ·  Enter",
             selected_ >= 0 || !path_text_.empty())) {
    if (selected_ >= 0) {
      activate(selected_);
    } else {
      open_path_field();
    }
  }
}

}  // namespace layerscope::gui
