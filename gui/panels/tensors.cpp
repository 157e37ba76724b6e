// Tensors tab: the file's tensors and the captured taps of the shown token, as a tree with search;
// value maps of one tensor, or of two and their difference; statistics and exact values. Everything
// that reads tensors runs on the tensor worker. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "gui/panels/inspect.h"
#include "gui/panels/panels.h"
#include "gui/panels/tensor_detail.h"
#include "gui/panels/tensor_map.h"
#include "gui/panels/tensor_report.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/tensor_tree.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

using view::TensorSource;
using Kind = view::TreeRow::Kind;

constexpr std::array<const char*, 4> kOverlays{"values", "NaN and Inf", "zeros", "sign"};
constexpr std::array<const char*, 3> kPools{"largest |x|", "mean", "any zero"};

/// Whether its bytes are on another machine.
bool elsewhere(const format::TensorInfo& tensor) {
  return tensor.data.empty() && tensor.n_elements > 0;
}

class TensorsPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "tensors"; }
  [[nodiscard]] const char* title() const override { return "Tensors"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void follow(Ui& ui);
  TensorSource::Ptr find(Ui& ui, const std::string& key) const;
  bool coming(Ui& ui, const std::string& key) const;
  static TensorSource::Ptr find_in(const std::shared_ptr<const session::TokenDetail>& detail,
                                   const std::string& key);
  bool follow_reference(Ui& ui);
  void show(Ui& ui, const std::string& key);
  void list(Ui& ui);
  void row(Ui& ui, const view::TreeRow& row);
  void toolbar(Ui& ui);
  void maps(Ui& ui, ImVec2 room);
  void compare_with(const std::string& key) { second_key_ = key == second_key_ ? "" : key; }

  view::TensorWorker worker_;
  std::shared_ptr<const format::ModelFile> file_;
  std::shared_ptr<const session::TokenDetail> taps_;
  std::set<std::string> open_{"weights", "taps"};
  std::string search_;
  std::vector<view::TreeRow> rows_;
  bool stale_ = true;       ///< rows_ must be made again
  std::string key_;         ///< shown
  std::string second_key_;  ///< compared with; empty: none
  std::string scroll_to_;   ///< row to bring into view
  std::string difference_error_;
  bool beside_ = false;                        ///< A, B and their difference are shown
  session::ComparedSession::Details details_;  ///< of these two
  std::array<TensorSource::Ptr, view::TensorWorker::kSlots> sources_;
  std::array<TensorMap, view::TensorWorker::kSlots> maps_;
  TensorLook look_;
  TensorDetail detail_;
};

TensorSource::Ptr TensorsPanel::find_in(const std::shared_ptr<const session::TokenDetail>& detail,
                                        const std::string& key) {
  for (std::size_t i = 0; detail != nullptr && i < detail->pass.tensors.size(); ++i) {
    const capture::FullTensor& t = detail->pass.tensors[i];
    if (view::tap_key(t.tap, t.layer) == key) {
      return TensorSource::tap(detail, i);
    }
  }
  return nullptr;
}

/// With a reference, a tap of A, of B and their difference can stand side by side; true when that
/// changed.
bool TensorsPanel::follow_reference(Ui& ui) {
  const bool beside = ui.beside_reference && ui.compared != nullptr && ui.compared->has_sides() &&
                      ui.selection.tensor.starts_with("tap/");
  const auto details =
      beside ? ui.compared->details(ui.shown_position()) : session::ComparedSession::Details{};
  const bool changed =
      beside != beside_ || (beside && details.a != nullptr && details.b != nullptr &&
                            (details.a != details_.a || details.b != details_.b));
  if (changed) {
    beside_ = beside;
    details_ = details;
    second_key_.clear();
  }
  return changed;
}

