// Model tab: hyper-parameters, and the file's metadata with search. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

class ModelPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "model"; }
  [[nodiscard]] const char* title() const override { return "Model"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  static void parameters(Ui& ui, const session::ModelInfo& model);
  void metadata(Ui& ui, const format::ModelFile& file);

  std::string search_;
  std::string searched_;
  const format::ModelFile* file_ = nullptr;
  std::vector<std::size_t> shown_;
};

void ModelPanel::parameters(Ui& ui, const session::ModelInfo& m) {
  const session::Snapshot& s = *ui.snapshot;
  section_title(ui, "What is loaded");
  const auto line = [&ui](const char* name, const std::string& value) {
    text(colors(ui).quiet, name);
    ImGui::SameLine(ImGui::GetFontSize() * 9.5F);
    const FontScope font(ui.fonts.mono);
    ui.widgets.state(fmt::format("model/{}", name), value);
    text_elided(colors(ui).text, value, ImGui::GetContentRegionAvail().x);
  };
  // A file that nothing here can run, or a foreign trace, may not say everything.
  const auto number = [](std::int64_t value) {
    return value > 0 ? view::grouped(static_cast<std::uint64_t>(value)) : std::string("unknown");
  };
  line("name", m.name);
  line("architecture", m.architecture);
  line("container", m.file != nullptr ? m.file->container : "—");
  line("parameters",
       fmt::format("{}  ({})", view::count_text(m.n_params), view::grouped(m.n_params)));
  line("types of weights", m.quantization);
  line("weights", view::bytes_text(m.weight_bytes));
  line("layers", number(m.n_layers));
  line("heads", m.n_heads > 0 ? fmt::format("{}  ({} for keys and values)", m.n_heads, m.n_kv_heads)
                              : number(0));
  line("head dimension", number(m.head_dim));
  line("hidden", number(m.hidden));
  line("feed-forward", number(m.ffn));
  line("vocabulary", m.vocab_rows > 0 || m.n_tokens > 0
                         ? fmt::format("{} rows, {} tokens, {} padded", number(m.vocab_rows),
                                       number(m.n_tokens), m.n_padded)
                         : number(0));
  if (is_only_listed(ui)) {
    line("context", m.train_context > 0 ? fmt::format("{} trained", m.train_context) : number(0));
    return;
  }
  line("context", fmt::format("{} in use here, {} trained", s.context, number(m.train_context)));
  line("backend", s.backend_text);
  line("memory", fmt::format("{} + {} of history", view::bytes_text(s.device_bytes),
                             view::bytes_text(s.history.host())));
  line("load time", fmt::format("{:.2f} s", s.timing.load_s));
}

void ModelPanel::metadata(Ui& ui, const format::ModelFile& file) {
  const Palette& c = colors(ui);
  section_title(ui, "Metadata of the file");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  search_field(ui, "model/search", search_, "search key or value",
               std::min(px(ui, 260.0F), ImGui::GetContentRegionAvail().x));
  if (&file != file_ || search_ != searched_) {
    file_ = &file;
    searched_ = search_;
    shown_.clear();
    for (std::size_t i = 0; i < file.metadata.size(); ++i) {
      const format::MetaEntry& entry = file.metadata[i];
      const auto* words = std::get_if<std::string>(&entry.value);
      if (view::contains_ci(entry.key, search_) ||
          view::contains_ci(words != nullptr ? *words : view::meta_text(entry.value), search_)) {
        shown_.push_back(i);
      }
    }
  }
  ui.widgets.state("model/metadata_shown", fmt::format("{}", shown_.size()));
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg |
                                     ImGuiTableFlags_BordersInnerH |
                                     ImGuiTableFlags_SizingStretchProp;
  if (!ImGui::BeginTable("metadata", 3, kFlags)) {
    return;
  }
  ImGui::TableSetupScrollFreeze(0, 1);
  ImGui::TableSetupColumn("Key", 0, 1.4F);
  ImGui::TableSetupColumn("Type", 0, 0.5F);
  ImGui::TableSetupColumn("Value", 0, 2.6F);
  ImGui::TableHeadersRow();
  {
    const FontScope font(ui.fonts.mono);
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(shown_.size()));
    while (clipper.Step()) {
      for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
        const format::MetaEntry& entry = file.metadata[shown_[static_cast<std::size_t>(i)]];
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        ImGui::PushID(i);
        const std::string key = fitted(entry.key, ImGui::GetContentRegionAvail().x);
        if (ImGui::Selectable(key.c_str(), false, ImGuiSelectableFlags_SpanAllColumns)) {
          ImGui::SetClipboardText(view::meta_text(entry.value, 1U << 20U).c_str());
        }
        ImGui::PopID();
        ui.widgets.mark(fmt::format("model/row/{}", entry.key));
        tip(view::meta_text(entry.value, 1200) + "\n\nClick copies the value");
        ImGui::TableNextColumn();
        text(c.quiet, entry.type);
        ImGui::TableNextColumn();
        text_elided(c.text, view::meta_text(entry.value, 160), ImGui::GetContentRegionAvail().x);
      }
    }
  }
  ImGui::EndTable();
}

std::string ModelPanel::csv(const Ui& ui) const {
  const auto& model = ui.snapshot->model;
  if (model == nullptr || model->file == nullptr) {
    return {};
  }
  std::string all = "key,type,value\n";
  for (const format::MetaEntry& entry : model->file->metadata) {
    all += view::csv_line({entry.key, entry.type, view::meta_text(entry.value, 1U << 16U)});
  }
  return all;
}

void ModelPanel::draw(Ui& ui) {
  const session::ModelInfo* model = ui.snapshot->model.get();
  if (model == nullptr) {
    file_ = nullptr;
    empty_state(ui, "model", "No model is open",
                "Open one with Ctrl+O: its hyper-parameters and every metadata entry of its file "
                "stand here.");
    return;
  }
  ui.widgets.state("model/architecture", model->architecture);
  ui.widgets.state("model/name", model->name);
  ui.widgets.state("model/layers", fmt::format("{}", model->n_layers));
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float left = std::clamp(room.x * 0.34F, px(ui, 260.0F), px(ui, 460.0F));
  if (ImGui::BeginChild("parameters", {left, room.y})) {
    parameters(ui, *model);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, px(ui, 18.0F));
  if (ImGui::BeginChild("metadata side", {0.0F, room.y})) {
    if (model->file != nullptr) {
      metadata(ui, *model->file);
    } else {
      text(colors(ui).quiet, "The file's metadata are not available.");
    }
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_model() { return std::make_unique<ModelPanel>(); }

}  // namespace layerscope::gui
