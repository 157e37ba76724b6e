// Explanations: what would make a wrong linear operation give the captured values. Candidates are
// tried on the worst position; the one that reproduces it is the cause.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

/// Tests candidates against the worst position of a failed operation.
class Explainer {
 public:
  explicit Explainer(const Linear& linear)
      : l_(linear), x_(linear.in[linear.worst]), y_(linear.out[linear.worst]) {}

  /// True when `weight(r)` · x + bias, finished as given, explains the captured values.
  template <typename Weight>
  [[nodiscard]] bool fits(const Weight& weight, bool with_bias, const Finish& finish) const {
    std::vector<double> values;
    std::vector<double> tolerance;
    for (std::size_t r = 0; r < l_.weight.rows; r += l_.stride) {
      const std::vector<float> row = weight(r);
      const Dot d = dot(row, x_);
      const double b = with_bias && !l_.bias.empty() ? static_cast<double>(l_.bias[r]) : 0.0;
      values.push_back(d.sum + b);
      tolerance.push_back(4.0 * l_.bound[l_.worst] * (d.magnitude + std::fabs(b)) + 1e-30);
    }
    finish.apply(values, tolerance);
    std::size_t good = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      good += agrees(y_[i * l_.stride], values[i], tolerance[i]) ? 1U : 0U;
    }
    return static_cast<double>(good) >= thresholds::kExplained * static_cast<double>(values.size());
  }
  template <typename Weight>
  [[nodiscard]] bool fits(const Weight& weight, bool with_bias) const {
    return fits(weight, with_bias, l_.finish);
  }
  /// The stored weights, finished in another way.
  [[nodiscard]] bool fits_finished(const Finish& finish) const {
    return fits([&](std::size_t r) { return l_.weight.row(r); }, true, finish);
  }

  [[nodiscard]] bool norm_missing() const {
    Finish finish = l_.finish;
    finish.group = 0;
    return l_.finish.group > 0 && fits_finished(finish);
  }
  [[nodiscard]] bool norm_shifted() const {
    for (const float by : {-1.0F, 1.0F}) {
      Finish finish = l_.finish;
      for (float& w : finish.norm) {
        w += by;
      }
      if (l_.finish.group > 0 && fits_finished(finish)) {
        return true;
      }
    }
    return false;
  }
  /// The epsilon that explains each group's common factor; negative: none does.
  [[nodiscard]] double other_epsilon() const;
  [[nodiscard]] bool cap_missing() const {
    Finish finish = l_.finish;
    finish.cap = 0.0;
    return l_.finish.cap > 0.0 && fits_finished(finish);
  }
  [[nodiscard]] bool scale_missing() const {
    Finish finish = l_.finish;
    finish.scale = 1.0;
    return l_.finish.scale != 1.0 && fits_finished(finish);
  }

  [[nodiscard]] bool all_zero() const {
    return std::all_of(y_.begin(), y_.end(), [](float v) { return v == 0.0F; });
  }

  [[nodiscard]] bool without_bias() const {
    return !l_.bias.empty() && fits([&](std::size_t r) { return l_.weight.row(r); }, false);
  }

  /// The whole tensor read column by column, of which this matrix is some rows.
  [[nodiscard]] bool transposed() const {
    if (l_.weight.tensor->shape.size() != 2) {
      return false;
    }
    const auto flat = decoded();
    const std::size_t stored = l_.weight.tensor->shape[0];
    return !flat.empty() && fits(
                                [&](std::size_t r) {
                                  std::vector<float> row(l_.weight.cols);
                                  for (std::size_t c = 0; c < row.size(); ++c) {
                                    row[c] = flat[c * stored + l_.weight.first_row + r];
                                  }
                                  return row;
                                },
                                true);
  }

  [[nodiscard]] bool read_as(DType dtype) const {
    const DTypeInfo& own = dtype_info(l_.weight.tensor->dtype);
    const DTypeInfo& other = dtype_info(dtype);
    if (own.block != 1 || other.block != 1 || l_.weight.tensor->dtype == dtype) {
      return false;
    }
    const std::size_t whole = l_.weight.tensor->data.size() / other.block_bytes * other.block_bytes;
    return fits(
        [&](std::size_t r) {
          format::TensorInfo piece;
          piece.dtype = dtype;
          piece.n_elements = 1;
          std::vector<float> row(l_.weight.cols);
          for (std::size_t c = 0; c < row.size(); ++c) {
            const std::size_t element = (l_.weight.first_row + r) * row.size() + c;
            const std::size_t at = element * other.block_bytes % whole;
            piece.data = l_.weight.tensor->data.subspan(at, other.block_bytes);
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
    auto values = format::decode_values(*l_.weight.tensor, 0, l_.weight.tensor->n_elements);
    return values.ok() ? std::move(values).value() : std::vector<float>{};
  }

  const Linear& l_;
  std::span<const float> x_, y_;
};

/// Where the packed nibbles stand in a block (GGUF block layouts).
bool Explainer::nibbles_swapped() const {
  std::size_t offset = 0;
  std::size_t length = 16;
  switch (l_.weight.tensor->dtype) {
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
  const DTypeInfo& info = dtype_info(l_.weight.tensor->dtype);
  const std::size_t cols = l_.weight.cols;
  const std::size_t row_bytes = cols / info.block * info.block_bytes;
  return fits(
      [&](std::size_t r) {
        const auto raw =
            l_.weight.tensor->data.subspan((l_.weight.first_row + r) * row_bytes, row_bytes);
        std::vector<std::byte> bytes(raw.begin(), raw.end());
        for (std::size_t block = 0; block < row_bytes; block += info.block_bytes) {
          for (std::size_t i = 0; i < length; ++i) {
            std::byte& b = bytes[block + offset + i];
            b = (b << 4U) | (b >> 4U);
          }
        }
        format::TensorInfo piece;
        piece.dtype = l_.weight.tensor->dtype;
        piece.n_elements = cols;
        piece.data = bytes;
        auto values = format::decode_values(piece, 0, cols);
        return values.ok() ? std::move(values).value() : std::vector<float>(cols, NAN);
      },
      true);
}

double Explainer::other_epsilon() const {
  const Finish& f = l_.finish;
  if (f.group == 0) {
    return -1.0;
  }
  // Without its norm the product's mean square per group; the ratio captured / expected follows.
  std::vector<double> raw;
  for (std::size_t r = 0; r < l_.weight.rows; ++r) {
    const double b = l_.bias.empty() ? 0.0 : static_cast<double>(l_.bias[r]);
    raw.push_back(dot(l_.weight.row(r), x_).sum + b);
  }
  double found = -1.0;
  double best = INFINITY;
  for (std::size_t begin = 0; begin + f.group <= raw.size(); begin += f.group) {
    double mean = 0.0;
    double squares = 0.0;
    double xy = 0.0;
    double xx = 0.0;
    for (std::size_t i = begin; i < begin + f.group; ++i) {
      mean += f.layer_norm ? raw[i] / static_cast<double>(f.group) : 0.0;
    }
    for (std::size_t i = begin; i < begin + f.group; ++i) {
      squares += (raw[i] - mean) * (raw[i] - mean) / static_cast<double>(f.group);
      const double e = l_.expected[l_.worst][i];
      xy += e * static_cast<double>(y_[i]);
      xx += e * e;
    }
    const double ratio = xx > 0.0 ? xy / xx : 0.0;
    const double eps = ratio > 0.0 ? (squares + f.eps) / (ratio * ratio) - squares : -1.0;
    if (squares < best) {  // the smallest input measures it best
      best = squares;
      found = eps;
    }
  }
  Finish changed = f;
  changed.eps = std::max(0.0, found);
  return found > -1e-3 * best && fits_finished(changed) ? changed.eps : -1.0;
}

/// What the stored tensor explains when it is read, or its product is finished, in another way.
std::optional<Explanation> explain_stored(const Explainer& e, const Linear& linear) {
  if (e.without_bias()) {
    return Explanation{"bias-dropped", "W·x without the bias gives exactly the captured values",
                       "load the bias tensor and add it after the product", -1};
  }
  if (e.transposed()) {
    return Explanation{
        "transposed-weight",
        "reading the stored tensor column by column gives exactly the captured values",
        "swap the matrix's dimensions (leading dimension, or the transpose flag of the product)",
        -1};
  }
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (e.read_as(dtype)) {
      return Explanation{
          "dtype-misread",
          fmt::format("the stored {} bytes read as {} give exactly the captured values",
                      dtype_info(linear.weight.tensor->dtype).name, dtype_info(dtype).name),
          "take the element type from the tensor's header", -1};
    }
  }
  if (e.nibbles_swapped()) {
    return Explanation{
        "nibbles-swapped",
        "exchanging the halves of each packed byte gives exactly the captured values",
        "the low nibbles are the first half of the block, the high ones the second", -1};
  }
  if (e.norm_missing()) {
    return Explanation{"qk-norm-missing",
                       "the product without the norm of Q and K gives exactly the captured values",
                       "normalise Q and K after the projection and before RoPE", -1};
  }
  if (e.norm_shifted()) {
    return Explanation{"norm-offset", "the captured values fit norm weights off by 1",
                       "Gemma-like norms multiply by (1 + w); GGUF files store the sum already",
                       -1};
  }
  if (const double eps = e.other_epsilon(); eps >= 0.0) {
    return Explanation{
        "norm-epsilon",
        fmt::format("the norm after it behaves as with epsilon {:.3g}, the file says "
                    "{:.3g}",
                    eps, linear.finish.eps),
        "read the epsilon from the metadata instead of a default", -1};
  }
  if (e.cap_missing()) {
    return Explanation{"soft-cap-missing",
                       fmt::format("without the soft-cap of {:g} they agree", linear.finish.cap),
                       "apply cap · tanh(x / cap) to the logits", -1};
  }
  if (e.scale_missing()) {
    return Explanation{"logit-scale-missing",
                       fmt::format("without the factor {:g} they agree", linear.finish.scale),
                       "multiply the logits by the file's logit_scale", -1};
  }
  return std::nullopt;
}

}  // namespace

Explanation explain(const Linear& linear) {
  const Explainer e(linear);
  if (e.all_zero()) {
    return {"output-zero", "every value is zero although the input is not",
            "look for a product that is skipped, or a result that is overwritten or never written",
            -1};
  }
  if (linear.weight.tensor != nullptr) {
    if (auto named = explain_stored(e, linear); named.has_value()) {
      return *std::move(named);
    }
  }
  const auto bad = static_cast<double>(linear.n_bad_rows);
  const auto all = static_cast<double>(linear.expected[linear.worst].size());
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
