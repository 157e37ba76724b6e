// Tensors tab: the file's tensors with search, and one tensor's statistics, histogram and first
// values, computed a slice per frame. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/tensor_scan.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

/// Values decoded per frame: about 3 ms of float16 on one core.
constexpr std::uint64_t kBudget = 1U << 20U;

class TensorsPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "tensors"; }
  [[nodiscard]] const char* title() const override { return "Tensors"; }
  void draw(Ui& ui) override;

 private:
  void follow_model(Ui& ui);
  void list(Ui& ui);
  void detail(Ui& ui);
  static void report(Ui& ui, const format::TensorInfo& tensor);
  void histogram(Ui& ui, float height);

  std::shared_ptr<const format::ModelFile> file_;
  std::string search_;
  std::vector<std::size_t> shown_;  ///< indices of the tensors that match
  view::TensorScan scan_;
};

void TensorsPanel::follow_model(Ui& ui) {
  const session::ModelInfo* model = ui.snapshot->model.get();
  const auto file = model != nullptr ? model->file : nullptr;
  if (file != file_) {
    file_ = file;
    scan_.clear();
    shown_.clear();
    search_.clear();
    for (std::size_t i = 0; file_ != nullptr && i < file_->tensors.size(); ++i) {
      shown_.push_back(i);
    }
  }
}

void TensorsPanel::list(Ui& ui) {
  const Palette& c = colors(ui);
  if (search_field(ui, "tensors/search", search_, "search name, type or shape",
                   std::min(px(ui, 280.0F), ImGui::GetContentRegionAvail().x))) {
    shown_.clear();
    for (std::size_t i = 0; i < file_->tensors.size(); ++i) {
      const format::TensorInfo& t = file_->tensors[i];
      if (view::contains_ci(t.name, search_) ||
          view::contains_ci(dtype_info(t.dtype).name, search_) ||
          view::contains_ci(format::shape_text(t.shape), search_)) {
        shown_.push_back(i);
      }
    }
  }
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  text(c.quiet, fmt::format("{} of {} tensors · {}", shown_.size(), file_->tensors.size(),
                            view::bytes_text(file_->file_bytes)));
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg |
                                     ImGuiTableFlags_BordersInnerH |
                                     ImGuiTableFlags_SizingStretchProp;
  if (!ImGui::BeginTable("tensors", 5, kFlags)) {
    return;
  }
  ImGui::TableSetupScrollFreeze(0, 1);
  ImGui::TableSetupColumn("Name", 0, 3.0F);
  ImGui::TableSetupColumn("Type", 0, 0.7F);
  ImGui::TableSetupColumn("Shape", 0, 1.4F);
  ImGui::TableSetupColumn("Size", 0, 0.9F);
  ImGui::TableSetupColumn("File offset", 0, 1.2F);
  ImGui::TableHeadersRow();
  {
    const FontScope font(ui.fonts.mono);
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(shown_.size()));
    while (clipper.Step()) {
      for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
        const format::TensorInfo& t = file_->tensors[shown_[static_cast<std::size_t>(i)]];
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        ImGui::PushID(i);
        if (ImGui::Selectable(t.name.c_str(), scan_.tensor() == &t,
                              ImGuiSelectableFlags_SpanAllColumns)) {
          scan_.start(file_, t);
        }
        ImGui::PopID();
        ui.widgets.mark(fmt::format("tensors/row/{}", t.name));
        const DTypeInfo& type = dtype_info(t.dtype);
        ImGui::TableNextColumn();
        text(type.decodable ? c.text : c.warn, type.name);
        ImGui::TableNextColumn();
        text(c.text, format::shape_text(t.shape));
        ImGui::TableNextColumn();
        text(c.quiet, view::bytes_text(dtype_bytes(t.dtype, t.n_elements)));
        ImGui::TableNextColumn();
        text(c.quiet, fmt::format("{:#x}", t.offset));
      }
    }
  }
  ImGui::EndTable();
}

