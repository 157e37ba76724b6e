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

std::string layer_tensor(int layer, const char* role) {
  return fmt::format("blk.{}.{}", layer, role);
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
void gather(const DeepInput& input, capture::Tap in, capture::Tap out, int layer, Linear& linear) {
  for (const int position : input.captures.sample_positions()) {
    const auto x = input.captures.row(in, layer, position);
    const auto y = input.captures.row(out, layer, position);
    if (!x.empty() && !y.empty() && all_finite(x)) {
      linear.positions.push_back(position);
      linear.in.push_back(x);
      linear.out.push_back(y);
    }
  }
}

void compare_row(Linear& linear, std::size_t p, std::size_t r, double expected, double tolerance) {
  linear.expected[p].push_back(expected);
  linear.tolerance[p].push_back(tolerance);
  ++linear.n_compared;
  const float captured = linear.out[p][r];
  if (agrees(captured, expected, tolerance)) {
    return;
  }
  ++linear.n_bad;
  const double error = std::fabs(static_cast<double>(captured) - expected);
  const double ratio = std::isfinite(error) ? error / std::max(tolerance, 1e-300) : INFINITY;
  if (linear.n_bad == 1 || ratio > linear.worst_ratio) {
    linear.worst_ratio = ratio;
    linear.worst_row = r;
    linear.worst = p;
  }
}

}  // namespace

std::optional<Linear> recompute(const DeepInput& input, const format::TensorInfo& tensor,
                                std::vector<float> bias, capture::Tap in, capture::Tap out,
                                int layer) {
  Linear linear;
  linear.tensor = &tensor;
  linear.bias = std::move(bias);
  gather(input, in, out, layer, linear);
  if (linear.positions.empty()) {
    return std::nullopt;
  }
  const std::size_t n = linear.positions.size();
  const std::size_t rows = tensor.shape[0];
  const double cost = static_cast<double>(input.subject.model->n_params()) * static_cast<double>(n);
  linear.stride = static_cast<std::size_t>(std::max(1.0, std::ceil(cost / input.budget)));
  linear.expected.resize(n);
  linear.tolerance.resize(n);
  for (const int position : linear.positions) {
    linear.bound.push_back(thresholds::dot(tensor.shape[1], product_roundoff(input, position)));
  }
  for (std::size_t r = 0; r < rows; r += linear.stride) {
    const std::vector<float> row = tensor_row(tensor, r);
    const double b = linear.bias.empty() ? 0.0 : static_cast<double>(linear.bias[r]);
    for (std::size_t p = 0; p < n; ++p) {
      const Dot d = dot(row, linear.in[p]);
      compare_row(linear, p, r, d.sum + b, linear.bound[p] * (d.magnitude + std::fabs(b)) + 1e-30);
    }
  }
  return linear;
}

namespace {

/// Tests candidates against the worst position of a failed operation.
class Explainer {
 public:
  explicit Explainer(const Linear& linear)
      : l_(linear),
        rows_(linear.tensor->shape[0]),
        cols_(linear.tensor->shape[1]),
        bound_(linear.bound[linear.worst]),
        x_(linear.in[linear.worst]),
        y_(linear.out[linear.worst]) {}

  /// Part of the compared rows that `weight(r)` · x + bias explains.
  template <typename Weight>
  [[nodiscard]] bool fits(const Weight& weight, bool with_bias) const {
    std::size_t good = 0;
    std::size_t compared = 0;
    for (std::size_t r = 0; r < rows_; r += l_.stride) {
      const std::vector<float> row = weight(r);
      const Dot d = dot(row, x_);
      const double b = with_bias && !l_.bias.empty() ? static_cast<double>(l_.bias[r]) : 0.0;
      const double scale = d.magnitude + std::fabs(b);
      good += agrees(y_[r], d.sum + b, 4.0 * bound_ * scale + 1e-30) ? 1U : 0U;
      ++compared;
    }
    return static_cast<double>(good) >= thresholds::kExplained * static_cast<double>(compared);
  }

  [[nodiscard]] bool all_zero() const {
    return std::all_of(y_.begin(), y_.end(), [](float v) { return v == 0.0F; });
  }

  [[nodiscard]] bool without_bias() const {
    return !l_.bias.empty() &&
           fits([&](std::size_t r) { return tensor_row(*l_.tensor, r); }, false);
  }

  [[nodiscard]] bool transposed() const {
    const auto flat = decoded();
    return !flat.empty() && fits(
                                [&](std::size_t r) {
                                  std::vector<float> row(cols_);
                                  for (std::size_t c = 0; c < cols_; ++c) {
                                    row[c] = flat[c * rows_ + r];
                                  }
                                  return row;
                                },
                                true);
  }

  [[nodiscard]] bool read_as(DType dtype) const {
    const DTypeInfo& own = dtype_info(l_.tensor->dtype);
    const DTypeInfo& other = dtype_info(dtype);
    if (own.block != 1 || other.block != 1 || l_.tensor->dtype == dtype) {
      return false;
    }
    const std::size_t whole = l_.tensor->data.size() / other.block_bytes * other.block_bytes;
    return fits(
        [&](std::size_t r) {
          format::TensorInfo piece;
          piece.dtype = dtype;
          piece.n_elements = 1;
          std::vector<float> row(cols_);
          for (std::size_t c = 0; c < cols_; ++c) {
            const std::size_t at = (r * cols_ + c) * other.block_bytes % whole;
            piece.data = l_.tensor->data.subspan(at, other.block_bytes);
            const auto value = format::decode_values(piece, 0, 1);
            row[c] = value.ok() ? value.value().front() : NAN;
          }
          return row;
        },
        true);
  }

