// Activation of the feed-forward recomputed: activation(gate)·up, or activation(up) without a gate.
#include <fmt/format.h>

#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

using capture::Tap;

namespace {

using kernels::Activation;

/// The activation in float64, and the argument whose rounding matters (thresholds::activation).
struct Activated {
  double value = 0.0, argument = 0.0;
};
Activated activated(Activation kind, double x) {
  constexpr double kRootTwoOverPi = 0.7978845608028654;
  constexpr double kRootHalf = 0.7071067811865476;
  switch (kind) {
    case Activation::kGeluTanh: {
      const double z = 2.0 * kRootTwoOverPi * (x + 0.044715 * x * x * x);
      return {x / (1.0 + std::exp(-z)), z};
    }
    case Activation::kGelu:
      return {0.5 * x * std::erfc(-x * kRootHalf), x * x};
    case Activation::kSilu:
      break;
  }
  return {x / (1.0 + std::exp(-x)), 0.0};
}

const char* formula(const model::DecoderSpec& spec) {
  const bool silu = spec.activation == Activation::kSilu;
  return spec.gated ? (silu ? "silu(gate)·up" : "gelu(gate)·up") : (silu ? "silu(up)" : "gelu(up)");
}

}  // namespace

void check_activation(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const double u = input.subject.unit_roundoff;
  for (int layer = 0; layer < model.spec.n_layers; ++layer) {
    for (const int position : input.captures.sample_positions()) {
      const auto gate =
          input.captures.row(model.spec.gated ? Tap::kFfnGate : Tap::kFfnUp, layer, position);
      const auto up = input.captures.row(Tap::kFfnUp, layer, position);
      const auto act = input.captures.row(Tap::kFfnAct, layer, position);
      if (gate.empty() || up.empty() || act.empty() || !all_finite(gate) || !all_finite(up)) {
        continue;
      }
      std::vector<double> expected;
      std::vector<double> argument;
      for (std::size_t i = 0; i < act.size(); ++i) {
        const Activated a = activated(model.spec.activation, static_cast<double>(gate[i]));
        expected.push_back(model.spec.gated ? a.value * static_cast<double>(up[i]) : a.value);
        argument.push_back(a.argument);
      }
      for (std::size_t i = 0; i < act.size(); ++i) {
        // Below −80 the activation is smaller than any sum it enters (e⁻⁸⁰ = 2e-35).
        const double tolerance = thresholds::activation(argument[i], u) * std::fabs(expected[i]) +
                                 1e-33 * (1.0 + std::fabs(static_cast<double>(up[i])));
        if (agrees(act[i], expected[i], tolerance)) {
          continue;
        }
        Finding f =
            finding_at(model, "activation", "activation-wrong", Tap::kFfnAct, layer, position);
        f.value = static_cast<double>(act[i]);
        f.threshold = tolerance;
        f.message = fmt::format("ffn_act of layer {} is {:.4g} where {} gives {:.4g}", layer,
                                act[i], formula(model.spec), expected[i]);
        f.advice = "look at the activation's kind, and at which half is the gate";
        show_values(f, act, expected, i);
        report.add(std::move(f));
        break;
      }
    }
  }
}

}  // namespace layerscope::diagnose
