// Norms: attn_norm, ffn_norm and final_norm recomputed from their inputs with the file's weights.
//
// captured[i] = x[i] · w[i] / sqrt(mean(x²) + ε). Where it is not, the ratio s = captured/(x·w)
// tells the causes apart: the same for all channels and positions: a scaled weight; the same for
// all channels of a position: another ε; different per channel: other weights.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

struct Norm {
  Tap in, out;
  int layer_in, layer;
  std::string tensor;
};

/// One position of a norm that is wrong, with what it should be.
struct Row {
  int position = 0;
  std::span<const float> x, y;
  std::vector<double> expected;
  double mean_square = 0.0;
  std::size_t worst = 0;
  double error = 0.0;
};

/// The input of the first norm of a layer is what the layer before left.
std::vector<Norm> norms_of(const model::DecoderSpec& spec) {
  std::vector<Norm> list;
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    list.push_back({layer == 0 ? Tap::kEmbedding : Tap::kResidOut, Tap::kAttnNorm, layer - 1, layer,
                    layer_tensor(layer, "attn_norm.weight")});
    list.push_back(
        {Tap::kResidMid, Tap::kFfnNorm, layer, layer, layer_tensor(layer, "ffn_norm.weight")});
  }
  list.push_back({Tap::kResidOut, Tap::kFinalNorm, spec.n_layers - 1, -1, "output_norm.weight"});
  return list;
}

/// s = y/(x·w) where it can be measured, if it is the same in all channels; else nothing.
std::optional<double> common_ratio(const Row& row, std::span<const float> w, double tolerance) {
  double ratio = 0.0;
  double weight = 0.0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double base = static_cast<double>(row.x[i]) * static_cast<double>(w[i]);
    ratio += static_cast<double>(row.y[i]) * base;
    weight += base * base;
  }
  if (!(weight > 0.0) || !std::isfinite(ratio)) {
    return std::nullopt;
  }
  ratio /= weight;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double expected = ratio * static_cast<double>(row.x[i]) * static_cast<double>(w[i]);
    if (!agrees(row.y[i], expected, tolerance * std::fabs(expected) + 1e-30)) {
      return std::nullopt;
    }
  }
  return ratio;
}

/// The ε that would give ratio s.
double epsilon_of(double s, double mean_square) { return 1.0 / (s * s) - mean_square; }

