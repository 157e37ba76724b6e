#include "gui/view/norms.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gui/view/pooling.h"

namespace layerscope::gui::view {
namespace {

constexpr int kFirstColumns = 64;

}  // namespace

float norm_value(const capture::TapStats* stats) {
  if (stats == nullptr || stats->count == 0) {
    return HeatmapData::kHole;
  }
  return stats->non_finite > 0 ? std::numeric_limits<float>::quiet_NaN() : stats->l2;
}

void NormsMap::select(capture::Tap tap) {
  stale_ = stale_ || tap != tap_;
  tap_ = tap;
}

void NormsMap::restart(const session::Snapshot& snapshot) {
  cursor_.truncate(0, snapshot);
  const capture::TokenFrame* first = snapshot.frame(0);
  rows_ = 0;
  if (first != nullptr) {
    rows_ = capture::is_layer_tap(tap_) ? std::max(first->n_layers, 0) : 1;
  }
  columns_ = kFirstColumns;
  bin_ = 1;
  cells_.assign(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_),
                HeatmapData::kHole);
  stale_ = false;
}

void NormsMap::grow() {
  const int wider = columns_ < kMaxColumns ? columns_ * 2 : columns_;
  std::vector<float> next(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(wider),
                          HeatmapData::kHole);
  for (int r = 0; r < rows_; ++r) {
    float* out = next.data() + static_cast<std::size_t>(r) * static_cast<std::size_t>(wider);
    for (int c = 0; c < columns_; ++c) {
      if (wider > columns_) {
        out[c] = cell(r, c);
      } else {
        out[c / 2] = pool_max(out[c / 2], cell(r, c));
      }
    }
  }
  bin_ *= wider > columns_ ? 1 : 2;
  columns_ = wider;
  cells_ = std::move(next);
}

void NormsMap::update(const session::Snapshot& snapshot) {
  int keep = stale_ ? 0 : cursor_.unchanged(snapshot);
  if (keep == cursor_.size() && keep == snapshot.n_frames && !stale_) {
    return;
  }
  const capture::TokenFrame* first = snapshot.frame(0);
  const int wanted_rows =
      first == nullptr ? 0 : (capture::is_layer_tap(tap_) ? std::max(first->n_layers, 0) : 1);
  if (stale_ || keep == 0 || wanted_rows != rows_ || (bin_ > 1 && keep < cursor_.size())) {
    restart(snapshot);
  } else if (keep < cursor_.size()) {
    for (int r = 0; r < rows_; ++r) {
      float* row = cells_.data() + static_cast<std::size_t>(r) * static_cast<std::size_t>(columns_);
      std::fill(row + keep, row + columns_, HeatmapData::kHole);
    }
    cursor_.truncate(keep, snapshot);
  }
  while (cursor_.size() < snapshot.n_frames) {
    const int position = cursor_.size();
    const capture::TokenFrame* frame = snapshot.frame(position);
    if (frame == nullptr) {
      break;
    }
    while (position >= columns_ * bin_) {
      grow();
    }
    for (int r = 0; r < rows_; ++r) {
      const int layer = capture::is_layer_tap(tap_) ? r : -1;
      float& cell = cells_[static_cast<std::size_t>(r) * static_cast<std::size_t>(columns_) +
                           static_cast<std::size_t>(position / bin_)];
      cell = pool_max(cell, norm_value(tap_stats(frame, layer, tap_)));
    }
    cursor_.push(*frame);
  }
  find_range();
  ++version_;
}

void NormsMap::find_range() {
  lo_ = 0.0F;
  hi_ = 0.0F;
  any_ = false;
  for (const float value : cells_) {
    if (value == HeatmapData::kHole) {
      continue;
    }
    any_ = true;
    if (std::isfinite(value) && value > 0.0F) {
      lo_ = hi_ == 0.0F ? value : std::min(lo_, value);
      hi_ = std::max(hi_, value);
    }
  }
}

HeatmapData NormsMap::data() const {
  HeatmapData data;
  data.width = columns_;
  data.height = rows_;
  data.values = cells_;
  data.version = version_;
  data.log_scale = true;
  data.lo = lo_ > 0.0F ? lo_ : 1.0F;
  data.hi = std::max(hi_, data.lo * 1.001F);
  return data;
}

std::vector<float> norm_profile(const capture::TokenFrame* frame, capture::Tap tap) {
  std::vector<float> profile;
  if (frame == nullptr) {
    return profile;
  }
  for (int layer = 0; layer < frame->n_layers; ++layer) {
    const float value = norm_value(tap_stats(frame, layer, tap));
    profile.push_back(value == HeatmapData::kHole ? std::numeric_limits<float>::quiet_NaN()
                                                  : value);
  }
  return profile;
}

std::vector<float> ratio_profile(const std::vector<float>& now, const std::vector<float>& before) {
  std::vector<float> ratio(now.size(), std::nanf(""));
  for (std::size_t i = 0; i < std::min(now.size(), before.size()); ++i) {
    if (before[i] > 0.0F) {
      ratio[i] = now[i] / before[i];
    }
  }
  return ratio;
}

NormShares norm_shares(const capture::TokenFrame* frame) {
  const std::vector<float> residual = norm_profile(frame, capture::Tap::kResidOut);
  const auto relative = [&residual](std::vector<float> part) {
    for (std::size_t i = 0; i < part.size(); ++i) {
      part[i] = i < residual.size() && residual[i] > 0.0F ? part[i] / residual[i] : std::nanf("");
    }
    return part;
  };
  return {relative(norm_profile(frame, capture::Tap::kAttnOut)),
          relative(norm_profile(frame, capture::Tap::kFfnOut))};
}

}  // namespace layerscope::gui::view