TensorSource::Ptr TensorsPanel::find(Ui& ui, const std::string& key) const {
  if (key.starts_with("tap/")) {
    return find_in(taps_, key);
  }
  const format::TensorInfo* tensor = file_ != nullptr ? file_->find_tensor(key) : nullptr;
  if (tensor == nullptr || !elsewhere(*tensor)) {
    return tensor != nullptr ? TensorSource::weight(file_, *tensor) : nullptr;
  }
  const auto answer = ui.session != nullptr ? ui.session->tensor(key) : nullptr;
  return answer != nullptr && answer->file != nullptr
             ? TensorSource::weight(answer->file, answer->file->tensors.front())
             : nullptr;
}

/// Whether a tensor of another machine is asked for and not here yet.
bool TensorsPanel::coming(Ui& ui, const std::string& key) const {
  const format::TensorInfo* tensor = file_ != nullptr ? file_->find_tensor(key) : nullptr;
  return tensor != nullptr && elsewhere(*tensor) && ui.session != nullptr &&
         ui.session->tensor(key) == nullptr;
}

/// Takes over the model, the captured token and the shared selection.
void TensorsPanel::follow(Ui& ui) {
  const session::ModelInfo* model = ui.snapshot->model.get();
  const auto file = model != nullptr ? model->file : nullptr;
  bool renew = false;
  if (file != file_) {
    file_ = file;
    taps_.reset();
    key_.clear();
    second_key_.clear();
    search_.clear();
    sources_ = {};
    stale_ = true;
  }
  const bool taps_open = open_.contains("taps") || key_.starts_with("tap/");
  if (taps_open && ui.snapshot->n_frames > 0) {
    const auto detail = want_detail(ui, false).detail;
    if (detail != taps_ && detail != nullptr && detail->error.empty()) {
      taps_ = detail;
      stale_ = true;
      renew = key_.starts_with("tap/") || second_key_.starts_with("tap/");
    }
  }
  renew = follow_reference(ui) || renew;
  if (ui.snapshot->n_frames == 0 && taps_ != nullptr) {
    taps_.reset();
    stale_ = true;
    renew = true;
  }
  const bool other = ui.selection.tensor != key_;
  if (other) {
    key_ = ui.selection.tensor;
    scroll_to_ = key_;
    const int layer = view::layer_of_name(key_);
    if (!key_.starts_with("tap/") && layer >= 0 &&
        open_.insert(fmt::format("weights/{}", layer)).second) {
      stale_ = true;
    }
    look_.picked = -1;
  }
  const std::string second = sources_[1] != nullptr ? sources_[1]->key : std::string();
  // A tensor of another machine is looked for until it has come.
  renew = renew || (sources_[0] == nullptr && !key_.empty() && !key_.starts_with("tap/"));
  if (other || renew || (!beside_ && second != second_key_)) {
    const auto before = sources_[0];
    sources_[0] = beside_ ? find_in(details_.a, key_) : find(ui, key_);
    sources_[1] = beside_               ? find_in(details_.b, key_)
                  : second_key_.empty() ? nullptr
                                        : find(ui, second_key_);
    sources_[2] = nullptr;
    difference_error_.clear();
    if (sources_[0] != nullptr && sources_[1] != nullptr) {
      auto difference = TensorSource::difference(sources_[0], sources_[1]);
      if (difference.ok()) {
        sources_[2] = std::move(difference).value();
      } else {
        difference_error_ = difference.error().message;
      }
    } else if (!beside_ && !second_key_.empty() && sources_[1] == nullptr &&
               !coming(ui, second_key_)) {
      second_key_.clear();
    }
    const auto& now = sources_[0];
    if (now != nullptr &&
        (before == nullptr || before->rows != now->rows || before->cols != now->cols)) {
      look_.view = view::fit_view(now->rows, now->cols);
      look_.fitted = true;
    }
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      worker_.look_at(i, sources_[i]);
    }
  }
  if (worker_.busy()) {
    ui.requests.redraw = true;
  }
}

