// Head table: one step's attention statistics of every head as sortable rows. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/capture/frame.h"

namespace layerscope::gui::view {

struct HeadRow {
  int layer = 0;
  int head = 0;
  capture::HeadStats stats;
};

enum class HeadColumn : std::uint8_t { kHead, kRowSum, kEntropy, kMax, kWhere, kFirst, kSelf };

/// One row per layer and head, in that order; empty without statistics.
std::vector<HeadRow> head_rows(const capture::TokenFrame* frame);

/// Sorts stably; NaN always comes first, so that what is broken is on top in either direction.
void sort_heads(std::vector<HeadRow>& rows, HeadColumn column, bool descending);

/// True when the row sum is not 1 within float32 rounding over `keys` probabilities.
bool row_sum_off(const capture::HeadStats& stats, int keys);

}  // namespace layerscope::gui::view
