#include "gui/view/thumbnails.h"

#include <algorithm>
#include <cmath>

#include "gui/view/pooling.h"

namespace layerscope::gui::view {

int thumbnail_side(int n_layers, int n_heads) { return capture::pooled_bins(n_layers, n_heads); }

std::size_t Thumbnails::offset(int layer, int head) const {
  const auto side = static_cast<std::size_t>(side_);
  return static_cast<std::size_t>(layer) * side * side * static_cast<std::size_t>(heads_) +
         static_cast<std::size_t>(head) * side;
}

float Thumbnails::cell(int layer, int head, int row, int column) const {
  const std::size_t stride = static_cast<std::size_t>(heads_) * static_cast<std::size_t>(side_);
  return cells_[offset(layer, head) + static_cast<std::size_t>(row) * stride +
                static_cast<std::size_t>(column)];
}

HeatmapData Thumbnails::data() const {
  HeatmapData data;
  data.width = heads_ * side_;
  data.height = layers_ * side_;
  data.values = cells_;
  data.version = version_;
  data.flag = true;
  return data;
}

void Thumbnails::reset(const session::Snapshot& snapshot) {
  cursor_.truncate(0, snapshot);
  layers_ = 0;
  heads_ = 0;
  if (const capture::TokenFrame* first = snapshot.frame(0)) {
    layers_ = std::max(first->n_layers, 0);
    heads_ = std::max(first->n_heads, 0);
  }
  side_ = thumbnail_side(layers_, heads_);
  bin_ = 1;
  missing_ = 0;
  const auto side = static_cast<std::size_t>(side_);
  cells_.assign(static_cast<std::size_t>(layers_) * static_cast<std::size_t>(heads_) * side * side,
                HeatmapData::kHole);
  ++version_;
}

/// The root of a head's row, or of its pooled row, into row_ and row_width_.
bool Thumbnails::take_root(const capture::TokenFrame& frame, int layer, int head) {
  const std::span<const float> row = captured_row(&frame, layer, head);
  if (!row.empty()) {
    row_width_ = 1;
    row_.resize(row.size());
    std::transform(row.begin(), row.end(), row_.begin(), [](float p) { return std::sqrt(p); });
    return true;
  }
  const PooledRow pooled = pooled_row(&frame, layer, head);
  row_width_ = pooled.width;
  row_.resize(pooled.cells.size());
  std::transform(pooled.cells.begin(), pooled.cells.end(), row_.begin(),
                 capture::PooledRows::root_of);
  return !row_.empty() && row_width_ <= bin_;
}

void Thumbnails::take(const capture::TokenFrame& frame) {
  const int position = cursor_.size();
  const std::size_t stride = static_cast<std::size_t>(heads_) * static_cast<std::size_t>(side_);
  while (position >= side_ * bin_) {
    for (int layer = 0; layer < layers_; ++layer) {
      for (int head = 0; head < heads_; ++head) {
        halve({cells_.data() + offset(layer, head), stride, side_});
      }
    }
    bin_ *= 2;
  }
  bool any = false;
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < heads_; ++head) {
      if (frame.position != position || !take_root(frame, layer, head)) {
        continue;
      }
      any = true;
      // A pooled row's width is at most the atlas's bin: both are the smallest power of two that
      // fits, and the atlas holds this token.
      pool_row({cells_.data() + offset(layer, head), stride, side_}, bin_, position, row_,
               row_width_);
    }
  }
  missing_ += any ? 0 : 1;
  cursor_.push(frame);
}

bool Thumbnails::update(const session::Snapshot& snapshot, std::size_t budget) {
  const int keep = cursor_.unchanged(snapshot);
  const capture::TokenFrame* first = snapshot.frame(0);
  const bool other_shape =
      first != nullptr && (first->n_layers != layers_ || first->n_heads != heads_);
  if (keep == 0 && (cursor_.size() > 0 || other_shape)) {
    reset(snapshot);
  } else if (keep < cursor_.size()) {
    // Cut: the rows of cells from the first changed token on are pooled anew. After a cut to less
    // than half the atlas a finer bin fits, so everything is.
    if (bin_ > 1 && keep <= side_ * bin_ / 2) {
      reset(snapshot);
    } else {
      const std::size_t stride = static_cast<std::size_t>(heads_) * static_cast<std::size_t>(side_);
      for (int layer = 0; layer < layers_; ++layer) {
        for (int head = 0; head < heads_; ++head) {
          clear_rows({cells_.data() + offset(layer, head), stride, side_}, keep / bin_);
        }
      }
      cursor_.truncate(keep / bin_ * bin_, snapshot);
      ++version_;
    }
  }
  if (cursor_.size() == 0) {
    cursor_.truncate(0, snapshot);
  }
  std::size_t spent = 0;
  while (cursor_.size() < snapshot.n_frames && spent < budget) {
    const capture::TokenFrame* frame = snapshot.frame(cursor_.size());
    if (frame == nullptr) {
      return true;
    }
    spent += static_cast<std::size_t>(layers_) * static_cast<std::size_t>(heads_) *
                 static_cast<std::size_t>(cursor_.size() + 1) +
             1;
    take(*frame);
    ++version_;
  }
  return cursor_.size() >= snapshot.n_frames;
}

}  // namespace layerscope::gui::view
