#include "gui/view/head_table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gui/view/frames.h"

namespace layerscope::gui::view {
namespace {

double key_of(const HeadRow& row, HeadColumn column) {
  switch (column) {
    case HeadColumn::kHead:
      return row.layer * 65536.0 + row.head;
    case HeadColumn::kRowSum:
      return static_cast<double>(row.stats.row_sum);
    case HeadColumn::kEntropy:
      return static_cast<double>(row.stats.entropy);
    case HeadColumn::kMax:
      return static_cast<double>(row.stats.max);
    case HeadColumn::kWhere:
      return row.stats.argmax;
    case HeadColumn::kFirst:
      return static_cast<double>(row.stats.first);
    case HeadColumn::kSelf:
      return static_cast<double>(row.stats.self);
  }
  return 0.0;
}

}  // namespace

std::vector<HeadRow> head_rows(const capture::TokenFrame* frame) {
  std::vector<HeadRow> rows;
  if (frame == nullptr) {
    return rows;
  }
  for (int layer = 0; layer < frame->n_layers; ++layer) {
    for (int head = 0; head < frame->n_heads; ++head) {
      if (const capture::HeadStats* stats = head_stats(frame, layer, head)) {
        rows.push_back({layer, head, *stats});
      }
    }
  }
  return rows;
}

void sort_heads(std::vector<HeadRow>& rows, HeadColumn column, bool descending) {
  const auto key = [column, descending](const HeadRow& row) {
    const double value = key_of(row, column);
    if (std::isnan(value)) {
      return -std::numeric_limits<double>::infinity();
    }
    return descending ? -value : value;
  };
  std::stable_sort(rows.begin(), rows.end(),
                   [&key](const HeadRow& a, const HeadRow& b) { return key(a) < key(b); });
}

bool row_sum_off(const capture::HeadStats& stats, int keys) {
  // Each of the additions rounds by at most 2⁻²⁴ of a sum near 1; the exponentials add about as
  // much.
  const float bound = 1e-5F + static_cast<float>(std::max(keys, 1)) * 0x1p-22F;
  return !(std::fabs(stats.row_sum - 1.0F) <= bound);
}

}  // namespace layerscope::gui::view
