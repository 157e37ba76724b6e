#include "gui/view/logits_view.h"

#include <algorithm>
#include <cmath>

#include "engine/backend/draw.h"

namespace layerscope::gui::view {
namespace {

int rank_of(const capture::LogitSummary& summary, std::int32_t id) {
  for (std::size_t i = 0; i < summary.top.size(); ++i) {
    if (summary.top[i].id == id) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

}  // namespace

LogitBars logit_bars(const session::Snapshot& snapshot, int position, int n, int n_tokens) {
  LogitBars result;
  const capture::TokenFrame* frame = snapshot.frame(position);
  if (frame == nullptr || !frame->logits) {
    return result;
  }
  const capture::LogitSummary& now = *frame->logits;
  const capture::TokenFrame* before = snapshot.frame(position - 1);
  const bool last = n_tokens >= 0 && position + 1 >= n_tokens;
  const capture::TokenFrame* after = last ? nullptr : snapshot.frame(position + 1);
  const capture::LogitSummary* old =
      before != nullptr && before->logits ? &*before->logits : nullptr;
  result.known = true;
  result.best_padded = now.best_padded;
  result.entropy = now.entropy;
  result.non_finite = now.non_finite;
  const float largest = now.top.empty() ? 0.0F : now.top.front().prob;
  const auto make = [&](int rank, const capture::TopToken& token) {
    LogitBar bar;
    bar.id = token.id;
    bar.logit = token.logit;
    bar.prob = token.prob;
    bar.rank = rank;
    bar.length = backend::bar_length(token.prob, largest);
    bar.was_listed = old != nullptr;
    const int old_rank = old != nullptr ? rank_of(*old, token.id) : -1;
    if (old_rank >= 0) {
      bar.moved = old_rank - rank;
    }
    bar.chosen = after != nullptr && after->id == token.id;
    return bar;
  };
  const int count = std::min(n, static_cast<int>(now.top.size()));
  for (int rank = 0; rank < count; ++rank) {
    result.bars.push_back(make(rank, now.top[static_cast<std::size_t>(rank)]));
  }
  if (after != nullptr) {
    result.chosen_rank = after->choice.known ? after->choice.rank : rank_of(now, after->id);
    const bool listed = std::any_of(result.bars.begin(), result.bars.end(),
                                    [](const LogitBar& bar) { return bar.chosen; });
    if (!listed && after->choice.known) {
      result.chosen_below =
          make(after->choice.rank, {after->id, after->choice.logit, after->choice.prob});
    }
  }
  result.padded_wins =
      now.best_padded.id >= 0 && (now.top.empty() || now.best_padded.logit > now.top.front().logit);
  return result;
}

ChartSource bar_cells(const LogitBars& bars, std::vector<float>& cells) {
  constexpr std::size_t kBars = capture::kTopTokens;
  cells.assign(2 * kBars, HeatmapData::kHole);
  for (std::size_t i = 0; i < bars.bars.size() && i < kBars; ++i) {
    cells[i] = bars.bars[i].length;
    cells[kBars + i] = bars.bars[i].chosen ? 1.0F : 0.0F;
  }
  return chart_values(cells, 2);
}

void LogitSeries::Range::take(float value) {
  if (std::isfinite(value)) {
    const bool first = lo > hi;
    lo = first ? value : std::min(lo, value);
    hi = first ? value : std::max(hi, value);
  }
}

void LogitSeries::update(const session::Snapshot& snapshot) {
  int keep = cursor_.unchanged(snapshot);
  if (keep < cursor_.size()) {
    keep = 0;  // what is gone may have made the ranges
    entropy_range = logit_range = {};
  }
  if (keep < cursor_.size() || cursor_.size() == 0) {
    cursor_.truncate(keep, snapshot);
  }
  const auto n = static_cast<std::size_t>(cursor_.size());
  for (std::vector<float>* values : {&entropy, &min, &mean, &max}) {
    values->resize(n);
  }
  while (cursor_.size() < snapshot.n_frames) {
    const capture::TokenFrame* frame = snapshot.frame(cursor_.size());
    if (frame == nullptr) {
      break;
    }
    const bool known = frame->logits.has_value();
    entropy.push_back(known ? frame->logits->entropy : HeatmapData::kHole);
    min.push_back(known ? frame->logits->min : HeatmapData::kHole);
    mean.push_back(known ? frame->logits->mean : HeatmapData::kHole);
    max.push_back(known ? frame->logits->max : HeatmapData::kHole);
    if (known) {
      entropy_range.take(entropy.back());
      for (const float value : {min.back(), mean.back(), max.back()}) {
        logit_range.take(value);
      }
    }
    cursor_.push(*frame);
  }
}

}  // namespace layerscope::gui::view
