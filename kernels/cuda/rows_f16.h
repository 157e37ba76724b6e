// Row-wise operations of prefill that also give the next product its F16 input. Widths are
// multiples of 4.
#pragma once

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// F16 rows as launch_to_f16 leaves them.
struct F16Rows {
  void* values = nullptr;  ///< [n][stride], zero from the width on
  int stride = 0;
  float* row_scale = nullptr;  ///< [n]: a row is so much larger than its F16 values
};
inline bool takes_f16_rows(int width) { return width % 4 == 0; }

/// out[t] = rms_norm(x[t]), also as F16.
Status launch_rms_norm_f16(const Launch& on, const float* x, const float* weight, int n_rows,
                           int width, float eps, float* out, const F16Rows& half);
/// As launch_swiglu with half.row_scale, which is then that of `act`, and act also as F16. The F16
/// rows must not be what gate and up were multiplied from while that is still being read.
Status launch_swiglu_f16(const Launch& on, float* gate, float* up, float* act, int n, int width,
                         const F16Rows& half);

}  // namespace layerscope::kernels::cuda
