#include "gui/panels/tensor_report.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {

void tensor_report(Ui& ui, const format::TensorInfo& tensor) {
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
  text(c.quiet, answer->note);
  ImGui::PopTextWrapPos();
}

}  // namespace layerscope::gui