void TensorsPanel::show(Ui& ui, const std::string& key) {
  ui.selection.tensor = key;
  scroll_to_.clear();
}

void TensorsPanel::row(Ui& ui, const view::TreeRow& row) {
  const Palette& c = colors(ui);
  ImGui::TableNextRow();
  ImGui::TableNextColumn();
  ImGui::PushID(row.key.c_str());
  const float indent = px(ui, 14.0F) * static_cast<float>(row.depth);
  const bool group = row.kind == Kind::kGroup;
  const std::string label = (group ? (row.open ? "▾ " : "▸ ") : "") + row.label;
  if (indent > 0.0F) {
    ImGui::Indent(indent);
  }
  const std::string fit = fitted(label, ImGui::GetContentRegionAvail().x);
  if (ImGui::Selectable(fit.c_str(), !group && row.key == key_,
                        ImGuiSelectableFlags_SpanAllColumns)) {
    if (!group) {
      show(ui, row.key);
    } else if (!open_.erase(row.key)) {
      open_.insert(row.key);
      stale_ = true;
    }
    stale_ = stale_ || group;
  }
  ui.widgets.mark(fmt::format("tensors/row/{}", row.key));
  if (!group && ImGui::IsItemClicked(ImGuiMouseButton_Right)) {
    compare_with(row.key);
  }
  if (!group && row.key == scroll_to_) {
    ImGui::SetScrollHereY(0.4F);
    scroll_to_.clear();
  }
  if (indent > 0.0F) {
    ImGui::Unindent(indent);
  }
  ImGui::PopID();
  if (group) {
    tip("Click: fold or unfold");
    ImGui::TableNextColumn();
    ImGui::TableNextColumn();
    text(c.faint, fmt::format("{}", row.inside));
    return;
  }
  if (row.key == second_key_) {
    ImGui::TableSetBgColor(ImGuiTableBgTarget_RowBg0, mix(c.panel, c.warn, 0.18F));
  }
  if (row.kind == Kind::kWeight) {
    const format::TensorInfo& t = file_->tensors[row.index];
    tip(fmt::format("{}\n{} at file offset {:#x}\nRight-click: compare with the shown tensor",
                    t.name, view::bytes_text(t.data.size()), t.offset));
    const DTypeInfo& type = dtype_info(t.dtype);
    ImGui::TableNextColumn();
    text(type.decodable ? c.quiet : c.warn, type.name);
    ImGui::TableNextColumn();
    text_elided(c.quiet, format::shape_text(t.shape), ImGui::GetContentRegionAvail().x);
  } else {
    const capture::FullTensor& t = taps_->pass.tensors[row.index];
    tip("Captured by evaluating this token again\nRight-click: compare with the shown tensor");
    ImGui::TableNextColumn();
    text(c.quiet, "F32");
    ImGui::TableNextColumn();
    text_elided(c.quiet, format::shape_text({t.shape.begin(), t.shape.end()}),
                ImGui::GetContentRegionAvail().x);
  }
}

void TensorsPanel::list(Ui& ui) {
  const float width = ImGui::GetContentRegionAvail().x;
  if (search_field(ui, "tensors/search", search_, "search name, type or shape", width)) {
    stale_ = true;
  }
  if (stale_) {
    rows_ = view::tensor_tree(file_.get(), taps_.get(), open_, search_);
    stale_ = false;
  }
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_ScrollY | ImGuiTableFlags_SizingStretchProp;
  const FontScope font(ui.fonts.mono, 0.92F);
  if (!ImGui::BeginTable("tensors", 3, kFlags)) {
    return;
  }
  ImGui::TableSetupColumn("Name", 0, 2.1F);
  ImGui::TableSetupColumn("Type", ImGuiTableColumnFlags_WidthFixed, ImGui::CalcTextSize("Q8_0M").x);
  ImGui::TableSetupColumn("Shape", 0, 1.2F);
  ImGuiListClipper clipper;
  clipper.Begin(static_cast<int>(rows_.size()));
  if (!scroll_to_.empty()) {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (rows_[i].key == scroll_to_) {
        clipper.IncludeItemByIndex(static_cast<int>(i));
      }
    }
  }
  while (clipper.Step()) {
    for (int i = clipper.DisplayStart; i < clipper.DisplayEnd && !stale_; ++i) {
      row(ui, rows_[static_cast<std::size_t>(i)]);
    }
  }
  ImGui::EndTable();
}

