#include "engine/diagnose/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/half.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

Dot dot(std::span<const float> a, std::span<const float> b) {
  Dot result;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double product = static_cast<double>(a[i]) * static_cast<double>(b[i]);
    result.sum += product;
    result.magnitude += std::fabs(product);
  }
  return result;
}

bool agrees(float captured, double expected, double tolerance) {
  const auto value = static_cast<double>(captured);
  if (std::isnan(value) || std::isnan(expected)) {
    return std::isnan(value) && std::isnan(expected);
  }
  if (std::isinf(value)) {
    const double beyond = static_cast<double>(std::numeric_limits<float>::max());
    return value > 0.0 ? expected > beyond : expected < -beyond;
  }
  return std::fabs(value - expected) <= tolerance;
}

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

std::vector<float> as_half(std::span<const float> values) {
  std::vector<float> rounded;
  rounded.reserve(values.size());
  for (const float v : values) {
    rounded.push_back(f16_to_f32(f32_to_f16(v)));
  }
  return rounded;
}

double mean_square(std::span<const float> values) {
  double sum = 0.0;
  for (const float v : values) {
    sum += static_cast<double>(v) * static_cast<double>(v);
  }
  return sum / static_cast<double>(std::max<std::size_t>(1, values.size()));
}

std::vector<float> tensor_row(const format::TensorInfo& tensor, std::size_t r) {
  const std::uint64_t cols = tensor.shape.back();
  auto values = format::decode_values(tensor, r * cols, cols);
  return values.ok() ? std::move(values).value() : std::vector<float>(cols, NAN);
}

std::vector<float> tensor_values(const model::Model& model, const std::string& name) {
  const format::TensorInfo* tensor = model.file->find_tensor(name);
  if (tensor == nullptr) {
    return {};
  }
  auto values = format::decode_values(*tensor, 0, tensor->n_elements);
  return values.ok() ? std::move(values).value() : std::vector<float>{};
}

double product_roundoff(const DeepInput& input, int position) {
  return input.captures.pass(position).captured.n_tokens > 1 ? input.subject.product_roundoff
                                                             : input.subject.unit_roundoff;
}

TensorView whole_tensor(const format::TensorInfo& tensor) {
  return {&tensor, 0, tensor.shape[0], tensor.shape.back()};
}

TapPlace stream_before(int layer) {
  return layer == 0 ? TapPlace{capture::Tap::kEmbedding, -1}
                    : TapPlace{capture::Tap::kResidOut, layer - 1};
}

TapPlace attention_input(const model::DecoderSpec& spec, int layer) {
  return spec.pre_norm ? TapPlace{capture::Tap::kAttnNorm, layer} : stream_before(layer);
}

TapPlace ffn_input(const model::DecoderSpec& spec, int layer) {
  if (!spec.pre_norm) {
    return {capture::Tap::kResidMid, layer};
  }
  const bool shared = spec.ffn_shares_norm && !spec.second_attn_norm;
  return {shared ? capture::Tap::kAttnNorm : capture::Tap::kFfnNorm, layer};
}

Finding finding_at(const model::Model& model, const char* check, const char* cause,
                   capture::Tap tap, int layer, int position) {
  Finding finding;
  finding.check = check;
  finding.cause = cause;
  finding.layer = layer;
  finding.position = position;
  finding.stage = stage_of(layer, static_cast<int>(tap), model.spec.n_layers);
  finding.evidence.tap = capture::tap_name(tap);
  finding.evidence.layer = layer;
  finding.evidence.position = position;
  return finding;
}

void show_values(Finding& finding, std::span<const float> captured,
                 std::span<const double> expected, std::size_t index) {
  constexpr std::size_t kSide = 8;
  const std::size_t begin = index > kSide ? index - kSide : 0;
  const std::size_t end = std::min(captured.size(), index + kSide + 1);
  finding.evidence.index = static_cast<int>(index);
  finding.evidence.first = static_cast<int>(begin);
  for (std::size_t i = begin; i < end; ++i) {
    finding.evidence.captured.push_back(captured[i]);
    if (i < expected.size()) {
      finding.evidence.expected.push_back(static_cast<float>(expected[i]));
    }
  }
}

