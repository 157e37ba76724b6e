// Norms: attn_norm, ffn_norm and final_norm recomputed from their inputs with the file's weights.
//
// captured[i] = x[i] · w[i] / sqrt(mean(x²) + ε), for a layer norm x less its mean and plus the
// bias. Where it is not, the ratio s = captured/(x·w) tells the causes apart: the same for all
// channels and positions: a scaled weight; the same for all channels of a position: another ε;
// different per channel: other weights.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

struct Norm {
  TapPlace in, out;
  std::string tensor, bias;  ///< bias: empty, or of a layer norm
  bool layer_norm = false;
};

/// One position of a norm that is wrong, with what it should be. `x` is centred for a layer norm,
/// `y` is without the bias.
struct Row {
  int position = 0;
  std::span<const float> captured;
  std::vector<double> x, y, size;  ///< size: what the rounding is relative to
  std::vector<double> expected;
  double mean_square = 0.0;
  bool layer_norm = false;
  std::size_t worst = 0;
  double error = 0.0;
};

/// Every norm over the stream. Norms of Q and K are part of their projections.
std::vector<Norm> norms_of(const model::DecoderSpec& spec) {
  std::vector<Norm> list;
  const bool layer_norm = spec.norm_kind == model::NormKind::kLayer;
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    const auto add = [&](TapPlace in, Tap out, const char* weight, const char* bias) {
      list.push_back({in,
                      {out, layer},
                      layer_tensor(layer, weight),
                      layer_norm ? layer_tensor(layer, bias) : std::string(),
                      layer_norm});
    };
    const TapPlace entered = stream_before(layer);
    const TapPlace middle = spec.parallel ? entered : TapPlace{Tap::kResidMid, layer};
    if (spec.second_attn_norm) {
      add(entered, Tap::kAttnNorm, "attn_norm_2.weight", "attn_norm_2.bias");
      add(entered, Tap::kFfnNorm, "attn_norm.weight", "attn_norm.bias");
    } else if (spec.pre_norm) {
      add(entered, Tap::kAttnNorm, "attn_norm.weight", "attn_norm.bias");
    }
    if (spec.post_norm) {
      add({Tap::kAttnOut, layer}, Tap::kAttnPostNorm, "post_attention_norm.weight", "");
    }
    if (spec.has_ffn_norm()) {
      add(middle, Tap::kFfnNorm, "ffn_norm.weight", "ffn_norm.bias");
    }
    if (spec.post_norm) {
      add({Tap::kFfnOut, layer}, Tap::kFfnPostNorm, "post_ffw_norm.weight", "");
    }
  }
  list.push_back({{Tap::kResidOut, spec.n_layers - 1},
                  {Tap::kFinalNorm, -1},
                  "output_norm.weight",
                  layer_norm ? "output_norm.bias" : "",
                  layer_norm});
  return list;
}

/// s = y/(x·w) where it can be measured, if it is the same in all channels; else nothing.
std::optional<double> common_ratio(const Row& row, std::span<const float> w, double tolerance) {
  double ratio = 0.0;
  double weight = 0.0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double base = row.x[i] * static_cast<double>(w[i]);
    ratio += row.y[i] * base;
    weight += base * base;
  }
  if (!(weight > 0.0) || !std::isfinite(ratio)) {
    return std::nullopt;
  }
  ratio /= weight;
  const double root = std::sqrt(row.mean_square);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double expected = ratio * row.x[i] * static_cast<double>(w[i]);
    // `size` was taken at the right scale; the candidate's may be another.
    const double grown = row.size[i] * std::max(1.0, std::fabs(ratio) * root);
    if (!(std::fabs(row.y[i] - expected) <=
          tolerance * std::max(std::fabs(expected), row.layer_norm ? grown : 0.0) + 1e-30)) {
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
    if (row.x[i] != 0.0) {
      mean += row.y[i] * rms / row.x[i];
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

/// The norm recomputed at one position; nothing where it was not captured or its input is not
/// sound.
std::optional<Row> recompute_row(const DeepInput& input, const Norm& norm, int position,
                                 std::span<const float> w, std::span<const float> bias) {
  const auto in = input.captures.row(norm.in.tap, norm.in.layer, position);
  Row row;
  row.position = position;
  row.layer_norm = norm.layer_norm;
  row.captured = input.captures.row(norm.out.tap, norm.out.layer, position);
  if (in.size() != w.size() || row.captured.size() != w.size() || !all_finite(in)) {
    return std::nullopt;
  }
  double mean = 0.0;
  for (const float v : in) {
    mean += norm.layer_norm ? static_cast<double>(v) / static_cast<double>(in.size()) : 0.0;
  }
  for (std::size_t i = 0; i < w.size(); ++i) {
    row.x.push_back(static_cast<double>(in[i]) - mean);
    row.mean_square += row.x[i] * row.x[i] / static_cast<double>(w.size());
  }
  const double eps = static_cast<double>(input.subject.model->spec.norm_eps);
  const double scale = 1.0 / std::sqrt(row.mean_square + eps);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double b = bias.empty() ? 0.0 : static_cast<double>(bias[i]);
    const double product = row.x[i] * scale * static_cast<double>(w[i]);
    row.expected.push_back(product + b);
    row.y.push_back(static_cast<double>(row.captured[i]) - b);
    row.size.push_back(std::fabs(product) + std::fabs(b) +
                       std::fabs(mean * scale * static_cast<double>(w[i])));
  }
  return row;
}

/// Finds the largest error of a row; true when it is beyond the tolerance.
bool is_wrong(Row& row, double u) {
  bool wrong = false;
  for (std::size_t i = 0; i < row.expected.size(); ++i) {
    if (agrees(row.captured[i], row.expected[i], thresholds::norm(u) * row.size[i] + 1e-30)) {
      continue;
    }
    wrong = true;
    const double e = std::fabs(static_cast<double>(row.captured[i]) - row.expected[i]);
    if (!(e <= row.error)) {
      row.error = e;
      row.worst = i;
    }
  }
  return wrong;
}

}  // namespace

void check_norms(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const double u = input.subject.unit_roundoff;
  const auto eps = static_cast<double>(model.spec.norm_eps);
  for (const Norm& norm : norms_of(model.spec)) {
    const std::vector<float> w = tensor_values(model, norm.tensor);
    const std::vector<float> bias = tensor_values(model, norm.bias);
    std::vector<Row> bad;
    for (const int position : input.captures.sample_positions()) {
      auto row = recompute_row(input, norm, position, w, bias);
      if (row && is_wrong(*row, u)) {
        bad.push_back(std::move(*row));
      }
    }
    if (bad.empty()) {
      continue;
    }
    const Row& first = bad.front();
    Finding f = finding_at(model, "norm", "", norm.out.tap, norm.out.layer, first.position);
    f.tensor = norm.tensor;
    f.value = first.error;
    f.threshold = thresholds::norm(u) * first.size[first.worst];
    explain_norm(bad, w, eps, u, f);
    f.message = fmt::format("{}{}: {}", f.evidence.tap,
                            norm.out.layer >= 0 ? fmt::format(" of layer {}", norm.out.layer) : "",
                            f.message);
    show_values(f, first.captured, first.expected, first.worst);
    report.add(std::move(f));
  }
}

}  // namespace layerscope::diagnose
