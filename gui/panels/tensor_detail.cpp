#include "gui/panels/tensor_detail.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gui/panels/widgets.h"
#include "gui/view/color_map.h"
#include "gui/view/quant_block.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

std::string num(double v) { return view::number_text(v); }

}  // namespace

void TensorDetail::statistics(Ui& ui, const view::TensorScan& scan) {
  const Palette& c = colors(ui);
  const float half = ImGui::GetContentRegionAvail().x * 0.5F;
  const auto pair = [&](const char* a, const std::string& va, const char* b, const std::string& vb,
                        ImU32 color_b) {
    const float x = ImGui::GetCursorPosX();
    text(c.quiet, a);
    mono_right(ui, c.text, va, x + half - px(ui, 12.0F));
    ImGui::SameLine(x + half);
    text(c.quiet, b);
    mono_right(ui, color_b, vb, x + 2.0F * half);
  };
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0.0F, px(ui, 1.0F)});
  pair("mean", num(scan.mean()), "NaN", view::grouped(scan.nan), scan.nan > 0 ? c.error : c.text);
  pair("deviation", num(scan.deviation()), "infinite", view::grouped(scan.inf),
       scan.inf > 0 ? c.error : c.text);
  pair("minimum", num(double{scan.min}), "zeros", view::grouped(scan.zeros), c.text);
  pair("maximum", num(double{scan.max}), "subnormal", view::grouped(scan.subnormal),
       scan.subnormal > 0 ? c.warn : c.text);
  pair("L2 norm", num(scan.l2()), "negative", view::grouped(scan.negative), c.text);
  ImGui::PopStyleVar();
}

void TensorDetail::range_buttons(Ui& ui, TensorLook& look) {
  const auto mode = [&](const char* id, const char* label, RangeMode to, const char* help) {
    if (button_size(ui, label).x > ImGui::GetContentRegionAvail().x) {
      ImGui::NewLine();
    }
    if (button(ui, id, label, look.mode == to ? Look::kOn : Look::kPlain, help)) {
      look.mode = to;
    }
    ImGui::SameLine(0.0F, px(ui, 4.0F));
  };
  ImGui::AlignTextToFramePadding();
  text(colors(ui).quiet, "colours");
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  mode("tensors/range/auto", "Auto", RangeMode::kAuto,
       "Fit the colours to what is visible, without the outermost 0.1 % of it");
  mode("tensors/range/full", "Min–max", RangeMode::kFull, "From the smallest value to the largest");
  mode("tensors/range/manual", "Manual", RangeMode::kManual,
       "Keep the range; drag its ends in the histogram");
  ImGui::NewLine();
}

