// Shapes of other engines → our layout: batch dimensions, heads before tokens, padded keys, rows
// that were left out because their logits were not wanted.
#include <fmt/format.h>

#include <algorithm>

#include "engine/compare/reading.h"

namespace layerscope::compare {
namespace {

using capture::Tap;

bool is_attention(Tap tap) { return tap == Tap::kAttnScores || tap == Tap::kAttnWeights; }

/// Taps whose row is made of heads, and of which every token has one.
bool is_per_head(Tap tap) {
  return tap == Tap::kQ || tap == Tap::kK || tap == Tap::kV || tap == Tap::kQRope ||
         tap == Tap::kKRope || tap == Tap::kAttnContext;
}

std::string shape_words(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Where the elements of a tensor go.
struct Layout {
  std::int64_t heads = 1, rows = 1, width = 1;
  bool heads_first = false;  ///< stored [heads][rows][head_dim], wanted [rows][heads · head_dim]
};

Result<Layout> layout_of(const TraceTensor& t, Tap tap, std::int64_t n_tokens) {
  const auto& s = t.shape;
  const auto n = static_cast<std::int64_t>(t.n_elements());
  const auto dim = [&](std::size_t from_end) {
    return s.size() >= from_end ? s[s.size() - from_end] : std::int64_t{1};
  };
  Layout layout;
  if (n == 0) {
    return invalid_input(fmt::format("tensor '{}' is empty", t.name));
  }
  if (is_attention(tap)) {
    layout = {dim(3), dim(2), dim(1), false};
    if (layout.heads * layout.rows * layout.width != n) {
      return invalid_input(fmt::format("tensor '{}' of shape {} is not [heads, tokens, keys]",
                                       t.name, shape_words(s)));
    }
  } else if (is_per_head(tap) && n % n_tokens == 0) {
    layout.rows = n_tokens;
    layout.width = n / n_tokens;
    layout.heads_first =
        s.size() >= 3 && dim(2) == n_tokens && dim(3) != n_tokens && n_tokens > 1 && dim(3) > 1;
    layout.heads = layout.heads_first ? dim(3) : 1;
  } else {
    layout.width = dim(1);
    layout.rows = n / layout.width;
  }
  if (layout.rows > n_tokens) {
    return invalid_input(
        fmt::format("tensor '{}' of shape {} has {} rows, but its pass has {} tokens", t.name,
                    shape_words(s), layout.rows, n_tokens));
  }
  return layout;
}

/// Flat index in our layout of element `i` as stored.
std::size_t place(std::size_t i, const Layout& layout) {
  if (!layout.heads_first) {
    return i;
  }
  const auto rows = static_cast<std::size_t>(layout.rows);
  const auto dim = static_cast<std::size_t>(layout.width / layout.heads);
  const std::size_t d = i % dim;
  const std::size_t row = i / dim % rows;
  const std::size_t head = i / dim / rows;
  return (row * static_cast<std::size_t>(layout.heads) + head) * dim + d;
}

/// Keeps columns [first, first + n) of each row.
void cut_columns(TapValues& v, std::int64_t first, std::int64_t n) {
  TapValues cut = v;
  cut.width = static_cast<int>(n);
  cut.values.clear();
  cut.known.clear();
  cut.sum.reset();  // it was over the whole row
  for (int row = 0; row < v.n_rows; ++row) {
    for (std::int64_t c = 0; c < n; ++c) {
      const std::size_t i = v.index(0, row, static_cast<int>(first + c));
      cut.values.push_back(v.values[i]);
      cut.known.push_back(v.is_known(i));
    }
  }
  v = std::move(cut);
}

}  // namespace

Result<TapValues> tap_values(const Trace& trace, const TapTensor& which,
                             const TraceModel& /*model*/) {
  const TraceTensor& t = trace.tensors[which.tensor];
  const TracePass& pass = trace.passes[static_cast<std::size_t>(
      std::min<std::size_t>(static_cast<std::size_t>(which.pass), trace.passes.size() - 1))];
  LS_TRY(const Layout layout, layout_of(t, which.tap, pass.n_tokens));
  LS_TRY(const std::vector<float> stored, known_values(t));
  const std::uint64_t n = t.n_elements();
  if (stored.size() != (t.known.empty() ? n : t.known.size())) {
    return invalid_input(fmt::format("tensor '{}' has {} values, its shape {} says otherwise",
                                     t.name, stored.size(), shape_words(t.shape)));
  }
  // What is stored in whole is as large as its file; a few printed values may claim any shape.
  constexpr std::uint64_t kMostPartial = std::uint64_t{1} << 28U;
  if (!t.known.empty() && n > kMostPartial) {
    return invalid_input(fmt::format("tensor '{}' shows {} of {} values: too few of too many",
                                     t.name, t.known.size(), n));
  }
  TapValues v;
  v.attention = is_attention(which.tap);
  v.n_heads = v.attention ? static_cast<int>(layout.heads) : 1;
  v.n_rows = static_cast<int>(layout.rows);
  v.width = static_cast<int>(layout.width);
  v.first_position = pass.first_position + pass.n_tokens - v.n_rows;
  v.unmasked = which.unmasked;
  v.printed = t.printed * which.factor;
  v.values.assign(n, 0.0F);
  v.known.assign(t.known.empty() ? 0 : n, false);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const std::size_t flat = t.known.empty() ? i : t.known[i];
    const std::size_t at = place(flat, layout);
    v.values[at] = static_cast<float>(static_cast<double>(stored[i]) * which.factor);
    if (!v.known.empty()) {
      v.known[at] = true;
    }
  }
  if (t.sum && !which.unmasked) {
    v.sum = *t.sum * which.factor;
  }
  if (which.n_columns > 0 && which.first_column + which.n_columns <= layout.width) {
    cut_columns(v, which.first_column, which.n_columns);
  }
  return v;
}

}  // namespace layerscope::compare