void TensorsPanel::histogram(Ui& ui, float height) {
  const Palette& c = colors(ui);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const ImVec2 size{std::max(ImGui::GetContentRegionAvail().x, 1.0F), height};
  ImGui::InvisibleButton("histogram", size);
  ui.widgets.mark("tensors/histogram");
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(min, {min.x + size.x, min.y + size.y}, c.plot, px(ui, 3.0F));
  std::uint64_t most = 1;
  for (const std::uint64_t n : scan_.histogram) {
    most = std::max(most, n);
  }
  const float pitch = size.x / static_cast<float>(view::TensorScan::kBins);
  // The logarithm keeps the tails visible: a single outlier still has a bar.
  const double full = std::log1p(static_cast<double>(most));
  for (std::size_t i = 0; i < view::TensorScan::kBins; ++i) {
    const double part = std::log1p(static_cast<double>(scan_.histogram[i])) / full;
    const float x = min.x + static_cast<float>(i) * pitch;
    const float bar = static_cast<float>(part) * (size.y - px(ui, 4.0F));
    draw->AddRectFilled({x, min.y + size.y - bar}, {x + pitch - 1.0F, min.y + size.y},
                        mix(c.plot, c.accent, 0.75F));
  }
  if (ImGui::IsItemHovered() && ImGui::BeginTooltip()) {
    const float at = (ImGui::GetIO().MousePos.x - min.x) / pitch;
    const auto bin = static_cast<std::size_t>(
        std::clamp(at, 0.0F, static_cast<float>(view::TensorScan::kBins - 1)));
    const double width =
        (double{scan_.max} - double{scan_.min}) / static_cast<double>(view::TensorScan::kBins);
    const double from = double{scan_.min} + width * static_cast<double>(bin);
    fact(ui, "values",
         fmt::format("{} … {}", view::number_text(from), view::number_text(from + width)));
    fact(ui, "count", view::grouped(scan_.histogram[bin]));
    ImGui::EndTooltip();
  }
  const FontScope font(ui.fonts.mono, 0.86F);
  text(c.quiet, view::number_text(double{scan_.min}));
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  text(c.faint, "count, logarithmic");
  mono_right(ui, c.quiet, view::number_text(double{scan_.max}), right_edge());
}

/// What a worker says about a tensor of its file.
void TensorsPanel::report(Ui& ui, const format::TensorInfo& tensor) {
  const Palette& c = colors(ui);
  mono(ui, c.text, tensor.name);
  text(c.quiet, fmt::format("{} · {} · {} values", dtype_info(tensor.dtype).name,
                            format::shape_text(tensor.shape), view::grouped(tensor.n_elements)));
  ui.widgets.state("tensors/selected", tensor.name);
  const auto answer = ui.session != nullptr ? ui.session->tensor(tensor.name) : nullptr;
  if (answer == nullptr) {
    text(c.quiet, "asking the worker…");
    return;
  }
  if (!answer->error.empty()) {
    ImGui::PushTextWrapPos();
    text(c.error, answer->error);
    ImGui::PopTextWrapPos();
    return;
  }
  const format::TensorStats& s = answer->stats;
  ui.widgets.state("tensors/mean", view::number_text(s.mean));
  ui.widgets.state("tensors/non_finite", fmt::format("{}", s.nans + s.infs));
  for (const auto& [name, value] : {std::pair{"mean", s.mean},
                                    {"deviation", s.std},
                                    {"minimum", s.min},
                                    {"maximum", s.max},
                                    {"norm", s.l2}}) {
    fact(ui, name, view::number_text(value));
  }
  for (const auto& [name, value] : {std::pair{"NaN", s.nans},
                                    {"infinite", s.infs},
                                    {"zeros", s.zeros},
                                    {"subnormal", s.subnormals}}) {
    fact(ui, name, view::grouped(value));
  }
  std::string first;
  for (const float value : answer->first) {
    first += view::number_text(double{value}) + "  ";
  }
  const FontScope font(ui.fonts.mono, 0.9F);
  ImGui::PushTextWrapPos();
  text(c.quiet, "first values  " + first);
  ImGui::PopTextWrapPos();
}