void TensorDetail::histogram(Ui& ui, const view::TensorScan& scan, TensorLook& look, float lo,
                             float hi) {
  const Palette& c = colors(ui);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const float room = ImGui::GetContentRegionAvail().y;
  const ImVec2 size{std::max(ImGui::GetContentRegionAvail().x, 1.0F),
                    std::clamp(room * 0.34F, px(ui, 40.0F), px(ui, 110.0F))};
  const ImVec2 max{min.x + size.x, min.y + size.y};
  ImGui::InvisibleButton("histogram", size);
  ui.widgets.mark("tensors/histogram");
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(min, max, c.plot, px(ui, 3.0F));
  const double width = double{scan.max} - double{scan.min};
  const auto x_of = [&](double value) {
    const double t = width > 0.0 ? (value - double{scan.min}) / width : 0.5;
    return min.x + size.x * static_cast<float>(std::clamp(t, 0.0, 1.0));
  };
  std::uint64_t most = 1;
  for (const std::uint64_t n : scan.histogram) {
    most = std::max(most, n);
  }
  // The logarithm keeps the tails visible: a single outlier still has a bar.
  const double full = std::log1p(static_cast<double>(most));
  const float pitch = size.x / static_cast<float>(view::TensorScan::kBins);
  const bool is_signed = lo < 0.0F && hi > 0.0F;
  const ColorMap colours = is_signed ? ColorMap::kDiverging : chosen_map(ui);
  for (std::size_t i = 0; i < view::TensorScan::kBins; ++i) {
    const double part = std::log1p(static_cast<double>(scan.histogram[i])) / full;
    const float x = min.x + static_cast<float>(i) * pitch;
    const float bar = static_cast<float>(part) * (size.y - px(ui, 6.0F));
    const double value = double{scan.min} + width * (static_cast<double>(i) + 0.5) /
                                                static_cast<double>(view::TensorScan::kBins);
    const double t = hi > lo ? (value - double{lo}) / (double{hi} - double{lo}) : 0.5;
    const bool inside = t >= 0.0 && t <= 1.0;
    // Bars have the colours of the map: the histogram is its legend.
    const ImU32 ink =
        to_color(view::sample_color_map(colours, static_cast<float>(std::clamp(t, 0.0, 1.0))));
    draw->AddRectFilled({x, max.y - bar}, {x + std::max(pitch - 1.0F, 1.0F), max.y},
                        inside ? ink : mix(c.plot, ink, 0.35F));
  }
  const float x_lo = x_of(double{lo});
  const float x_hi = x_of(double{hi});
  for (const float x : {x_lo, x_hi}) {
    draw->AddLine({x, min.y}, {x, max.y}, c.accent, px(ui, 1.5F));
    const float r = px(ui, 5.0F);
    draw->AddTriangleFilled({x - r, min.y}, {x + r, min.y}, {x, min.y + r * 1.3F}, c.accent);
  }
  const float mouse = ImGui::GetIO().MousePos.x;
  if (ImGui::IsItemActivated()) {
    dragged_ = std::fabs(mouse - x_lo) < std::fabs(mouse - x_hi) ? 0 : 1;
  }
  if (ImGui::IsItemActive() && dragged_ >= 0 && width > 0.0) {
    const double t = std::clamp(static_cast<double>((mouse - min.x) / size.x), 0.0, 1.0);
    const auto value = static_cast<float>(double{scan.min} + width * t);
    const auto least = static_cast<float>(width * 1e-3);
    look.mode = RangeMode::kManual;
    look.lo = dragged_ == 0 ? std::min(value, hi - least) : lo;
    look.hi = dragged_ == 1 ? std::max(value, lo + least) : hi;
  } else if (ImGui::IsItemHovered() && ImGui::BeginTooltip()) {
    const auto bin = static_cast<std::size_t>(
        std::clamp((mouse - min.x) / pitch, 0.0F, static_cast<float>(view::TensorScan::kBins - 1)));
    const double step = width / static_cast<double>(view::TensorScan::kBins);
    const double from = double{scan.min} + step * static_cast<double>(bin);
    fact(ui, "values", fmt::format("{} … {}", num(from), num(from + step)));
    fact(ui, "count", view::grouped(scan.histogram[bin]));
    text(c.quiet, "drag: set an end of the colours' range");
    ImGui::EndTooltip();
  }
  const FontScope font(ui.fonts.mono, 0.82F);
  text(c.quiet, num(double{scan.min}));
  const std::string note = fmt::format("colours {} … {}", num(double{lo}), num(double{hi}));
  const float left = ImGui::GetCursorPosX();
  ImGui::SameLine(left + std::max(0.0F, (size.x - ImGui::CalcTextSize(note.c_str()).x) / 2.0F));
  text(c.text, note);
  mono_right(ui, c.quiet, num(double{scan.max}), left + size.x);
}

void TensorDetail::block(Ui& ui, const format::TensorInfo& tensor, std::uint64_t flat) {
  const Palette& c = colors(ui);
  const DTypeInfo& type = dtype_info(tensor.dtype);
  const std::uint64_t in_file = tensor.offset + flat / type.block * type.block_bytes;
  fact(ui, "file offset", fmt::format("{:#x}", in_file));
  if (type.block == 1) {
    std::string bytes;
    for (std::uint32_t i = 0; i < type.block_bytes; ++i) {
      bytes +=
          fmt::format("{:02x} ", std::to_integer<int>(tensor.data[flat * type.block_bytes + i]));
    }
    fact(ui, "bytes", bytes);
    return;
  }
  const auto found = view::quant_block(tensor, flat);
  if (!found) {
    text(c.quiet, fmt::format("blocks of {} are not taken apart yet", type.name));
    return;
  }
  const view::QuantBlock& b = *found;
  ui.widgets.state("tensors/block/code", fmt::format("{}", b.code));
  ui.widgets.state("tensors/block/scale", fmt::format("{:.9g}", b.scale));
  ui.widgets.state("tensors/block/value", fmt::format("{:.9g}", b.value()));
  fact(ui, "block",
       fmt::format("{} · place {} of {} · {} bytes", view::grouped(b.block), b.place, type.block,
                   b.bytes));
  fact(ui, "scale",
       b.scale == b.block_scale
           ? fmt::format("{:.6g}", b.scale)
           : fmt::format("{:.6g}  (block {:.6g}, part {})", b.scale, b.block_scale, b.group));
  if (b.has_minimum) {
    fact(ui, "minimum", fmt::format("{:.6g}  (block {:.6g})", b.minimum, b.block_min));
  }
  fact(ui, "code",
       fmt::format("{}  →  {:.6g} × {}{}", b.code, b.scale, b.code,
                   b.has_minimum ? fmt::format(" {:+.6g}", b.minimum) : ""));
  std::string codes;
  for (std::size_t i = 0; i < b.codes.size(); ++i) {
    const bool here = static_cast<int>(i) + b.group_first == b.place;
    codes += here ? fmt::format("[{}] ", b.codes[i]) : fmt::format("{} ", b.codes[i]);
  }
  ImGui::PushTextWrapPos(0.0F);
  const FontScope font(ui.fonts.mono, 0.86F);
  text(c.quiet, codes);
  ImGui::PopTextWrapPos();
}

