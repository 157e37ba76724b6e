// Rounding: how a backend rounds, as far as checks must know to tell rounding from bugs.
#pragma once

#include <algorithm>

namespace layerscope::capture {

struct Rounding {
  /// Relative error of one operation on activations (2⁻²⁴: float32, correctly rounded).
  double operation = 0x1p-24;
  /// Relative error of one term of a product in a pass of several tokens; more than `operation`
  /// where inputs are rounded to fewer bits. Passes of one token have `operation`.
  double product = 0x1p-24;
  /// Keys and values are kept in float16, rounded to nearest.
  bool half_cache = false;

  /// Of everything that a pass gives: its results differ by as much from those of another backend.
  [[nodiscard]] double coarsest() const {
    return std::max({operation, product, half_cache ? 0x1p-11 : 0.0});
  }
};

}  // namespace layerscope::capture
