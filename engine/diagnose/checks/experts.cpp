// Experts: the routing recomputed from the captured router logits, and the chosen experts' products
// from what they were given.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;
using model::ExpertWeights;

/// Experts by logit, largest first; equal ones in order.
std::vector<int> ranking(std::span<const float> logits) {
  std::vector<int> order(logits.size());
  for (std::size_t e = 0; e < order.size(); ++e) {
    order[e] = static_cast<int>(e);
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  return order;
}

/// Soft-max of the router over all experts, for the chosen ones; divided by their sum if asked.
std::vector<double> shares_of(std::span<const float> logits, std::span<const float> chosen,
                              bool normalise) {
  const auto top = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double total = 0.0;
  for (const float l : logits) {
    total += std::exp(static_cast<double>(l) - top);
  }
  std::vector<double> shares;
  double sum = 0.0;
  for (const float e : chosen) {
    const auto logit = static_cast<double>(logits[static_cast<std::size_t>(e)]);
    shares.push_back(std::exp(logit - top) / total);
    sum += shares.back();
  }
  for (double& s : shares) {
    s /= normalise ? sum : 1.0;
  }
  return shares;
}

class ExpertCheck {
 public:
  ExpertCheck(const DeepInput& input, Report& report, int layer)
      : input_(input),
        report_(report),
        model_(*input.subject.model),
        spec_(model_.spec),
        layer_(layer),
        split_(model_.file->find_tensor(layer_tensor(layer, "ffn_gate.0.weight")) != nullptr) {}

  void run() {
    Linear gate;
    Linear up;
    Linear down;
    for (const int position : input_.captures.sample_positions()) {
      const auto logits = input_.captures.row(Tap::kMoeRouter, layer_, position);
      const auto chosen = input_.captures.row(Tap::kMoeTopk, layer_, position);
      const auto shares = input_.captures.row(Tap::kMoeWeights, layer_, position);
      if (logits.empty() || chosen.empty() || shares.empty() || !all_finite(logits) ||
          !valid(chosen)) {
        continue;
      }
      routing(position, logits, chosen);
      weights(position, logits, chosen, shares);
      project(gate, Tap::kFfnGate, &ExpertWeights::gate, position, chosen);
      project(up, Tap::kFfnUp, &ExpertWeights::up, position, chosen);
      combine(down, position, chosen, shares);
    }
    finish(gate, Tap::kFfnGate, "ffn_gate");
    finish(up, Tap::kFfnUp, "ffn_up");
    finish(down, Tap::kFfnOut, "ffn_down");
  }

 private:
  [[nodiscard]] bool valid(std::span<const float> chosen) const {
    return std::all_of(chosen.begin(), chosen.end(), [&](float e) {
      return e >= 0.0F && e < static_cast<float>(spec_.n_experts);
    });
  }

  void routing(int position, std::span<const float> logits, std::span<const float> chosen) {
    const std::vector<int> order = ranking(logits);
    for (std::size_t slot = 0; slot < chosen.size(); ++slot) {
      const auto is = static_cast<std::size_t>(chosen[slot]);
      const auto should = static_cast<std::size_t>(order[slot]);
      if (is == should || logits[is] == logits[should]) {
        continue;
      }
      Finding f = finding_at(model_, "experts", "wrong-experts", Tap::kMoeTopk, layer_, position);
      f.value = static_cast<double>(is);
      f.threshold = static_cast<double>(should);
      f.message = fmt::format(
          "layer {} position {}: place {} goes to expert {} (logit {:.4g}), but expert {} has "
          "{:.4g}",
          layer_, position, slot, is, logits[is], should, logits[should]);
      f.advice = "choose the experts with the largest router logits";
      show_values(f, chosen,
                  std::vector<double>(order.begin(),
                                      order.begin() + static_cast<std::ptrdiff_t>(chosen.size())),
                  slot);
      report_.add(std::move(f));
      return;
    }
  }

  void weights(int position, std::span<const float> logits, std::span<const float> chosen,
               std::span<const float> shares) {
    const double u = input_.subject.unit_roundoff;
    const auto fit = [&](bool normalise, std::vector<double>& expected) {
      expected = shares_of(logits, chosen, normalise);
      for (std::size_t i = 0; i < shares.size(); ++i) {
        const double tolerance =
            2.0 * thresholds::probability(std::log(expected[i]), 0.0, u) * expected[i];
        if (!agrees(shares[i], expected[i], tolerance)) {
          return false;
        }
      }
      return true;
    };
    std::vector<double> expected;
    std::vector<double> other;
    if (fit(spec_.expert_weights_norm, expected)) {
      return;
    }
    const bool flipped = fit(!spec_.expert_weights_norm, other);
    double sum = 0.0;
    for (const float s : shares) {
      sum += static_cast<double>(s);
    }
    const bool bare = flipped && spec_.expert_weights_norm;
    Finding f = finding_at(model_, "experts",
                           bare      ? "expert-weights-unnormalised"
                           : flipped ? "expert-weights-normalised"
                                     : "expert-weights-wrong",
                           Tap::kMoeWeights, layer_, position);
    f.value = sum;
    f.threshold = 1.0;
    f.message = fmt::format("layer {} position {}: the chosen experts' weights sum to {:.6g}{}",
                            layer_, position, sum,
                            bare ? "; they must sum to 1 and are the bare soft-max over all experts"
                            : flipped ? "; this model does not divide them by their sum"
                                      : " and are not the soft-max of the router's logits");
    f.advice =
        "take the soft-max over all experts, then divide the chosen ones by their sum where "
        "the architecture does";
    show_values(f, shares, expected, 0);
    report_.add(std::move(f));
  }

  /// The matrix of an expert and the tensor that holds it.
  [[nodiscard]] TensorView matrix_of(int expert, kernels::Matrix ExpertWeights::*which) const {
    for (const model::MatrixSource& source : model::layer_matrices(spec_, layer_, split_)) {
      if (source.expert == expert && source.expert_matrix == which) {
        return {model_.file->find_tensor(source.tensor), static_cast<std::size_t>(source.first_row),
                static_cast<std::size_t>(source.rows), static_cast<std::size_t>(source.cols)};
      }
    }
    return {};
  }

  /// Adds one position's products of every chosen expert to what is compared.
  void project(Linear& linear, Tap out, kernels::Matrix ExpertWeights::*which, int position,
               std::span<const float> chosen) {
    const TapPlace from = ffn_input(spec_, layer_);
    const auto x = input_.captures.row(from.tap, from.layer, position);
    const auto y = input_.captures.row(out, layer_, position);
    if (x.empty() || y.empty() || !all_finite(x)) {
      return;
    }
    begin(linear, position, x, y);
    for (const float e : chosen) {
      const TensorView view = matrix_of(static_cast<int>(e), which);
      const double bound = thresholds::dot(view.cols, product_roundoff(input_, position));
      for (std::size_t r = 0; r < view.rows; ++r) {
        const Dot d = dot(view.row(r), x);
        linear.expected.back().push_back(d.sum);
        linear.tolerance.back().push_back(bound * d.magnitude + 1e-30);
      }
    }
  }

  /// Σ share · down · act over the chosen experts.
  void combine(Linear& linear, int position, std::span<const float> chosen,
               std::span<const float> shares) {
    const auto act = input_.captures.row(Tap::kFfnAct, layer_, position);
    const auto y = input_.captures.row(Tap::kFfnOut, layer_, position);
    if (act.empty() || y.empty() || !all_finite(act) || !all_finite(shares)) {
      return;
    }
    begin(linear, position, act, y);
    std::vector<double>& sums = linear.expected.back();
    std::vector<double>& tolerance = linear.tolerance.back();
    sums.assign(y.size(), 0.0);
    tolerance.assign(y.size(), 1e-30);
    const auto width = static_cast<std::size_t>(spec_.ffn);
    for (std::size_t slot = 0; slot < chosen.size(); ++slot) {
      const TensorView view = matrix_of(static_cast<int>(chosen[slot]), &ExpertWeights::down);
      const double bound =
          thresholds::dot(view.cols + chosen.size(), product_roundoff(input_, position));
      const auto share = static_cast<double>(shares[slot]);
      for (std::size_t r = 0; r < view.rows; ++r) {
        const Dot d = dot(view.row(r), act.subspan(slot * width, width));
        sums[r] += share * d.sum;
        tolerance[r] += bound * share * d.magnitude;
      }
    }
  }

  static void begin(Linear& linear, int position, std::span<const float> in,
                    std::span<const float> out) {
    linear.positions.push_back(position);
    linear.in.push_back(in);
    linear.out.push_back(out);
    linear.expected.emplace_back();
    linear.tolerance.emplace_back();
  }

  void finish(Linear& l, Tap out, const char* role) {
    l.compare();
    if (l.n_bad == 0) {
      return;
    }
    const Explanation why = explain(l);
    const float captured = l.out[l.worst][l.worst_row];
    const double expected = l.expected[l.worst][l.worst_row];
    Finding f = finding_at(model_, "experts", why.cause.c_str(), out, layer_, l.positions[l.worst]);
    f.tensor = fmt::format("blk.{}.{}{}", layer_, role, split_ ? ".0.weight" : "_exps.weight");
    f.value = std::fabs(static_cast<double>(captured) - expected);
    f.threshold = l.tolerance[l.worst][l.worst_row];
    f.message = fmt::format("{} of layer {} is {:.4g} where the chosen experts give {:.4g}: {}",
                            f.evidence.tap, layer_, captured, expected, why.why);
    f.advice = why.advice;
    if (!std::isfinite(captured) && std::isfinite(expected) &&
        (why.cause == "wrong-weights" || why.cause == "channel-wrong")) {
      f.cause = "non-finite";
      f.message = fmt::format(
          "{} of layer {} is the first NaN or infinity: the experts' inputs and "
          "the products recomputed from them are finite",
          f.evidence.tap, layer_);
      f.advice = "look at what writes this tensor; everything after it is a consequence";
    }
    show_values(f, l.out[l.worst], l.expected[l.worst], l.worst_row);
    report_.add(std::move(f));
  }

  const DeepInput& input_;
  Report& report_;
  const model::Model& model_;
  const model::DecoderSpec& spec_;
  int layer_;
  bool split_;
};

}  // namespace

void check_experts(const DeepInput& input, Report& report) {
  const model::DecoderSpec& spec = input.subject.model->spec;
  for (int layer = 0; spec.n_experts > 0 && layer < spec.n_layers; ++layer) {
    ExpertCheck(input, report, layer).run();
  }
}

}  // namespace layerscope::diagnose
