#include "gui/view/norms.h"

#include <algorithm>
#include <cmath>

#include "gui/view/pooling.h"

namespace layerscope::gui::view {
namespace {

int rows_of(const session::Snapshot& snapshot, capture::Tap tap) {
  const capture::TokenFrame* first = snapshot.frame(0);
  if (first == nullptr) {
    return 0;
  }
  return capture::is_layer_tap(tap) ? std::max(first->n_layers, 0) : 1;
}

/// Reads that a faulty backend's short arrays cannot hurt.
float value_of(const capture::TokenFrame* frame, int layer, const StatChoice& choice) {
  const capture::TapStats* stats = tap_stats(frame, layer, choice.tap);
  return stats == nullptr ? HeatmapData::kHole : statistic_value(*stats, choice.statistic);
}

}  // namespace

void StatRange::update(const session::Snapshot& snapshot, const StatChoice& choice) {
  const int keep = choice == choice_ ? cursor_.unchanged(snapshot) : 0;
  if (keep < cursor_.size() || cursor_.size() == 0) {
    cursor_.truncate(0, snapshot);
    choice_ = choice;
    lo_ = hi_ = 0.0F;
    any_ = false;
  }
  const int rows = rows_of(snapshot, choice.tap);
  while (cursor_.size() < snapshot.n_frames) {
    const capture::TokenFrame* frame = snapshot.frame(cursor_.size());
    if (frame == nullptr) {
      break;
    }
    for (int r = 0; r < rows; ++r) {
      const float value = value_of(frame, capture::is_layer_tap(choice.tap) ? r : -1, choice);
      any_ = any_ || value != HeatmapData::kHole;
      if (std::isfinite(value) && value > 0.0F) {
        lo_ = hi_ == 0.0F ? value : std::min(lo_, value);
        hi_ = std::max(hi_, value);
      }
    }
    cursor_.push(*frame);
  }
}

void StatRange::apply(bool log_scale, HeatmapData& data) const {
  data.log_scale = log_scale;
  data.lo = !log_scale ? 0.0F : lo_ > 0.0F ? lo_ : 1.0F;
  data.hi = hi_ > 0.0F ? std::max(hi_, data.lo * 1.001F) : 1.001F;
}

void NormsMap::restart(const session::Snapshot& snapshot, const StatChoice& choice) {
  cursor_.truncate(0, snapshot);
  choice_ = choice;
  rows_ = rows_of(snapshot, choice.tap);
  columns_ = backend::stat_columns(snapshot.n_frames);
  cells_.assign(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_.cells),
                HeatmapData::kHole);
}

void NormsMap::widen(const backend::Binning& columns) {
  std::vector<float> next(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns.cells),
                          HeatmapData::kHole);
  for (int r = 0; r < rows_; ++r) {
    float* out =
        next.data() + static_cast<std::size_t>(r) * static_cast<std::size_t>(columns.cells);
    for (int c = 0; c < used(); ++c) {
      float& to = out[c * columns_.bin / columns.bin];
      to = pool_max(to, cell(r, c));
    }
  }
  columns_ = columns;
  cells_ = std::move(next);
}

void NormsMap::update(const session::Snapshot& snapshot, const StatChoice& choice) {
  const int keep = choice == choice_ ? cursor_.unchanged(snapshot) : 0;
  if (keep == cursor_.size() && keep == snapshot.n_frames && choice == choice_) {
    return;
  }
  const backend::Binning wanted = backend::stat_columns(snapshot.n_frames);
  // Cells that hold tokens which are gone cannot be taken back.
  if (keep == 0 || keep < cursor_.size() || rows_ != rows_of(snapshot, choice.tap)) {
    restart(snapshot, choice);
  } else if (wanted != columns_) {
    widen(wanted);
  }
  while (cursor_.size() < snapshot.n_frames) {
    const int position = cursor_.size();
    const capture::TokenFrame* frame = snapshot.frame(position);
    if (frame == nullptr) {
      break;
    }
    for (int r = 0; r < rows_; ++r) {
      const int layer = capture::is_layer_tap(choice.tap) ? r : -1;
      float& cell = cells_[static_cast<std::size_t>(r) * static_cast<std::size_t>(columns_.cells) +
                           static_cast<std::size_t>(position / columns_.bin)];
      cell = pool_max(cell, value_of(frame, layer, choice));
    }
    cursor_.push(*frame);
  }
  ++version_;
}

HeatmapData NormsMap::data() const {
  HeatmapData data;
  data.width = columns_.cells;
  data.height = rows_;
  data.values = cells_;
  data.version = version_;
  return data;
}

std::vector<float> norm_profile(const capture::TokenFrame* frame, capture::Tap tap) {
  std::vector<float> profile;
  if (frame == nullptr) {
    return profile;
  }
  for (int layer = 0; layer < frame->n_layers; ++layer) {
    profile.push_back(value_of(frame, layer, {tap, backend::Statistic::kL2}));
  }
  return profile;
}

std::vector<float> ratio_profile(const std::vector<float>& now, const std::vector<float>& before) {
  std::vector<float> ratio(now.size(), HeatmapData::kHole);
  for (std::size_t i = 0; i < std::min(now.size(), before.size()); ++i) {
    if (before[i] > 0.0F && std::isfinite(before[i]) && std::isfinite(now[i]) &&
        now[i] != HeatmapData::kHole) {
      ratio[i] = now[i] / before[i];
    }
  }
  return ratio;
}

NormShares norm_shares(const capture::TokenFrame* frame) {
  const std::vector<float> residual = norm_profile(frame, capture::Tap::kResidOut);
  return {ratio_profile(norm_profile(frame, capture::Tap::kAttnOut), residual),
          ratio_profile(norm_profile(frame, capture::Tap::kFfnOut), residual)};
}

}  // namespace layerscope::gui::view
