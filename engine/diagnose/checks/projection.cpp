// Projections: Q, K, V, attention output, gate, up and down recomputed from their captured inputs
// with the file's own tensors.
#include <fmt/format.h>

#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

struct Operation {
  Tap in, out;
  const char* weight;
  const char* bias;  ///< null: the architecture has none
};

constexpr Operation kOperations[] = {
    {Tap::kAttnNorm, Tap::kQ, "attn_q.weight", "attn_q.bias"},
    {Tap::kAttnNorm, Tap::kK, "attn_k.weight", "attn_k.bias"},
    {Tap::kAttnNorm, Tap::kV, "attn_v.weight", "attn_v.bias"},
    {Tap::kAttnContext, Tap::kAttnOut, "attn_output.weight", "attn_output.bias"},
    {Tap::kFfnNorm, Tap::kFfnGate, "ffn_gate.weight", nullptr},
    {Tap::kFfnNorm, Tap::kFfnUp, "ffn_up.weight", nullptr},
    {Tap::kFfnAct, Tap::kFfnOut, "ffn_down.weight", nullptr},
};

/// A projection that gives NaN or infinities from finite numbers.
void name_non_finite(Finding& finding, float captured) {
  finding.cause = "non-finite";
  finding.message = fmt::format(
      "{} at this place is the first {}: its input is finite and so is the product "
      "recomputed from it",
      finding.evidence.tap, std::isnan(captured) ? "NaN" : "infinity");
  finding.advice = "look at what writes this tensor; everything after it is a consequence";
}

Finding describe(const DeepInput& input, const Linear& l, const Operation& operation, int layer) {
  const Explanation why = explain(l);
  const int position = l.positions[l.worst];
  Finding finding = finding_at(*input.subject.model, "projection", why.cause.c_str(), operation.out,
                               layer, position);
  const std::size_t row = l.worst_row / l.stride;
  const double expected = l.expected[l.worst][row];
  const float captured = l.out[l.worst][l.worst_row];
  finding.tensor =
      why.cause == "bias-dropped" ? layer_tensor(layer, operation.bias) : l.tensor->name;
  finding.value = std::fabs(static_cast<double>(captured) - expected);
  finding.threshold = l.tolerance[l.worst][row];
  finding.message =
      fmt::format("{} of layer {} is {:.4g} where {} times its input gives {:.4g}: {}",
                  finding.evidence.tap, layer, captured, l.tensor->name, expected, why.why);
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
    for (const Operation& operation : kOperations) {
      const format::TensorInfo* tensor =
          model.file->find_tensor(layer_tensor(layer, operation.weight));
      if (tensor == nullptr || tensor->shape.size() != 2) {
        continue;
      }
      std::vector<float> bias;
      if (operation.bias != nullptr) {
        bias = tensor_values(model, layer_tensor(layer, operation.bias));
      }
      const auto linear =
          recompute(input, *tensor, std::move(bias), operation.in, operation.out, layer);
      if (linear && linear->n_bad > 0) {
        report.add(describe(input, *linear, operation, layer));
      }
    }
  }
}

}  // namespace layerscope::diagnose
