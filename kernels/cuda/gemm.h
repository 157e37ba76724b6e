// Gemm: products of many tokens on cuBLAS, behind row-major shapes.
//
// Owns the cuBLAS handle; used on one stream by one thread. Work space comes from the caller, so
// that all device memory is planned in one place.
#pragma once

#include <cublas_v2.h>

#include <cstddef>
#include <memory>

#include "engine/base/result.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/rows_f16.h"

namespace layerscope::kernels::cuda {

class Gemm {
 public:
  /// Work space for products of up to `tokens` rows of up to `cols` columns.
  struct Space {
    void* activations = nullptr;  ///< activation_bytes(…)
    void* matrix =
        nullptr;  ///< matrix_elements(…) of F16 (exact: F32), where weights are converted
    float* row_scale = nullptr;  ///< [tokens]
    void* cublas = nullptr;      ///< kCublasBytes
  };
  static constexpr std::size_t kCublasBytes = std::size_t{64} << 20U;
  static std::size_t activation_bytes(int tokens, int cols);
  /// Elements of such a matrix that are converted at a time: whole rows, all of them up to 2²⁶.
  static std::size_t matrix_elements(int rows, int stride);

  /// `exact`: everything in float32 (all types are exact in it). Otherwise F16 weights and those of
  /// block types, rounded to F16, are multiplied with x rounded to F16 (relative error about 2⁻¹¹
  /// per term, float32 sums), BF16 weights with x as the sum of two BF16 (2⁻¹⁶), F32 weights in
  /// float32.
  static Result<std::unique_ptr<Gemm>> create(const Launch& on, const Space& space, bool exact);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Gives x[m, k] for the products that follow; `like` tells the type of their matrices. x must
  /// stay unchanged until then.
  Status set_input(const float* x, int m, const DeviceMatrix& like);

  /// For kernels that leave x as F16 themselves: where to, then `x_is_converted` instead of
  /// set_input. Only where the matrices take F16.
  [[nodiscard]] bool takes_f16(const DeviceMatrix& like) const {
    return !exact_ && like.dtype != DType::kF32 && like.dtype != DType::kBF16;
  }
  [[nodiscard]] F16Rows f16_rows(const DeviceMatrix& like) const {
    return {space_.activations, like.stride, space_.row_scale};
  }
  void x_is_converted(const float* x, int m) {
    x_ = x;
    m_ = m;
  }

  /// out[m, n] = x[m, k] · w[n, k]ᵀ; rows of `out` are w.rows apart and still have to be multiplied
  /// with row_scale().
  Status product(const DeviceMatrix& w, float* out);
  [[nodiscard]] const float* row_scale() const { return space_.row_scale; }

  /// Float32, `batch` products: out_i[m, n] = alpha · x_i[m, k] · w_i[n, k]ᵀ, all row strides given
  /// in elements; consecutive i are `*_batch` elements apart (w_batch 0: one w for all).
  struct Batched {
    const float* x = nullptr;
    int x_stride = 0;
    std::ptrdiff_t x_batch = 0;
    const float* w = nullptr;
    int w_stride = 0;
    std::ptrdiff_t w_batch = 0;
    float* out = nullptr;
    int out_stride = 0;
    std::ptrdiff_t out_batch = 0;
    int m = 0, n = 0, k = 0, batch = 1;
    float alpha = 1.0F;
    bool w_transposed = false;  ///< w is [k, n] instead
  };
  Status batched(const Batched& b);

  /// F16 with float32 sums, `batch` products: out_i[m, n] = alpha · x_i[m, k] · w_i[n, k]ᵀ + beta ·
  /// out_i. The arrays of pointers stand in device memory; strides in elements, those of x and w
  /// multiples of 8, all pointers 16-byte aligned.
  struct Pointers {
    const void* const* x = nullptr;
    const void* const* w = nullptr;
    const void* const* out = nullptr;  ///< float32
    int x_stride = 0, w_stride = 0, out_stride = 0;
    int m = 0, n = 0, k = 0, batch = 1;
    float alpha = 1.0F, beta = 0.0F;
    bool w_transposed = false;  ///< w is [k, n] instead
  };
  Status batched(const Pointers& p);

 private:
  static constexpr std::size_t kConvertedElements = std::size_t{1} << 26U;
  Status converted_product(const DeviceMatrix& w, float* out);
  Gemm(const Launch& on, const Space& space, bool exact) : on_(on), space_(space), exact_(exact) {}

  Launch on_;
  Space space_;
  bool exact_;
  cublasHandle_t handle_ = nullptr;
  const float* x_ = nullptr;
  int m_ = 0;
};

}  // namespace layerscope::kernels::cuda