void explain_norm(const std::vector<Row>& rows, std::span<const float> w, double eps, double u,
                  Finding& f) {
  const double loose = 4.0 * thresholds::norm(u);
  std::vector<double> epsilons;
  std::vector<double> factors;
  double noise = 0.0;  // of an ε computed from a rounded ratio
  for (const Row& row : rows) {
    const auto s = common_ratio(row, w, loose);
    if (!s) {
      break;
    }
    epsilons.push_back(epsilon_of(*s, row.mean_square));
    factors.push_back(*s * std::sqrt(row.mean_square + eps));
    noise = std::max(noise, 4.0 * loose * (row.mean_square + std::fabs(epsilons.back())));
  }
  if (epsilons.size() == rows.size()) {
    const auto [e0, e1] = std::minmax_element(epsilons.begin(), epsilons.end());
    const auto [f0, f1] = std::minmax_element(factors.begin(), factors.end());
    const bool same_epsilon = *e1 - *e0 <= noise && *e0 > -noise;
    const bool same_factor = *f1 - *f0 <= loose * *f1;
    // Where both fit, inputs are too large to tell: a factor this near to one is an epsilon.
    constexpr double kSmall = 0.01;
    if (same_epsilon && (!same_factor || std::fabs(*f0 - 1.0) < kSmall)) {
      // The smallest input measures ε best.
      const auto best = std::min_element(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
        return a.mean_square < b.mean_square;
      });
      const double measured =
          std::max(0.0, epsilons[static_cast<std::size_t>(best - rows.begin())]);
      f.cause = "norm-epsilon";
      f.message = fmt::format("the norm behaves as with epsilon {:.3g}, the file says {:.3g}",
                              measured, eps);
      f.advice = "read the epsilon from the metadata instead of a default";
      return;
    }
    if (same_factor) {
      f.cause = "norm-weights-corrupt";
      f.message = fmt::format("every channel is {:.6g} times what the stored weights give", *f0);
      f.advice = "reload the norm's weights; a file made so needs converting again";
      return;
    }
  }
  std::vector<float> shifted(w.begin(), w.end());
  for (const float by : {-1.0F, 1.0F}) {
    std::transform(w.begin(), w.end(), shifted.begin(), [&](float v) { return v + by; });
    if (common_ratio(rows.front(), shifted, loose)) {
      f.cause = "norm-offset";
      f.message = fmt::format("the captured values fit weights {} 1", by < 0.0F ? "minus" : "plus");
      f.advice = "Gemma-like norms multiply by (1 + w); GGUF files store the sum already";
      return;
    }
  }
  f.cause = "norm-weights-corrupt";
  double mean = 0.0;
  const Row& row = rows.front();
  const double rms = std::sqrt(row.mean_square + eps);
  std::size_t n = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (row.x[i] != 0.0F) {
      mean += static_cast<double>(row.y[i]) * rms / static_cast<double>(row.x[i]);
      ++n;
    }
  }
  mean /= static_cast<double>(std::max<std::size_t>(1, n));
  double stored = 0.0;
  for (const float v : w) {
    stored += static_cast<double>(v) / static_cast<double>(w.size());
  }
  f.message = fmt::format(
      "the weights in use have mean {:.3g}, the file's have {:.3g}: they were corrupted on the way",
      mean, stored);
  f.advice = "reload the norm's weights and look for what writes over them";
}

}  // namespace

void check_norms(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const double u = input.subject.unit_roundoff;
  const auto eps = static_cast<double>(model.spec.norm_eps);
  for (const Norm& norm : norms_of(model.spec)) {
    const std::vector<float> w = tensor_values(model, norm.tensor);
    std::vector<Row> bad;
    for (const int position : input.captures.sample_positions()) {
      Row row;
      row.position = position;
      row.x = input.captures.row(norm.in, norm.layer_in, position);
      row.y = input.captures.row(norm.out, norm.layer, position);
      if (row.x.size() != w.size() || row.y.size() != w.size() || !all_finite(row.x)) {
        continue;
      }
      row.mean_square = mean_square(row.x);
      const double scale = 1.0 / std::sqrt(row.mean_square + eps);
      bool wrong = false;
      for (std::size_t i = 0; i < w.size(); ++i) {
        row.expected.push_back(static_cast<double>(row.x[i]) * scale * static_cast<double>(w[i]));
        const double e = std::fabs(static_cast<double>(row.y[i]) - row.expected[i]);
        if (!agrees(row.y[i], row.expected[i],
                    thresholds::norm(u) * std::fabs(row.expected[i]) + 1e-30)) {
          wrong = true;
          if (!(e <= row.error)) {
            row.error = e;
            row.worst = i;
          }
        }
      }
      if (wrong) {
        bad.push_back(std::move(row));
      }
    }
    if (bad.empty()) {
      continue;
    }
    const Row& first = bad.front();
    Finding f = finding_at(model, "norm", "", norm.out, norm.layer, first.position);
    f.tensor = norm.tensor;
    f.value = first.error;
    f.threshold = thresholds::norm(u) * std::fabs(first.expected[first.worst]);
    explain_norm(bad, w, eps, u, f);
    f.message =
        fmt::format("{}{}: {}", f.evidence.tap,
                    norm.layer >= 0 ? fmt::format(" of layer {}", norm.layer) : "", f.message);
    show_values(f, first.y, first.expected, first.worst);
    report.add(std::move(f));
  }
}

}  // namespace layerscope::diagnose
