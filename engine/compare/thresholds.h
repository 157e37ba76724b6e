// Every threshold of comparisons, with where it comes from.
#pragma once

namespace layerscope::compare::thresholds {

/// Largest error of a value per |value| + root mean square of its row that still is rounding, by
/// the coarser of the two runs' activations. Errors grow with depth.
///
/// float32: two right engines differ by up to 9e-6 over the goldens' taps and logits (three
/// layers; a third implementation in float64 differs as much); ten times that leaves room for
/// depth.
inline constexpr double kFloat32 = 1e-4;
/// float16 rounds each stored activation by 2⁻¹¹ = 4.9e-4; 40 of them in a row at random add √40,
/// and the largest of thousands of values is four standard deviations out.
inline constexpr double kFloat16 = 2e-2;
/// bfloat16: 2⁻⁸, eight times float16's.
inline constexpr double kBfloat16 = 1.6e-1;
/// llama.cpp rounds activations to 8 bits per block of 32 before multiplying with quantised
/// weights: half a step is 1/254 of a block's largest value. The goldens' logits then differ by up
/// to 0.21 of a standard deviation of 2.5 after two layers (their README).
inline constexpr double kQuantised = 2e-1;

/// GELU through a table of float16, as llama.cpp's CPU backend has it: 4.2e-3 of a logit of
/// standard deviation 2.5 measured over the goldens (their README); five times that.
inline constexpr double kGeluTable = 1e-2;

/// Sums cover values that are not printed; they are accumulated in float32 one after another and
/// printed with six decimals. Per Σ|value|: 1e-5 measured over the goldens; absolute: 1e-4.
inline constexpr double kSumRelative = 2e-5;
inline constexpr double kSumAbsolute = 1e-4;

/// A block whose own error stands out from the median of the others so many times is a suspect even
/// below the tolerance: rounding is spread evenly, a bug is not.
inline constexpr double kStandsOut = 20.0;

/// Part of the difference that a fault must explain to be named, and by how much the best must beat
/// running without a fault.
inline constexpr double kExplains = 0.5;

}  // namespace layerscope::compare::thresholds