void TensorsPanel::toolbar(Ui& ui) {
  const Palette& c = colors(ui);
  const auto& source = sources_[0];
  combo(ui, "tensors/overlay", "show: ", look_.overlay, kOverlays.data(),
        static_cast<int>(kOverlays.size()));
  tip("What the colours say: the values, or where one kind of value stands");
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  combo(ui, "tensors/pool", "pixel: ", look_.pool, kPools.data(), static_cast<int>(kPools.size()));
  tip("What a pixel says that covers many values");
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  if (button(ui, "tensors/fit", "All", look_.fitted ? Look::kOn : Look::kPlain,
             "Show the whole tensor (double-click in the map)")) {
    look_.view = view::fit_view(source->rows, source->cols);
    look_.fitted = true;
  }
  ImGui::SameLine(0.0F, px(ui, 4.0F));
  const auto zoom = [&](const char* id, const char* label, double factor, const char* help) {
    if (button(ui, id, label, Look::kPlain, help)) {
      look_.view = view::zoom_view(look_.view, factor, 0.5, 0.5, source->rows, source->cols);
      look_.fitted = false;
    }
    ImGui::SameLine(0.0F, px(ui, 4.0F));
  };
  zoom("tensors/zoom in", "+", 2.0, "Closer (wheel up)");
  zoom("tensors/zoom out", "−", 0.5, "Farther (wheel down)");
  if (ui.compared != nullptr && ui.compared->has_sides() && key_.starts_with("tap/")) {
    ImGui::SameLine(0.0F, px(ui, 12.0F));
    if (button(ui, "tensors/beside", "A · B", ui.beside_reference ? Look::kOn : Look::kPlain,
               "This tap of the session, of the reference, and their difference")) {
      ui.beside_reference = !ui.beside_reference;
    }
  }
  const std::string label = second_key_.empty() ? "Compare…" : "Stop comparing";
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  if (button(ui, "tensors/compare", label, second_key_.empty() ? Look::kPlain : Look::kOn,
             "Show another tensor of the same shape beside this one, and their difference. "
             "Right-click a tensor in the list, or choose here.")) {
    if (second_key_.empty()) {
      ImGui::OpenPopup("compare popup");
    } else {
      second_key_.clear();
    }
  }
  if (begin_popup("compare popup")) {
    text(c.quiet, "Other tensors of this shape");
    int shown = 0;
    if (ImGui::BeginChild("candidates", {px(ui, 320.0F), px(ui, 260.0F)})) {
      const auto candidate = [&](const std::string& key, bool fits) {
        if (fits && key != source->key && shown++ < 400) {
          if (ImGui::Selectable(key.c_str())) {
            second_key_ = key;
            ImGui::CloseCurrentPopup();
          }
          ui.widgets.mark("tensors/compare/" + key);
        }
      };
      for (std::size_t i = 0; file_ != nullptr && i < file_->tensors.size(); ++i) {
        candidate(file_->tensors[i].name, file_->tensors[i].shape == source->shape);
      }
      for (std::size_t i = 0; taps_ != nullptr && i < taps_->pass.tensors.size(); ++i) {
        const auto tap = TensorSource::tap(taps_, i);
        candidate(tap->key, tap->rows == source->rows && tap->cols == source->cols);
      }
      if (shown == 0) {
        text(c.quiet, "none has the same shape");
      }
    }
    ImGui::EndChild();
    ImGui::EndPopup();
  }
}

