// Tensor map: one matrix as an image that is zoomed, panned and picked from. Several may share one
// view, so that two tensors and their difference move together. UI thread.
#pragma once

#include <cstdint>
#include <string>

#include "gui/panels/ui.h"
#include "gui/view/tensor_worker.h"

namespace layerscope::gui {

/// Which values a map's colours span.
enum class RangeMode : std::uint8_t { kAuto, kFull, kManual };

/// What the maps of the tab have in common.
struct TensorLook {
  view::MapView view;
  bool fitted = false;  ///< the view shows everything of the present tensor
  int pool = 0;         ///< view::Pool
  int overlay = 0;      ///< Overlay
  bool cells = true;    ///< numbers inside large cells
  RangeMode mode = RangeMode::kAuto;
  float lo = -1.0F, hi = 1.0F;
  std::int64_t picked = -1;   ///< flat index, −1 none
  std::int64_t hovered = -1;  ///< this frame
};

class TensorMap {
 public:
  /// `slot` of the worker; `id` is registered. Draws into a rectangle of `size` at the cursor.
  /// `symmetric` spans −m … m whatever the look says (differences).
  void draw(Ui& ui, const std::string& id, view::TensorWorker& worker, std::size_t slot,
            const view::TensorSource::Ptr& source, TensorLook& look, ImVec2 size, bool symmetric);
  /// The range of colours in the last frame.
  [[nodiscard]] float lo() const { return lo_; }
  [[nodiscard]] float hi() const { return hi_; }

 private:
  struct Place {
    ImVec2 min, size;
  };
  void find_range(const view::ValueMap& map, const view::TensorScan* scan, const TensorLook& look,
                  bool symmetric);
  void input(const view::TensorSource& source, TensorLook& look, const Place& at, bool hovered);
  void image(Ui& ui, const std::string& id, const view::ValueMap& map, const TensorLook& look,
             const Place& at);
  void numbers(Ui& ui, const view::TensorSource& source, const TensorLook& look, const Place& at);
  void marks(Ui& ui, const view::TensorSource& source, const TensorLook& look, const Place& at);
  static void tooltip(Ui& ui, const view::TensorSource& source, const view::ValueMap* map,
                      const TensorLook& look, const Place& at);

  float lo_ = 0.0F, hi_ = 1.0F;
  std::uint64_t range_version_ = 0;
  RangeMode range_mode_ = RangeMode::kAuto;
};

/// The cell of `source` at fractions (x, y) of the view, as a flat index; −1 outside.
std::int64_t cell_at(const view::TensorSource& source, const view::MapView& view, float x, float y);

}  // namespace layerscope::gui