  [[nodiscard]] bool nibbles_swapped() const;

  /// captured = factor · expected for every row: the factor, else 1.
  [[nodiscard]] double constant_factor() const {
    const auto& e = l_.expected[l_.worst];
    const auto& tolerance = l_.tolerance[l_.worst];
    double xy = 0.0;
    double xx = 0.0;
    for (std::size_t i = 0; i < e.size(); ++i) {
      xy += e[i] * static_cast<double>(y_[i * l_.stride]);
      xx += e[i] * e[i];
    }
    const double factor = xx > 0.0 ? xy / xx : 1.0;
    std::size_t good = 0;
    for (std::size_t i = 0; i < e.size(); ++i) {
      good += agrees(y_[i * l_.stride], e[i] * factor,
                     4.0 * tolerance[i] * std::max(1.0, std::fabs(factor)))
                  ? 1U
                  : 0U;
    }
    return static_cast<double>(good) >= thresholds::kExplained * static_cast<double>(e.size())
               ? factor
               : 1.0;
  }

 private:
  [[nodiscard]] std::vector<float> decoded() const {
    auto values = format::decode_values(*l_.tensor, 0, l_.tensor->n_elements);
    return values.ok() ? std::move(values).value() : std::vector<float>{};
  }

  const Linear& l_;
  std::size_t rows_, cols_;
  double bound_;
  std::span<const float> x_, y_;
};

/// Where the packed nibbles stand in a block (GGUF block layouts).
bool Explainer::nibbles_swapped() const {
  std::size_t offset = 0;
  std::size_t length = 16;
  switch (l_.tensor->dtype) {
    case DType::kQ4_0:
      offset = 2;
      break;
    case DType::kQ4_1:
      offset = 4;
      break;
    case DType::kQ5_0:
      offset = 6;
      break;
    case DType::kQ5_1:
      offset = 8;
      break;
    case DType::kQ4_K:
      offset = 16;
      length = 128;
      break;
    case DType::kQ5_K:
      offset = 48;
      length = 128;
      break;
    default:
      return false;
  }
  const DTypeInfo& info = dtype_info(l_.tensor->dtype);
  const std::size_t row_bytes = cols_ / info.block * info.block_bytes;
  return fits(
      [&](std::size_t r) {
        const auto raw = l_.tensor->data.subspan(r * row_bytes, row_bytes);
        std::vector<std::byte> bytes(raw.begin(), raw.end());
        for (std::size_t block = 0; block < row_bytes; block += info.block_bytes) {
          for (std::size_t i = 0; i < length; ++i) {
            std::byte& b = bytes[block + offset + i];
            b = (b << 4U) | (b >> 4U);
          }
        }
        format::TensorInfo piece;
        piece.dtype = l_.tensor->dtype;
        piece.n_elements = cols_;
        piece.data = bytes;
        auto values = format::decode_values(piece, 0, cols_);
        return values.ok() ? std::move(values).value() : std::vector<float>(cols_, NAN);
      },
      true);
}

}  // namespace

Explanation explain(const Linear& linear) {
  const Explainer e(linear);
  if (e.all_zero()) {
    return {"output-zero", "every value is zero although the input is not",
            "look for a product that is skipped, or a result that is overwritten or never written",
            -1};
  }
  if (e.without_bias()) {
    return {"bias-dropped", "W·x without the bias gives exactly the captured values",
            "load the bias tensor and add it after the product", -1};
  }
  if (e.transposed()) {
    return {
        "transposed-weight",
        "reading the stored tensor column by column gives exactly the captured values",
        "swap the matrix's dimensions (leading dimension, or the transpose flag of the product)",
        -1};
  }
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (e.read_as(dtype)) {
      return {"dtype-misread",
              fmt::format("the stored {} bytes read as {} give exactly the captured values",
                          dtype_info(linear.tensor->dtype).name, dtype_info(dtype).name),
              "take the element type from the tensor's header", -1};
    }
  }
  if (e.nibbles_swapped()) {
    return {"nibbles-swapped",
            "exchanging the halves of each packed byte gives exactly the captured values",
            "the low nibbles are the first half of the block, the high ones the second", -1};
  }
  const auto bad = static_cast<double>(linear.n_bad);
  const auto all = static_cast<double>(linear.n_compared);
  const auto few = std::max(1.0, thresholds::kFewChannels * all);
  if (bad <= few && std::isfinite(linear.worst_ratio)) {
    return {"channel-wrong",
            fmt::format("only channel {} is wrong, all others agree", linear.worst_row),
            "look for an index, a block boundary or a write that touches this channel",
            static_cast<int>(linear.worst_row)};
  }
  const double factor = e.constant_factor();
  if (factor != 1.0) {
    return {"output-scaled", fmt::format("every value is {:.6g} times what it should be", factor),
            "look for a scale that is missing or applied twice", -1};
  }
  return {"wrong-weights", "the stored tensor times the captured input gives other values",
          "compare the loaded tensor with the file's: offset, shape, type, order", -1};
}

}  // namespace layerscope::diagnose
