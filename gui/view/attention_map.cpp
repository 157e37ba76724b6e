#include "gui/view/attention_map.h"

#include <algorithm>
#include <cmath>

namespace layerscope::gui::view {
namespace {

constexpr int kFirstSide = 64;

}  // namespace

float map_value(float probability, float lse, MapValue value) {
  if (value == MapValue::kProbability) {
    return probability;
  }
  if (probability == 0.0F) {
    return HeatmapData::kHole;
  }
  return std::log(probability) + lse;
}

void AttentionMap::select(int layer, int head, MapValue value) {
  if (layer == layer_ && head == head_ && value == value_ && side_ > 0) {
    return;
  }
  layer_ = layer;
  head_ = head;
  value_ = value;
  requested_serial_ = 0;
  side_ = 0;  // the next update starts anew
}

void AttentionMap::restart(const session::Snapshot& snapshot) {
  cursor_.truncate(0, snapshot);
  missing_.clear();
  filled_from_ = nullptr;
  side_ = kFirstSide;
  bin_ = 1;
  cells_.assign(static_cast<std::size_t>(side_) * static_cast<std::size_t>(side_),
                HeatmapData::kHole);
  range_ = {};
  log_range_ = {};
  ++version_;
}

void AttentionMap::grow() {
  if (side_ == kMaxSide) {
    halve({cells_.data(), static_cast<std::size_t>(side_), side_});
    bin_ *= 2;
    return;
  }
  const auto old_side = static_cast<std::size_t>(side_);
  const std::size_t side = old_side * 2;
  std::vector<float> larger(side * side, HeatmapData::kHole);
  for (std::size_t r = 0; r < old_side; ++r) {
    std::copy_n(cells_.begin() + static_cast<std::ptrdiff_t>(r * old_side), old_side,
                larger.begin() + static_cast<std::ptrdiff_t>(r * side));
  }
  cells_ = std::move(larger);
  side_ *= 2;
}

void AttentionMap::take(const session::Snapshot& snapshot, int position) {
  const std::span<const float> row = attention_row(snapshot, position, layer_, head_);
  const capture::TokenFrame* frame = snapshot.frame(position);
  if (row.size() != static_cast<std::size_t>(position) + 1) {
    missing_.push_back(position);
    return;
  }
  const capture::HeadStats* stats = head_stats(frame, layer_, head_);
  const float lse = stats != nullptr ? stats->lse : 0.0F;
  row_.resize(row.size());
  for (std::size_t k = 0; k < row.size(); ++k) {
    row_[k] = map_value(row[k], lse, value_);
  }
  pool_row({cells_.data(), static_cast<std::size_t>(side_), side_}, bin_, position, row_);
}

void AttentionMap::fill_missing(const session::Snapshot& snapshot) {
  if (missing_.empty() || snapshot.head_map == nullptr || snapshot.head_map == filled_from_) {
    return;
  }
  filled_from_ = snapshot.head_map;
  std::vector<int> again;
  again.swap(missing_);
  for (const int position : again) {
    take(snapshot, position);
  }
  if (missing_.size() != again.size()) {
    ++version_;
    find_range();
  }
}

bool AttentionMap::update(const session::Snapshot& snapshot, std::size_t budget) {
  if (side_ == 0) {
    restart(snapshot);
  }
  const int keep = cursor_.unchanged(snapshot);
  if (keep < cursor_.size()) {
    if (keep == 0 || (bin_ > 1 && keep <= side_ * bin_ / 2)) {
      restart(snapshot);
    } else {
      clear_rows({cells_.data(), static_cast<std::size_t>(side_), side_}, keep / bin_);
      const int first = keep / bin_ * bin_;
      cursor_.truncate(first, snapshot);
      std::erase_if(missing_, [first](int position) { return position >= first; });
      ++version_;
    }
  }
  if (cursor_.size() == 0) {
    cursor_.truncate(0, snapshot);
  }
  fill_missing(snapshot);
  std::size_t spent = 0;
  while (cursor_.size() < snapshot.n_frames && spent < budget) {
    const int position = cursor_.size();
    const capture::TokenFrame* frame = snapshot.frame(position);
    if (frame == nullptr) {
      break;
    }
    while (position >= side_ * bin_) {
      grow();
    }
    take(snapshot, position);
    cursor_.push(*frame);
    spent += static_cast<std::size_t>(position) + 1;
  }
  if (spent > 0) {
    ++version_;
    find_range();
  }
  return cursor_.size() >= snapshot.n_frames;
}

void AttentionMap::find_range() {
  // Only the used corner counts; its rows are contiguous enough to be sampled one by one.
  std::vector<float> values;
  const int n = used();
  const int step = std::max(1, n / 256);
  for (int r = 0; r < n; r += step) {
    const auto* row = &cells_[static_cast<std::size_t>(r) * static_cast<std::size_t>(side_)];
    values.insert(values.end(), row, row + r + 1);
  }
  range_ = robust_range(values, value_ == MapValue::kScore ? 0.01 : 0.0, 0.002);
  std::erase_if(values, [](float v) { return !(v > 0.0F); });
  log_range_ = robust_range(values, 0.01, 0.0);
}

HeatmapData AttentionMap::data(bool log_scale) const {
  HeatmapData data;
  data.width = side_;
  data.height = side_;
  data.values = cells_;
  data.version = version_;
  if (value_ == MapValue::kScore) {
    data.lo = range_.lo;
    data.hi = range_.hi;
  } else if (log_scale) {
    data.log_scale = true;
    data.lo = std::max(log_range_.lo, 1e-6F);
    data.hi = std::max(log_range_.hi, data.lo);
  } else {
    data.lo = 0.0F;
    data.hi = range_.hi;
  }
  if (!(data.hi > data.lo)) {
    data.hi = data.lo + (data.lo == 0.0F ? 1.0F : std::max(std::fabs(data.lo) * 0.1F, 1e-6F));
  }
  return data;
}

bool AttentionMap::wants_request(const session::Snapshot& snapshot) {
  std::uint64_t newest = 0;
  for (const int position : missing_) {
    if (!map_covers(snapshot, position, layer_, head_)) {
      const capture::TokenFrame* frame = snapshot.frame(position);
      newest = std::max(newest, frame != nullptr ? frame->serial + 1 : 0);
    }
  }
  if (newest == 0 || newest == requested_serial_) {
    return false;
  }
  requested_serial_ = newest;
  return true;
}

void RowSums::update(const session::Snapshot& snapshot, int layer, int head) {
  const bool same = layer == layer_ && head == head_;
  layer_ = layer;
  head_ = head;
  cursor_.truncate(same ? cursor_.unchanged(snapshot) : 0, snapshot);
  sums_.resize(static_cast<std::size_t>(cursor_.size()));
  while (cursor_.size() < snapshot.n_frames) {
    const capture::TokenFrame* frame = snapshot.frame(cursor_.size());
    const capture::HeadStats* stats = head_stats(frame, layer, head);
    sums_.push_back(stats != nullptr ? stats->row_sum : HeatmapData::kHole);
    cursor_.push(*frame);
  }
}

std::vector<float> RowSums::grouped(int bin) const {
  const std::size_t width = static_cast<std::size_t>(std::max(bin, 1));
  std::vector<float> groups((sums_.size() + width - 1) / width, HeatmapData::kHole);
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    float& group = groups[i / width];
    const bool worse = group == HeatmapData::kHole || std::isnan(sums_[i]) ||
                       std::fabs(sums_[i] - 1.0F) > std::fabs(group - 1.0F);
    if (sums_[i] != HeatmapData::kHole && worse && !std::isnan(group)) {
      group = sums_[i];
    }
  }
  return groups;
}

std::vector<float> row_sums(const session::Snapshot& snapshot, int layer, int head, int bin) {
  const int rows = (snapshot.n_frames + bin - 1) / std::max(bin, 1);
  std::vector<float> sums(static_cast<std::size_t>(std::max(rows, 0)), HeatmapData::kHole);
  for (int position = 0; position < snapshot.n_frames; ++position) {
    const capture::HeadStats* stats = head_stats(snapshot.frame(position), layer, head);
    if (stats == nullptr) {
      continue;
    }
    float& sum = sums[static_cast<std::size_t>(position / bin)];
    const bool worse = sum == HeatmapData::kHole || std::isnan(stats->row_sum) ||
                       std::fabs(stats->row_sum - 1.0F) > std::fabs(sum - 1.0F);
    if (worse && !std::isnan(sum)) {
      sum = stats->row_sum;
    }
  }
  return sums;
}

}  // namespace layerscope::gui::view
