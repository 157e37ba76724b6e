#include "engine/compare/blocks.h"

#include <algorithm>
#include <cmath>

namespace layerscope::compare {
namespace {

using capture::Tap;

/// The residual stream at one place in both traces.
struct Stream {
  Rows a, b;
};

Stream stream(const ReadTrace& a, const ReadTrace& b, const TraceModel& model, int layer) {
  const Tap tap = layer < 0 ? Tap::kEmbedding : Tap::kResidOut;
  return {Rows(a.trace, a.reading, model, tap, layer), Rows(b.trace, b.reading, model, tap, layer)};
}

/// a − b of one channel, where both know it and are finite.
bool error_at(const Stream& s, int position, int channel, double& error, double& reference) {
  int row_a = 0;
  int row_b = 0;
  const TapValues* a = s.a.at(position, row_a);
  const TapValues* b = s.b.at(position, row_b);
  if (a == nullptr || b == nullptr || channel >= a->width || channel >= b->width) {
    return false;
  }
  const std::size_t ia = a->index(0, row_a, channel);
  const std::size_t ib = b->index(0, row_b, channel);
  if (!a->is_known(ia) || !b->is_known(ib) || !std::isfinite(a->values[ia]) ||
      !std::isfinite(b->values[ib])) {
    return false;
  }
  reference = static_cast<double>(b->values[ib]);
  error = static_cast<double>(a->values[ia]) - reference;
  return true;
}

int width_of(const Stream& s) { return s.a.empty() ? 0 : s.a.values().front().width; }

BlockError block_error(const Stream& in, const Stream& out, int layer, int n_positions) {
  BlockError e;
  e.layer = layer;
  double inherited = 0.0;
  double added = 0.0;
  double total = 0.0;
  double norm = 0.0;
  for (int position = 0; position < n_positions; ++position) {
    double here = 0.0;
    double scale = 0.0;
    bool any = false;
    for (int c = 0; c < width_of(out); ++c) {
      double before = 0.0;
      double after = 0.0;
      double unused = 0.0;
      double reference = 0.0;
      if (!error_at(in, position, c, before, unused) ||
          !error_at(out, position, c, after, reference)) {
        continue;
      }
      any = true;
      inherited += before * before;
      total += after * after;
      here += (after - before) * (after - before);
      scale += reference * reference;
    }
    added += here;
    norm += scale;
    e.added_by_position.push_back(any && scale > 0.0 ? std::sqrt(here / scale) : NAN);
  }
  const double unit = norm > 0.0 ? norm : 1.0;
  e.inherited = std::sqrt(inherited / unit);
  e.added = std::sqrt(added / unit);
  e.total = std::sqrt(total / unit);
  return e;
}

}  // namespace

std::vector<BlockError> block_errors(const ReadTrace& a, const ReadTrace& b,
                                     const TraceModel& model, int n_positions) {
  int n_layers = 0;
  for (const TapTensor& tap : a.reading.taps) {
    n_layers = std::max(n_layers, tap.layer + 1);
  }
  std::vector<BlockError> blocks;
  Stream in = stream(a, b, model, -1);
  for (int layer = 0; layer < n_layers; ++layer) {
    Stream out = stream(a, b, model, layer);
    const bool known = !in.a.empty() && !in.b.empty() && !out.a.empty() && !out.b.empty();
    if (known) {
      blocks.push_back(block_error(in, out, layer, n_positions));
    }
    in = std::move(out);
  }
  return blocks;
}

}  // namespace layerscope::compare
