#include "gui/view/frames.h"

#include <algorithm>

namespace layerscope::gui::view {

const capture::TapStats* tap_stats(const capture::TokenFrame* frame, int layer, capture::Tap tap) {
  if (frame == nullptr || layer < -1 || layer >= frame->n_layers) {
    return nullptr;
  }
  const auto row = static_cast<std::size_t>(layer < 0 ? frame->n_layers : layer);
  const std::size_t index = row * capture::kNumTaps + static_cast<std::size_t>(tap);
  return index < frame->taps.size() ? &frame->taps[index] : nullptr;
}

const capture::HeadStats* head_stats(const capture::TokenFrame* frame, int layer, int head) {
  if (frame == nullptr || layer < 0 || layer >= frame->n_layers || head < 0 ||
      head >= frame->n_heads) {
    return nullptr;
  }
  const std::size_t index =
      static_cast<std::size_t>(layer) * static_cast<std::size_t>(frame->n_heads) +
      static_cast<std::size_t>(head);
  return index < frame->heads.size() ? &frame->heads[index] : nullptr;
}

std::span<const float> captured_row(const capture::TokenFrame* frame, int layer, int head) {
  if (frame == nullptr || frame->attention == nullptr || layer < 0 || layer >= frame->n_layers ||
      head < 0 || head >= frame->n_heads || frame->position < 0) {
    return {};
  }
  return frame->attention_row(layer, head);
}

PooledRow pooled_row(const capture::TokenFrame* frame, int layer, int head) {
  if (frame == nullptr || frame->attention == nullptr || layer < 0 || layer >= frame->n_layers ||
      head < 0 || head >= frame->n_heads || frame->position < 0) {
    return {};
  }
  const capture::PooledRows& pooled = frame->attention->pooled();
  const std::size_t keys = static_cast<std::size_t>(frame->position) + 1;
  const auto bins = static_cast<std::size_t>(std::max(pooled.bins, 0));
  const std::size_t index =
      static_cast<std::size_t>(layer) * static_cast<std::size_t>(frame->n_heads) +
      static_cast<std::size_t>(head);
  if (pooled.width < 1 || bins * static_cast<std::size_t>(pooled.width) < keys ||
      (index + 1) * bins > pooled.cells.size()) {
    return {};
  }
  const std::size_t used = (keys - 1) / static_cast<std::size_t>(pooled.width) + 1;
  return {pooled.width, std::span(pooled.cells).subspan(index * bins, used)};
}

bool map_covers(const session::Snapshot& snapshot, int position, int layer, int head) {
  const session::HeadMap* map = snapshot.head_map.get();
  const capture::TokenFrame* frame = snapshot.frame(position);
  if (map == nullptr || frame == nullptr || map->layer != layer || map->head != head ||
      position >= map->n_tokens || frame->serial > map->last_serial) {
    return false;
  }
  const auto n = static_cast<std::size_t>(map->n_tokens);
  return map->probabilities.size() == n * n;
}

std::span<const float> attention_row(const session::Snapshot& snapshot, int position, int layer,
                                     int head) {
  const capture::TokenFrame* frame = snapshot.frame(position);
  const std::span<const float> own = captured_row(frame, layer, head);
  if (!own.empty() || frame == nullptr) {
    return own;
  }
  for (const auto& part : snapshot.attention_values) {
    if (part != nullptr && part->layer == layer && part->head == head &&
        part->first_query == position && part->n_queries == 1 && part->first_key == 0 &&
        part->last_serial == frame->serial && part->n_keys == position + 1 &&
        part->values.size() == static_cast<std::size_t>(part->n_keys)) {
      return part->values;
    }
  }
  if (!map_covers(snapshot, position, layer, head)) {
    return {};
  }
  const auto p = static_cast<std::size_t>(position);
  return std::span<const float>(snapshot.head_map->probabilities)
      .subspan(p * static_cast<std::size_t>(snapshot.head_map->n_tokens), p + 1);
}

int token_count(const session::Snapshot& snapshot) {
  return std::max(snapshot.n_frames, snapshot.n_prompt());
}

std::int32_t token_id(const session::Snapshot& snapshot, int position) {
  if (const capture::TokenFrame* frame = snapshot.frame(position)) {
    return frame->id;
  }
  if (position >= 0 && position < snapshot.n_prompt()) {
    return snapshot.prompt_ids[static_cast<std::size_t>(position)];
  }
  return -1;
}

int FrameCursor::unchanged(const session::Snapshot& snapshot) const {
  if (snapshot.session_serial != session_serial_) {
    return 0;
  }
  int low = 0;
  int high = std::min(size(), snapshot.n_frames);
  while (low < high) {
    const int middle = (low + high) / 2;
    const capture::TokenFrame* frame = snapshot.frame(middle);
    if (frame != nullptr && frame->serial == serials_[static_cast<std::size_t>(middle)]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void FrameCursor::truncate(int n, const session::Snapshot& snapshot) {
  serials_.resize(static_cast<std::size_t>(std::clamp(n, 0, size())));
  session_serial_ = snapshot.session_serial;
}

}  // namespace layerscope::gui::view
