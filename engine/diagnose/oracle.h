// What several checks need to recompute an operation from its captured input: float64 sums with
// their rounding bounds, rows of the file's own tensors, and findings with evidence filled in.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/diagnose/check.h"
#include "engine/model/tensor_map.h"

namespace layerscope::diagnose {

/// Σ a·b in float64, and Σ |a·b| for its rounding bound.
struct Dot {
  double sum = 0.0;
  double magnitude = 0.0;
};
Dot dot(std::span<const float> a, std::span<const float> b);

/// True when a captured value is within the tolerance; NaN agrees with NaN, an infinity with
/// anything beyond float32 of that sign.
bool agrees(float captured, double expected, double tolerance);
bool all_finite(std::span<const float> values);
/// Rounded to float16 and back.
std::vector<float> as_half(std::span<const float> values);
/// Root mean square in float64.
double mean_square(std::span<const float> values);

/// Row r of a two-dimensional tensor of the file.
std::vector<float> tensor_row(const format::TensorInfo& tensor, std::size_t r);
/// A whole tensor of the file; empty when it has none of that name.
std::vector<float> tensor_values(const model::Model& model, const std::string& name);

/// Roundoff of products in the pass that evaluated a position.
double product_roundoff(const DeepInput& input, int position);

using model::layer_tensor;

/// Rows of a tensor of the file: one matrix, which may share the tensor with others.
struct TensorView {
  const format::TensorInfo* tensor = nullptr;
  std::size_t first_row = 0, rows = 0, cols = 0;

  [[nodiscard]] std::vector<float> row(std::size_t r) const {
    return tensor_row(*tensor, first_row + r);
  }
};
TensorView whole_tensor(const format::TensorInfo& tensor);

/// Where a tap stands: `layer` −1 for model-wide ones.
struct TapPlace {
  capture::Tap tap = capture::Tap::kEmbedding;
  int layer = -1;
};
/// The stream that enters a layer.
TapPlace stream_before(int layer);
/// What Q, K, V and what the feed-forward's first matrices are multiplied with.
TapPlace attention_input(const model::DecoderSpec& spec, int layer);
TapPlace ffn_input(const model::DecoderSpec& spec, int layer);

/// A finding about a tap; stage and evidence place are filled in.
Finding finding_at(const model::Model& model, const char* check, const char* cause,
                   capture::Tap tap, int layer, int position);

/// Fills the evidence with up to 17 values around `index`.
void show_values(Finding& finding, std::span<const float> captured,
                 std::span<const double> expected, std::size_t index);

/// What is done to a product before it is captured: QK-norm, or scale and soft-cap of the logits.
struct Finish {
  double scale = 1.0, cap = 0.0;
  std::size_t group = 0;    ///< values normalised together; 0: no norm
  std::vector<float> norm;  ///< [group], or one weight per value
  bool layer_norm = false;
  double eps = 0.0;
  double u = 0.0;  ///< unit roundoff

  /// Applies itself to the values and to their tolerances.
  void apply(std::vector<double>& values, std::vector<double>& tolerance) const;
};

/// One linear operation out = W · in (+ b) at several positions, recomputed from the file.
struct Linear {
  TensorView weight;        ///< tensor null: several matrices took part
  std::vector<float> bias;  ///< empty: none
  Finish finish;
  std::vector<int> positions;
  std::vector<std::span<const float>> in, out;  ///< per position; inputs are finite
  std::vector<double> bound;                    ///< per position: tolerance per unit of Σ|w·x|
  std::size_t stride = 1;                       ///< every stride-th row is recomputed
  std::vector<std::vector<double>> expected;    ///< [position][rows / stride]
  std::vector<std::vector<double>> tolerance;
  std::size_t n_bad = 0;                 ///< values
  std::size_t n_bad_rows = 0;            ///< rows with a bad value at some position
  std::size_t worst_row = 0, worst = 0;  ///< worst[in positions]: largest error over tolerance
  double worst_ratio = 0.0;              ///< error / tolerance there

  /// Compares `out` with `expected` at every position.
  void compare();
};
/// Empty when an input or output is missing or no input is finite.
std::optional<Linear> recompute(const DeepInput& input, const TensorView& weight,
                                std::vector<float> bias, TapPlace in, TapPlace out,
                                Finish finish = {});

/// What would explain a wrong linear operation.
struct Explanation {
  std::string cause;
  std::string why;  ///< half a sentence: "it is W read column by column"
  std::string advice;
  int channel = -1;  ///< the channel, where only one is wrong
};
Explanation explain(const Linear& linear);

}  // namespace layerscope::diagnose