namespace {

/// Gathers inputs and outputs of the positions where both were captured and the input is sound.
void gather(const DeepInput& input, TapPlace in, TapPlace out, Linear& linear) {
  for (const int position : input.captures.sample_positions()) {
    const auto x = input.captures.row(in.tap, in.layer, position);
    const auto y = input.captures.row(out.tap, out.layer, position);
    if (!x.empty() && !y.empty() && all_finite(x)) {
      linear.positions.push_back(position);
      linear.in.push_back(x);
      linear.out.push_back(y);
    }
  }
}

/// A norm of values that are known to ± tolerance: y = (x − mean) · w / sqrt(mean² + eps). The
/// error of the divisor is at most the root mean square of the values' errors.
void apply_norm(const Finish& f, std::size_t begin, std::vector<double>& x,
                std::vector<double>& tolerance) {
  const auto n = static_cast<double>(f.group);
  double mean = 0.0;
  double mean_error = 0.0;
  for (std::size_t i = begin; f.layer_norm && i < begin + f.group; ++i) {
    mean += x[i] / n;
    mean_error += tolerance[i] / n;
  }
  double squares = 0.0;
  double error = 0.0;
  for (std::size_t i = begin; i < begin + f.group; ++i) {
    x[i] -= mean;
    tolerance[i] += mean_error;
    squares += x[i] * x[i] / n;
    error += tolerance[i] * tolerance[i] / n;
  }
  const double root = std::sqrt(squares + f.eps);
  const double root_error = std::sqrt(error);
  for (std::size_t i = begin; i < begin + f.group; ++i) {
    const auto w = static_cast<double>(f.norm[i % f.norm.size()]);
    tolerance[i] = std::fabs(w) / root *
                   (tolerance[i] + std::fabs(x[i]) * (root_error / root + thresholds::norm(f.u)));
    x[i] *= w / root;
  }
}

}  // namespace

void Finish::apply(std::vector<double>& values, std::vector<double>& tolerance) const {
  for (std::size_t begin = 0; group > 0 && begin + group <= values.size(); begin += group) {
    apply_norm(*this, begin, values, tolerance);
  }
  if (scale == 1.0 && cap == 0.0) {
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= scale;
    tolerance[i] = tolerance[i] * std::fabs(scale) + 2.0 * u * std::fabs(values[i]);
    if (cap > 0.0) {
      values[i] = cap * std::tanh(values[i] / cap);
      tolerance[i] += thresholds::tanh(u) * std::fabs(values[i]);
    }
  }
}

void Linear::compare() {
  std::vector<bool> bad_row;
  for (std::size_t p = 0; p < positions.size(); ++p) {
    bad_row.resize(std::max(bad_row.size(), expected[p].size()));
    for (std::size_t i = 0; i < expected[p].size(); ++i) {
      const std::size_t r = i * stride;
      const float captured = out[p][r];
      if (agrees(captured, expected[p][i], tolerance[p][i])) {
        continue;
      }
      ++n_bad;
      bad_row[i] = true;
      const double error = std::fabs(static_cast<double>(captured) - expected[p][i]);
      const double ratio =
          std::isfinite(error) ? error / std::max(tolerance[p][i], 1e-300) : INFINITY;
      if (n_bad == 1 || ratio > worst_ratio) {
        worst_ratio = ratio;
        worst_row = r;
        worst = p;
      }
    }
  }
  n_bad_rows = static_cast<std::size_t>(std::count(bad_row.begin(), bad_row.end(), true));
}

std::optional<Linear> recompute(const DeepInput& input, const TensorView& weight,
                                std::vector<float> bias, TapPlace in, TapPlace out, Finish finish) {
  Linear linear;
  linear.weight = weight;
  linear.bias = std::move(bias);
  linear.finish = std::move(finish);
  gather(input, in, out, linear);
  if (linear.positions.empty()) {
    return std::nullopt;
  }
  const std::size_t n = linear.positions.size();
  const double cost = static_cast<double>(input.subject.model->n_params()) * static_cast<double>(n);
  if (linear.finish.group == 0) {  // a norm needs every value
    linear.stride = static_cast<std::size_t>(std::max(1.0, std::ceil(cost / input.budget)));
  }
  linear.expected.resize(n);
  linear.tolerance.resize(n);
  for (const int position : linear.positions) {
    linear.bound.push_back(thresholds::dot(weight.cols, product_roundoff(input, position)));
  }
  for (std::size_t r = 0; r < weight.rows; r += linear.stride) {
    const std::vector<float> row = weight.row(r);
    const double b = linear.bias.empty() ? 0.0 : static_cast<double>(linear.bias[r]);
    for (std::size_t p = 0; p < n; ++p) {
      const Dot d = dot(row, linear.in[p]);
      linear.expected[p].push_back(d.sum + b);
      linear.tolerance[p].push_back(linear.bound[p] * (d.magnitude + std::fabs(b)) + 1e-30);
    }
  }
  for (std::size_t p = 0; p < n; ++p) {
    linear.finish.apply(linear.expected[p], linear.tolerance[p]);
  }
  linear.compare();
  return linear;
}

}  // namespace layerscope::diagnose
