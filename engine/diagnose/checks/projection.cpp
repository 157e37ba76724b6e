// Projections: Q, K, V, attention output, gate, up and down recomputed from their captured inputs
// with the file's own tensors.
#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <utility>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

using model::LayerWeights;

/// Where a matrix's product is captured, and what it is multiplied with.
struct Places {
  TapPlace in, out;
};

std::optional<Places> places_of(const model::DecoderSpec& spec, int layer,
                                kernels::Matrix LayerWeights::*matrix) {
  const auto at = [layer](Tap tap) { return TapPlace{tap, layer}; };
  const TapPlace stream = attention_input(spec, layer);
  const TapPlace middle = ffn_input(spec, layer);
  const std::pair<kernels::Matrix LayerWeights::*, Places> list[] = {
      {&LayerWeights::q, {stream, at(Tap::kQ)}},
      {&LayerWeights::k, {stream, at(Tap::kK)}},
      {&LayerWeights::v, {stream, at(Tap::kV)}},
      {&LayerWeights::out, {at(Tap::kAttnContext), at(Tap::kAttnOut)}},
      {&LayerWeights::router, {middle, at(Tap::kMoeRouter)}},
      {&LayerWeights::gate, {middle, at(Tap::kFfnGate)}},
      {&LayerWeights::up, {middle, at(Tap::kFfnUp)}},
      {&LayerWeights::down, {at(Tap::kFfnAct), at(Tap::kFfnOut)}},
  };
  for (const auto& [member, places] : list) {
    if (member == matrix) {
      return places;
    }
  }
  return std::nullopt;
}

/// The norm of Q and K that follows their products.
Finish finish_of(const DeepInput& input, int layer, kernels::Matrix LayerWeights::*matrix) {
  const model::Model& model = *input.subject.model;
  const model::DecoderSpec& spec = model.spec;
  Finish finish;
  finish.u = input.subject.unit_roundoff;
  const bool is_q = matrix == &LayerWeights::q;
  if (spec.qk_norm == model::QkNorm::kNone || (!is_q && matrix != &LayerWeights::k)) {
    return finish;
  }
  const int width = is_q ? spec.q_width() : spec.kv_width();
  finish.group =
      static_cast<std::size_t>(spec.qk_norm == model::QkNorm::kWhole ? width : spec.head_dim);
  finish.norm =
      tensor_values(model, layer_tensor(layer, is_q ? "attn_q_norm.weight" : "attn_k_norm.weight"));
  finish.layer_norm = spec.qk_norm_kind == model::NormKind::kLayer;
  finish.eps = static_cast<double>(spec.norm_eps);
  return finish;
}

/// A projection that gives NaN or infinities from finite numbers.
void name_non_finite(Finding& finding, float captured) {
  finding.cause = "non-finite";
  finding.message = fmt::format(
      "{} at this place is the first {}: its input is finite and so is the product "
      "recomputed from it",
      finding.evidence.tap, std::isnan(captured) ? "NaN" : "infinity");
  finding.advice = "look at what writes this tensor; everything after it is a consequence";
}

Finding describe(const DeepInput& input, const Linear& l, const TapPlace& out,
                 const model::MatrixSource& source) {
  const Explanation why = explain(l);
  const int position = l.positions[l.worst];
  Finding finding = finding_at(*input.subject.model, "projection", why.cause.c_str(), out.tap,
                               out.layer, position);
  const std::size_t row = l.worst_row / l.stride;
  const double expected = l.expected[l.worst][row];
  const float captured = l.out[l.worst][l.worst_row];
  finding.tensor = why.cause == "bias-dropped" ? source.bias_tensor : source.tensor;
  finding.value = std::fabs(static_cast<double>(captured) - expected);
  finding.threshold = l.tolerance[l.worst][row];
  finding.message =
      fmt::format("{} of layer {} is {:.4g} where {} times its input gives {:.4g}: {}",
                  finding.evidence.tap, out.layer, captured, source.tensor, expected, why.why);
  finding.advice = why.advice;
  std::vector<double> whole;
  if (l.stride == 1) {
    whole = l.expected[l.worst];
  }
  show_values(finding, l.out[l.worst], whole, l.worst_row);
  if (!std::isfinite(captured) && std::isfinite(expected) &&
      (why.cause == "wrong-weights" || why.cause == "channel-wrong")) {
    name_non_finite(finding, captured);
  }
  return finding;
}

}  // namespace

void check_projections(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  for (int layer = 0; layer < model.spec.n_layers; ++layer) {
    for (const model::MatrixSource& source : model::layer_matrices(model.spec, layer)) {
      const format::TensorInfo* tensor = model.file->find_tensor(source.tensor);
      const auto places =
          source.expert < 0 ? places_of(model.spec, layer, source.matrix) : std::optional<Places>{};
      if (tensor == nullptr || !places) {
        continue;
      }
      const auto first = static_cast<std::size_t>(source.first_row);
      const auto rows = static_cast<std::size_t>(source.rows);
      std::vector<float> bias = tensor_values(model, source.bias_tensor);
      if (!bias.empty()) {
        bias.assign(bias.begin() + source.first_row, bias.begin() + source.first_row + source.rows);
      }
      const auto linear = recompute(
          input, {tensor, first, rows, static_cast<std::size_t>(source.cols)}, std::move(bias),
          places->in, places->out, finish_of(input, layer, source.matrix));
      if (linear && linear->n_bad > 0) {
        report.add(describe(input, *linear, places->out, source));
      }
    }
  }
}

}  // namespace layerscope::diagnose
