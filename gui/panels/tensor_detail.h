// Tensor detail: statistics, histogram with the range of colours, and the picked value with the
// block that it is stored in. UI thread.
#pragma once

#include "gui/panels/tensor_map.h"
#include "gui/panels/ui.h"
#include "gui/view/tensor_scan.h"

namespace layerscope::gui {

class TensorDetail {
 public:
  /// `lo` … `hi`: the range of colours now.
  void draw(Ui& ui, const view::TensorSource& source, const view::TensorScan* scan,
            TensorLook& look, float lo, float hi);

 private:
  static void statistics(Ui& ui, const view::TensorScan& scan);
  void histogram(Ui& ui, const view::TensorScan& scan, TensorLook& look, float lo, float hi);
  static void range_buttons(Ui& ui, TensorLook& look);
  void picked(Ui& ui, const view::TensorSource& source, const TensorLook& look);
  static void block(Ui& ui, const format::TensorInfo& tensor, std::uint64_t flat);

  int dragged_ = -1;  ///< 0 the lower handle, 1 the upper one
};

}  // namespace layerscope::gui
