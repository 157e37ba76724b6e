#include "engine/compare/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace layerscope::compare {
namespace {

const Pair* worst_pair(const Comparison& c) {
  const auto worst = std::max_element(
      c.pairs.begin(), c.pairs.end(),
      [](const Pair& a, const Pair& b) { return a.difference.excess < b.difference.excess; });
  return worst == c.pairs.end() ? nullptr : &*worst;
}

}  // namespace

std::string verdict_sentence(const Comparison& c) {
  if (c.tokens) {
    return fmt::format(
        "the token ids differ at position {}: {} against {}; everything after differs for that "
        "reason, so compare runs of the same tokens (tokenizer, BOS, chat template)",
        c.tokens->position, c.tokens->a, c.tokens->b);
  }
  const Pair* worst = worst_pair(c);
  if (!c.first || worst == nullptr) {
    return worst == nullptr
               ? std::string("nothing was compared")
               : fmt::format(
                     "no divergence: {} tensors agree within {} rounding; the largest "
                     "error is {:.2g} of the tolerance, in {} (max abs {:.2e}, relative "
                     "{:.2e})",
                     c.pairs.size(), c.precision, worst->difference.excess, place_text(*worst),
                     worst->difference.max_abs, worst->difference.rel_l2);
  }
  const Pair& first = c.pairs[*c.first];
  const Difference& d = first.difference;
  if (d.by_sum) {
    return fmt::format(
        "first divergence: {}: the values that are shown agree, but the sum over all of them is "
        "{:.6g} against {:.6g}",
        place_text(first), d.sum_a, d.sum_b);
  }
  return fmt::format(
      "first divergence: {}: max abs {:.3g}, relative {:.3g}, cosine {:.6f}, {:.3g} times the "
      "tolerance for {}; what is compared before it agrees",
      place_text(first), d.max_abs, d.rel_l2, d.cosine, d.excess, c.precision);
}

Result<TapDifferences> tap_differences(const Trace& a, const Trace& b,
                                       const std::stop_token& stop) {
  const TraceModel model = merged(a.model, b.model);
  const Reading read_a = read_taps(a, model);
  const Reading read_b = read_taps(b, model);
  TapDifferences result;
  result.n_layers = model.n_layers;
  for (const TapTensor& tap : read_a.taps) {
    result.n_layers = std::max(result.n_layers, tap.layer + 1);
  }
  const int n = std::min(a.n_positions(), b.n_positions());
  result.by_position.resize(static_cast<std::size_t>(n));
  const auto n_stats = static_cast<std::size_t>(result.n_layers + 1) * capture::kNumTaps;
  std::set<std::pair<int, capture::Tap>> done;
  std::vector<float> row;
  for (const TapTensor& tap : read_a.taps) {
    const bool attention =
        tap.tap == capture::Tap::kAttnScores || tap.tap == capture::Tap::kAttnWeights;
    if (attention || !done.insert({tap.layer, tap.tap}).second) {
      continue;
    }
    const Rows rows_a(a, read_a, model, tap.tap, tap.layer);
    const Rows rows_b(b, read_b, model, tap.tap, tap.layer);
    const auto layer = static_cast<std::size_t>(tap.layer < 0 ? result.n_layers : tap.layer);
    for (int position = 0; position < n; ++position) {
      if (stop.stop_requested()) {
        return cancelled_error();
      }
      int at_a = 0;
      int at_b = 0;
      const TapValues* x = rows_a.at(position, at_a);
      const TapValues* y = rows_b.at(position, at_b);
      if (x == nullptr || y == nullptr || x->width != y->width || !x->known.empty() ||
          !y->known.empty()) {
        continue;
      }
      row.resize(static_cast<std::size_t>(x->width));
      for (int c = 0; c < x->width; ++c) {
        row[static_cast<std::size_t>(c)] =
            x->values[x->index(0, at_a, c)] - y->values[y->index(0, at_b, c)];
      }
      auto& stats = result.by_position[static_cast<std::size_t>(position)];
      stats.resize(n_stats);
      stats[layer * capture::kNumTaps + static_cast<std::size_t>(tap.tap)] =
          capture::compute_stats(row.data(), row.size());
    }
  }
  return result;
}

}  // namespace layerscope::compare