void TensorsPanel::detail(Ui& ui) {
  const Palette& c = colors(ui);
  const format::TensorInfo* t = scan_.tensor();
  if (t == nullptr) {
    empty_state(ui, "tensors/detail", "No tensor selected",
                "Click a row: its statistics, histogram and first values then stand here.");
    return;
  }
  if (t->data.empty() && t->n_elements > 0) {  // the file is on another machine
    report(ui, *t);
    return;
  }
  if (!scan_.advance(kBudget)) {
    ui.requests.redraw = true;
  }
  mono(ui, c.text, t->name);
  text(c.quiet, fmt::format("{} · {} · {} values", dtype_info(t->dtype).name,
                            format::shape_text(t->shape), view::grouped(t->n_elements)));
  if (scan_.failed()) {
    ImGui::PushTextWrapPos();
    text(c.error, scan_.error());
    ImGui::PopTextWrapPos();
    return;
  }
  ui.widgets.state("tensors/selected", t->name);
  ui.widgets.state("tensors/progress", fmt::format("{:.0f}", scan_.progress() * 100.0));
  ui.widgets.state("tensors/mean", view::number_text(scan_.mean()));
  ui.widgets.state("tensors/non_finite", fmt::format("{}", scan_.nan + scan_.inf));
  if (!scan_.done()) {
    ImGui::ProgressBar(static_cast<float>(scan_.progress()), {-1.0F, px(ui, 4.0F)}, "");
  }
  const float half = ImGui::GetContentRegionAvail().x * 0.5F;
  const auto pair = [&](const char* a, const std::string& va, const char* b, const std::string& vb,
                        ImU32 color_b) {
    const float x = ImGui::GetCursorPosX();
    text(c.quiet, a);
    mono_right(ui, c.text, va, x + half - px(ui, 14.0F));
    ImGui::SameLine(x + half);
    text(c.quiet, b);
    mono_right(ui, color_b, vb, x + 2.0F * half);
  };
  const auto num = [](double v) { return view::number_text(v); };
  pair("mean", num(scan_.mean()), "NaN", view::grouped(scan_.nan), scan_.nan ? c.error : c.text);
  pair("deviation", num(scan_.deviation()), "infinite", view::grouped(scan_.inf),
       scan_.inf ? c.error : c.text);
  pair("minimum", num(double{scan_.min}), "zeros", view::grouped(scan_.zeros), c.text);
  pair("maximum", num(double{scan_.max}), "subnormal", view::grouped(scan_.subnormal), c.text);
  if (scan_.statistics_ready()) {
    histogram(ui, std::clamp(ImGui::GetContentRegionAvail().y - px(ui, 76.0F), px(ui, 40.0F),
                             px(ui, 140.0F)));
  }
  std::string first;
  for (const float value : scan_.first) {
    first += view::number_text(double{value}) + "  ";
  }
  const FontScope font(ui.fonts.mono, 0.9F);
  ImGui::PushTextWrapPos();
  text(c.quiet, "first values  " + first);
  ImGui::PopTextWrapPos();
}

void TensorsPanel::draw(Ui& ui) {
  follow_model(ui);
  ui.widgets.state("tensors/count",
                   fmt::format("{}", file_ != nullptr ? file_->tensors.size() : 0));
  if (file_ == nullptr) {
    empty_state(ui, "tensors", "No tensors",
                "Open a model: every tensor of its file is listed with type, shape and place, and "
                "can be looked into.");
    return;
  }
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float right = std::clamp(room.x * 0.34F, px(ui, 250.0F), px(ui, 560.0F));
  const float gap = px(ui, 18.0F);
  if (ImGui::BeginChild("list", {std::max(room.x - right - gap, 1.0F), room.y})) {
    list(ui);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("detail", {right, room.y})) {
    detail(ui);
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_tensors() { return std::make_unique<TensorsPanel>(); }

}  // namespace layerscope::gui