void TensorsPanel::maps(Ui& ui, ImVec2 room) {
  const Palette& c = colors(ui);
  look_.hovered = -1;
  if (look_.fitted) {
    look_.view = view::fit_view(sources_[0]->rows, sources_[0]->cols);
  }
  const float line = ImGui::GetTextLineHeightWithSpacing();
  const int n = sources_[1] == nullptr ? 1 : sources_[2] == nullptr ? 2 : 3;
  const float gap = px(ui, 8.0F);
  const float width = (room.x - gap * static_cast<float>(n - 1)) / static_cast<float>(n);
  const float titles = n > 1 ? line : 0.0F;
  const float height = std::max(room.y - line - titles, px(ui, 30.0F));
  const ImVec2 start = ImGui::GetCursorPos();
  constexpr std::array<const char*, 3> kIds{"tensors/map", "tensors/map/second",
                                            "tensors/map/difference"};
  for (int i = 0; i < n; ++i) {
    const auto slot = static_cast<std::size_t>(i);
    const float x = start.x + (width + gap) * static_cast<float>(i);
    if (n > 1) {
      ImGui::SetCursorPos({x, start.y});
      ImGui::PushClipRect(
          ImGui::GetCursorScreenPos(),
          {ImGui::GetCursorScreenPos().x + width, ImGui::GetCursorScreenPos().y + line * 2.0F},
          true);
      text(i == 2 ? c.warn : c.quiet,
           i == 2    ? "difference"
           : beside_ ? fmt::format("{} · {}", i == 0 ? "A" : "B", sources_[slot]->name)
                     : sources_[slot]->name);
      ImGui::PopClipRect();
    }
    ImGui::SetCursorPos({x, start.y + titles});
    maps_[slot].draw(ui, kIds[slot], worker_, slot, sources_[slot], look_, {width, height}, i == 2);
  }
  ImGui::SetCursorPos({start.x, start.y + titles + height + px(ui, 2.0F)});
  const FontScope font(ui.fonts.mono, 0.82F);
  const view::MapView& v = look_.view;
  std::string where = fmt::format("rows {:.0f} … {:.0f} of {} · columns {:.0f} … {:.0f} of {}",
                                  v.row, v.row + v.rows - 1.0, sources_[0]->rows, v.col,
                                  v.col + v.cols - 1.0, sources_[0]->cols);
  if (!difference_error_.empty()) {
    where = difference_error_;
  } else if (const auto scan = worker_.scan(2); n == 3 && scan != nullptr) {
    const auto first = worker_.scan(0);
    const double base = first != nullptr ? first->l2() : 0.0;
    const double most = std::max(std::fabs(double{scan->min}), std::fabs(double{scan->max}));
    where = fmt::format("largest |difference| {} · relative L2 {}", view::number_text(most),
                        base > 0.0 ? view::number_text(scan->l2() / base) : "—");
    ui.widgets.state("tensors/difference/max", view::number_text(most));
  }
  text(difference_error_.empty() ? c.quiet : c.warn, where);
}

