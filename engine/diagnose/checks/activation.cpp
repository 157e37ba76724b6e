// Activation: silu(gate)·up of the feed-forward recomputed.
#include <fmt/format.h>

#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

using capture::Tap;

void check_activation(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const double u = input.subject.unit_roundoff;
  for (int layer = 0; layer < model.spec.n_layers; ++layer) {
    for (const int position : input.captures.sample_positions()) {
      const auto gate = input.captures.row(Tap::kFfnGate, layer, position);
      const auto up = input.captures.row(Tap::kFfnUp, layer, position);
      const auto act = input.captures.row(Tap::kFfnAct, layer, position);
      if (gate.empty() || up.empty() || act.empty() || !all_finite(gate) || !all_finite(up)) {
        continue;
      }
      std::vector<double> expected;
      for (std::size_t i = 0; i < act.size(); ++i) {
        const auto g = static_cast<double>(gate[i]);
        expected.push_back(g / (1.0 + std::exp(-g)) * static_cast<double>(up[i]));
      }
      for (std::size_t i = 0; i < act.size(); ++i) {
        // Below −80 silu is smaller than any sum it enters (e⁻⁸⁰ = 2e-35).
        const double tolerance = thresholds::swiglu(u) * std::fabs(expected[i]) +
                                 1e-33 * (1.0 + std::fabs(static_cast<double>(up[i])));
        if (agrees(act[i], expected[i], tolerance)) {
          continue;
        }
        Finding f =
            finding_at(model, "activation", "activation-wrong", Tap::kFfnAct, layer, position);
        f.value = static_cast<double>(act[i]);
        f.threshold = tolerance;
        f.message = fmt::format("ffn_act of layer {} is {:.4g} where silu(gate)·up gives {:.4g}",
                                layer, act[i], expected[i]);
        f.advice = "look at the activation's kind, and at which half is the gate";
        show_values(f, act, expected, i);
        report.add(std::move(f));
        break;
      }
    }
  }
}

}  // namespace layerscope::diagnose