void TensorDetail::picked(Ui& ui, const view::TensorSource& source, const TensorLook& look) {
  const Palette& c = colors(ui);
  if (look.picked < 0 || static_cast<std::uint64_t>(look.picked) >= source.count) {
    text(c.quiet, "Click the map to pick a value.");
    return;
  }
  const auto flat = static_cast<std::uint64_t>(look.picked);
  const auto value = source.read(flat, 1);
  const std::string exact =
      value.ok() && !value.value().empty() ? fmt::format("{:.9g}", value.value().front()) : "—";
  ui.widgets.state("tensors/picked/index", view::index_text(source.shape, flat));
  ui.widgets.state("tensors/picked/value", exact);
  ImGui::AlignTextToFramePadding();
  text(c.quiet, "picked");
  ImGui::SameLine(ImGui::GetFontSize() * 7.0F);
  {
    const FontScope font(ui.fonts.mono);
    text(c.accent, exact);
  }
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  if (ImGui::CalcTextSize("Copy").x > ImGui::GetContentRegionAvail().x) {
    ImGui::NewLine();
  }
  if (button(ui, "tensors/picked/copy", "Copy", Look::kLink, "Copy name, index and value")) {
    ImGui::SetClipboardText(
        fmt::format("{}{} = {}", source.name, view::index_text(source.shape, flat), exact).c_str());
  }
  fact(ui, "index",
       fmt::format("{}  flat {}", view::index_text(source.shape, flat), view::grouped(flat)));
  if (source.stored() != nullptr) {
    block(ui, *source.stored(), flat);
  }
}

void TensorDetail::draw(Ui& ui, const view::TensorSource& source, const view::TensorScan* scan,
                        TensorLook& look, float lo, float hi) {
  const Palette& c = colors(ui);
  ui.widgets.state("tensors/selected", source.key);
  ImGui::PushTextWrapPos(0.0F);
  mono(ui, c.text, source.name);
  ImGui::PopTextWrapPos();
  text(c.quiet, fmt::format("{} · {} · {} values", source.type, format::shape_text(source.shape),
                            view::grouped(source.count)));
  if (scan == nullptr) {
    text(c.quiet, "reading…");
    return;
  }
  ui.widgets.state("tensors/progress", fmt::format("{:.0f}", scan->progress() * 100.0));
  ui.widgets.state("tensors/mean", num(scan->mean()));
  ui.widgets.state("tensors/non_finite", fmt::format("{}", scan->nan + scan->inf));
  ui.widgets.state("tensors/zeros", fmt::format("{}", scan->zeros));
  ui.widgets.state("tensors/subnormal", fmt::format("{}", scan->subnormal));
  if (scan->failed()) {
    ImGui::PushTextWrapPos();
    text(c.error, scan->error());
    ImGui::PopTextWrapPos();
    return;
  }
  if (!scan->done()) {
    ImGui::ProgressBar(static_cast<float>(scan->progress()), {-1.0F, px(ui, 3.0F)}, "");
  }
  statistics(ui, *scan);
  if (scan->statistics_ready()) {
    ImGui::Dummy({0.0F, px(ui, 3.0F)});
    histogram(ui, *scan, look, lo, hi);
    range_buttons(ui, look);
  }
  picked(ui, source, look);
  const FontScope font(ui.fonts.mono, 0.86F);
  // Lines are broken between numbers; a word wrap would break them at their points.
  std::string first = "first values";
  for (const float value : scan->first) {
    std::string longer = first;
    longer += "  ";
    longer += num(double{value});
    if (ImGui::CalcTextSize(longer.c_str()).x <= ImGui::GetContentRegionAvail().x) {
      first = std::move(longer);
    } else {
      text(c.quiet, first);
      first = num(double{value});
    }
  }
  text(c.quiet, first);
}

}  // namespace layerscope::gui
