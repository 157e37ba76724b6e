#include "gui/view/token_layout.h"

#include <algorithm>
#include <cmath>

#include "gui/view/frames.h"

namespace layerscope::gui::view {

void TokenLayout::update(const session::Snapshot& snapshot, const tokenizer::Tokenizer* tokenizer,
                         const LayoutMetrics& metrics, const Measure& measure) {
  const bool same_look = !fresh_ && metrics == metrics_ && tokenizer == tokenizer_;
  if (same_look && snapshot.version == version_ && size() == token_count(snapshot)) {
    return;
  }
  const int n = token_count(snapshot);
  int keep = 0;
  if (same_look) {
    const int common = std::min(n, size());
    // Frames that are the same hold the same tokens; only what follows them is compared.
    keep = std::min(cursor_.unchanged(snapshot), common);
    while (keep < common && ids_[static_cast<std::size_t>(keep)] == token_id(snapshot, keep)) {
      ++keep;
    }
  }
  const auto kept = static_cast<std::size_t>(keep);
  places_.resize(kept);
  texts_.resize(kept);
  ids_.resize(kept);
  while (!line_first_.empty() && line_first_.back() >= keep) {
    line_first_.pop_back();
  }
  for (int position = keep; position < n; ++position) {
    const std::int32_t id = token_id(snapshot, position);
    ChipText text = chip_text(tokenizer, id);
    ChipPlace place;
    place.width = std::min(measure(text.text) + 2.0F * metrics.padding, metrics.width);
    bool new_line = position == 0;
    if (position > 0) {
      const ChipPlace& last = places_.back();
      place.line = last.line;
      place.x = last.x + last.width + (text.gap_before ? metrics.gap : metrics.tight);
      new_line = texts_.back().ends_line || place.x + place.width > metrics.width;
    }
    if (new_line) {
      place.line = lines();
      place.x = 0.0F;
      line_first_.push_back(position);
    }
    places_.push_back(place);
    texts_.push_back(std::move(text));
    ids_.push_back(id);
  }
  cursor_.truncate(cursor_.unchanged(snapshot), snapshot);
  while (cursor_.size() < snapshot.n_frames) {
    cursor_.push(*snapshot.frame(cursor_.size()));
  }
  metrics_ = metrics;
  tokenizer_ = tokenizer;
  version_ = snapshot.version;
  fresh_ = false;
}

float token_surprise(const capture::Choice& choice, TokenColor mode) {
  if (!choice.known) {
    return -1.0F;
  }
  double value = 0.0;
  switch (mode) {
    case TokenColor::kProbability:
      value = choice.prob > 0.0F ? -std::log2(static_cast<double>(choice.prob)) / 10.0 : 1.0;
      break;
    case TokenColor::kEntropy:
      value = static_cast<double>(choice.entropy) / 8.0;
      break;
    case TokenColor::kRank:
      value = choice.rank < 0 ? 1.0 : std::log10(static_cast<double>(choice.rank) + 1.0) / 4.0;
      break;
    case TokenColor::kFinding:
      return -1.0F;
  }
  return std::isfinite(value) ? static_cast<float>(std::clamp(value, 0.0, 1.0)) : 1.0F;
}

}  // namespace layerscope::gui::view
