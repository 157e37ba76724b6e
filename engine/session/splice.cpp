#include "engine/session/splice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/session/trace_run.h"

namespace layerscope::session {
namespace {

using capture::Tap;
using compare::Rows;
using compare::Trace;

/// The residual stream of a trace before a layer, for one pass; empty where a value is missing.
std::vector<float> stream_before(const Rows& rows, const compare::TracePass& pass, int hidden) {
  std::vector<float> values;
  for (int p = pass.first_position; p < pass.first_position + pass.n_tokens; ++p) {
    int row = 0;
    const compare::TapValues* v = rows.at(p, row);
    if (v == nullptr || v->width != hidden || !v->known.empty()) {
      return {};
    }
    const auto begin = v->values.begin() + static_cast<std::ptrdiff_t>(v->index(0, row, 0));
    values.insert(values.end(), begin, begin + hidden);
  }
  return values;
}

/// The rows before each layer: [0] is the embedding.
class Streams {
 public:
  Streams(const Trace& trace, const model::Model& model) {
    const compare::TraceModel dims = trace_model(model);
    const compare::Reading reading = compare::read_taps(trace, dims);
    for (int layer = 0; layer <= model.spec.n_layers; ++layer) {
      rows_.emplace_back(trace, reading, dims, layer == 0 ? Tap::kEmbedding : Tap::kResidOut,
                         layer - 1);
    }
    logits_.emplace_back(trace, reading, dims, Tap::kLogits, -1);
  }
  [[nodiscard]] const Rows& before(int layer) const {
    return rows_[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] const Rows& logits() const { return logits_.front(); }

 private:
  std::vector<Rows> rows_, logits_;
};

/// ‖a − b‖ / ‖b‖ over positions and channels that both know.
std::optional<double> relative_error(const Rows& a, const Rows& b, int n_positions) {
  double error = 0.0;
  double norm = 0.0;
  bool any = false;
  for (int p = 0; p < n_positions; ++p) {
    int ra = 0;
    int rb = 0;
    const compare::TapValues* va = a.at(p, ra);
    const compare::TapValues* vb = b.at(p, rb);
    if (va == nullptr || vb == nullptr) {
      continue;
    }
    for (int c = 0; c < std::min(va->width, vb->width); ++c) {
      const std::size_t ia = va->index(0, ra, c);
      const std::size_t ib = vb->index(0, rb, c);
      if (!va->is_known(ia) || !vb->is_known(ib)) {
        continue;
      }
      const auto x = static_cast<double>(va->values[ia]);
      const auto y = static_cast<double>(vb->values[ib]);
      any = true;
      error += (x - y) * (x - y);
      norm += y * y;
    }
  }
  return any ? std::optional(std::sqrt(error / std::max(norm, 1e-300))) : std::nullopt;
}

Status needs_ids(const Trace& trace) {
  if (trace.ids.empty()) {
    return invalid_input(fmt::format(
        "'{}' does not say its token ids, so the model cannot be run on them", trace.path));
  }
  return {};
}

}  // namespace

Status own_errors(const model::Model& model, backend::Backend& cpu, const Trace& trace,
                  std::vector<compare::BlockError>& blocks) {
  LS_CHECK(needs_ids(trace));
  const Streams theirs(trace, model);
  TraceRequest request;
  request.ids = trace.ids;
  request.passes = usable_passes(trace, trace.ids.size());
  std::vector<std::vector<float>> kept;
  request.splices = [&](const compare::TracePass& pass) {
    std::vector<backend::Splice> splices;
    kept.assign(static_cast<std::size_t>(model.spec.n_layers), {});
    for (int layer = 0; layer < model.spec.n_layers; ++layer) {
      auto& values = kept[static_cast<std::size_t>(layer)];
      values = stream_before(theirs.before(layer), pass, model.spec.hidden);
      if (!values.empty()) {
        splices.push_back({layer, values});
      }
    }
    return splices;
  };
  LS_TRY(const Trace own, run_trace(model, cpu, request));
  const Streams ours(own, model);
  const compare::TracePass all{0, static_cast<int>(trace.ids.size())};
  for (compare::BlockError& block : blocks) {
    const bool given = !stream_before(theirs.before(block.layer), all, model.spec.hidden).empty();
    if (given && block.layer < model.spec.n_layers) {
      block.own = relative_error(theirs.before(block.layer + 1), ours.before(block.layer + 1),
                                 all.n_tokens);
    }
  }
  return {};
}

Result<SpliceResult> splice_at(const model::Model& model, backend::Backend& cpu,
                               const model::Interventions& faults, const Trace& reference,
                               int layer) {
  LS_CHECK(needs_ids(reference));
  if (layer < 0 || layer >= model.spec.n_layers) {
    return usage_error(fmt::format("layer {} does not exist: the model has layers 0 to {}", layer,
                                   model.spec.n_layers - 1));
  }
  const Streams theirs(reference, model);
  TraceRequest request;
  request.ids = reference.ids;
  request.passes = usable_passes(reference, reference.ids.size());
  request.faults = faults;
  bool missing = false;
  std::vector<float> kept;
  request.splices = [&](const compare::TracePass& pass) {
    kept = stream_before(theirs.before(layer), pass, model.spec.hidden);
    missing = missing || kept.empty();
    return kept.empty() ? std::vector<backend::Splice>{}
                        : std::vector<backend::Splice>{{layer, kept}};
  };
  LS_TRY(const Trace own, run_trace(model, cpu, request));
  LS_CHECK(cpu.set_interventions({}));
  if (missing) {
    return invalid_input(fmt::format(
        "'{}' holds no whole rows of the residual stream before layer {}, so nothing can be put in",
        reference.path, layer));
  }
  const Streams ours(own, model);
  const auto error =
      relative_error(ours.logits(), theirs.logits(), static_cast<int>(reference.ids.size()));
  if (!error) {
    return invalid_input(
        fmt::format("'{}' holds no logits, so the end cannot be compared", reference.path));
  }
  const double tolerance = compare::tolerance_of(own, reference).value;
  return SpliceResult{layer, *error, *error <= tolerance};
}

Result<Bisection> bisect(const model::Model& model, backend::Backend& cpu,
                         const model::Interventions& faults, const Trace& reference) {
  Bisection result;
  const auto is_right = [&](int layer) -> Result<bool> {
    LS_TRY(const SpliceResult tried, splice_at(model, cpu, faults, reference, layer));
    result.tried.push_back(tried);
    return tried.right;
  };
  LS_TRY(const bool all_right, is_right(0));
  if (all_right) {
    return result;
  }
  int wrong = 0;                    // from this layer's input on the end is wrong
  int right = model.spec.n_layers;  // from here on nothing but the head is left
  while (right - wrong > 1) {
    const int middle = (wrong + right) / 2;
    LS_TRY(const bool ok, is_right(middle));
    (ok ? right : wrong) = middle;
  }
  result.layer = wrong;
  return result;
}

}  // namespace layerscope::session