/// The shown tensor's statistics and histogram; with none shown, the list of the file's tensors.
std::string TensorsPanel::csv(const Ui& /*ui*/) const {
  const auto scan = worker_.scan(0);
  if (sources_[0] == nullptr || scan == nullptr || !scan->done() || scan->failed()) {
    std::string all = "tensor,type,shape,file_offset,bytes\n";
    for (std::size_t i = 0; file_ != nullptr && i < file_->tensors.size(); ++i) {
      const format::TensorInfo& t = file_->tensors[i];
      all += view::csv_line({t.name, dtype_info(t.dtype).name, format::shape_text(t.shape),
                             fmt::format("{}", t.offset), fmt::format("{}", t.data.size())});
    }
    return file_ == nullptr ? std::string() : all;
  }
  std::string all = "tensor,what,from,to,value\n";
  const auto add = [&](const char* what, const std::string& value) {
    all += view::csv_line({sources_[0]->key, what, "", "", value});
  };
  add("mean", fmt::format("{:.9g}", scan->mean()));
  add("deviation", fmt::format("{:.9g}", scan->deviation()));
  add("l2", fmt::format("{:.9g}", scan->l2()));
  add("min", fmt::format("{:.9g}", scan->min));
  add("max", fmt::format("{:.9g}", scan->max));
  add("nan", fmt::format("{}", scan->nan));
  add("inf", fmt::format("{}", scan->inf));
  add("zeros", fmt::format("{}", scan->zeros));
  add("subnormal", fmt::format("{}", scan->subnormal));
  const double step =
      (double{scan->max} - double{scan->min}) / static_cast<double>(view::TensorScan::kBins);
  for (std::size_t i = 0; i < view::TensorScan::kBins; ++i) {
    const double from = double{scan->min} + step * static_cast<double>(i);
    all +=
        view::csv_line({sources_[0]->key, "histogram", fmt::format("{:.9g}", from),
                        fmt::format("{:.9g}", from + step), fmt::format("{}", scan->histogram[i])});
  }
  return all;
}

void TensorsPanel::draw(Ui& ui) {
  follow(ui);
  ui.widgets.state("tensors/count",
                   fmt::format("{}", file_ != nullptr ? file_->tensors.size() : 0));
  ui.widgets.state("tensors/taps",
                   fmt::format("{}", taps_ != nullptr ? taps_->pass.tensors.size() : 0));
  ui.widgets.state("tensors/busy", worker_.busy() ? "yes" : "no");
  const auto& recording = ui.snapshot->recording;
  const std::string missing = recording != nullptr ? recording->tensors : std::string();
  ui.widgets.state("tensors/missing", missing);
  if (file_ == nullptr && taps_ == nullptr) {
    if (!missing.empty()) {
      empty_state(ui, "tensors", "No tensors", missing);
      return;
    }
    empty_state(ui, "tensors", "No tensors",
                "Open a model: every tensor of its file is listed with type, shape and place, and "
                "can be looked into. With tokens evaluated, what every layer computed stands here "
                "too.");
    return;
  }
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float left = std::clamp(room.x * 0.24F, px(ui, 210.0F), px(ui, 420.0F));
  const float right = std::clamp(room.x * 0.25F, px(ui, 240.0F), px(ui, 460.0F));
  const float gap = px(ui, 14.0F);
  constexpr ImGuiWindowFlags kStill =
      ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse;
  if (ImGui::BeginChild("list", {left, room.y}, 0, kStill)) {
    list(ui);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (sources_[0] == nullptr) {
    const format::TensorInfo* tensor = file_ != nullptr ? file_->find_tensor(key_) : nullptr;
    const bool visible = ImGui::BeginChild("nothing", {0.0F, room.y});
    if (visible && tensor != nullptr && elsewhere(*tensor)) {
      tensor_report(ui, *tensor);
    } else if (visible) {
      empty_state(
          ui, "tensors/detail",
          key_.starts_with("tap/") ? "That tap was not captured here" : "No tensor selected",
          missing.empty()
              ? "Click a row: its values as a map, its statistics, histogram and exact values "
                "then stand here. Right-click a second one to compare."
              : missing);
    }
    ImGui::EndChild();
    return;
  }
  if (ImGui::BeginChild("map", {std::max(room.x - left - right - 2.0F * gap, 1.0F), room.y}, 0,
                        kStill)) {
    toolbar(ui);
    maps(ui, ImGui::GetContentRegionAvail());
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("detail", {right, room.y})) {
    detail_.draw(ui, *sources_[0], worker_.scan(0).get(), look_, maps_[0].lo(), maps_[0].hi());
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_tensors() { return std::make_unique<TensorsPanel>(); }

}  // namespace layerscope::gui
