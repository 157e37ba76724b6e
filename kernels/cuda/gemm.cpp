#include "kernels/cuda/gemm.h"

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/check.h"

namespace layerscope::kernels::cuda {

std::size_t Gemm::activation_bytes(int tokens, int cols) {
  // Two BF16 matrices, or one F32 one with padded columns.
  return static_cast<std::size_t>(tokens) * static_cast<std::size_t>((cols + 31) / 32 * 32) * 4;
}

Result<std::unique_ptr<Gemm>> Gemm::create(const Launch& on, const Space& space, bool exact) {
  std::unique_ptr<Gemm> gemm(new Gemm(on, space, exact));  // NOLINT: private constructor
  gemm->on_.overlap = false;
  LS_CUBLAS(cublasCreate(&gemm->handle_));
  LS_CUBLAS(cublasSetStream(gemm->handle_, on.stream));
  LS_CUBLAS(cublasSetWorkspace(gemm->handle_, space.cublas, kCublasBytes));
  // Float32 stays float32 (no TF32), and partial sums of F16 products are not rounded to F16.
  LS_CUBLAS(cublasSetMathMode(
      gemm->handle_, static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                               CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)));
  return gemm;
}

Gemm::~Gemm() {
  if (handle_ != nullptr) {
    cublasDestroy(handle_);
  }
}

Status Gemm::set_input(const float* x, int m, const DeviceMatrix& like) {
  x_ = x;
  m_ = m;
  if (!exact_ && like.dtype == DType::kBF16) {
    auto* high = static_cast<std::uint16_t*>(space_.activations);
    auto* low = high + static_cast<std::size_t>(m) * static_cast<std::size_t>(like.stride);
    LS_CHECK(launch_to_bf16_pair(on_, x, m, like.cols, like.stride, high, low));
  } else if (!exact_ && like.dtype != DType::kF32) {
    return launch_to_f16(on_, x, m, like.cols, like.stride, space_.activations, space_.row_scale);
  }
  return launch_fill(on_, space_.row_scale, static_cast<std::size_t>(m), 1.0F);
}

// cuBLAS is column-major: a row-major [r, c] matrix is its [c, r]. out[m, n] = x · wᵀ is therefore
// asked for as outᵀ[n, m] = op_T(w as [k, n]) · (x as [k, m]).
Status Gemm::product(const DeviceMatrix& w, float* out) {
  const float one = 1.0F;
  const float zero = 0.0F;
  const auto multiply = [&](const void* weights, cudaDataType_t w_type, int w_stride, const void* x,
                            cudaDataType_t x_type, int x_stride, const float* beta) -> Status {
    LS_CUBLAS(cublasGemmEx(handle_, CUBLAS_OP_T, CUBLAS_OP_N, w.rows, m_, w.cols, &one, weights,
                           w_type, w_stride, x, x_type, x_stride, beta, out, CUDA_R_32F, w.rows,
                           CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    return {};
  };
  if (w.dtype == DType::kF32) {
    return multiply(w.data, CUDA_R_32F, w.stride, x_, CUDA_R_32F, w.cols, &zero);
  }
  if (exact_ || has_planes(w.dtype)) {
    return converted_product(w, out);
  }
  if (w.dtype == DType::kBF16) {
    const auto* high = static_cast<const std::uint16_t*>(space_.activations);
    const auto* low = high + static_cast<std::size_t>(m_) * static_cast<std::size_t>(w.stride);
    LS_CHECK(multiply(w.data, CUDA_R_16BF, w.stride, low, CUDA_R_16BF, w.stride, &zero));
    return multiply(w.data, CUDA_R_16BF, w.stride, high, CUDA_R_16BF, w.stride, &one);
  }
  return multiply(w.data, CUDA_R_16F, w.stride, space_.activations, CUDA_R_16F, w.stride, &zero);
}

std::size_t Gemm::matrix_elements(int rows, int stride) {
  const std::size_t all = static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride);
  return std::min(all, std::max(kConvertedElements, static_cast<std::size_t>(stride)));
}

/// As many rows at a time as the work space holds.
Status Gemm::converted_product(const DeviceMatrix& w, float* out) {
  const float one = 1.0F;
  const float zero = 0.0F;
  const int at_once =
      static_cast<int>(matrix_elements(w.rows, w.stride) / static_cast<std::size_t>(w.stride));
  const cudaDataType_t type = exact_ ? CUDA_R_32F : CUDA_R_16F;
  const void* x = exact_ ? static_cast<const void*>(x_) : space_.activations;
  for (int first = 0; first < w.rows; first += at_once) {
    const int rows = std::min(at_once, w.rows - first);
    const DeviceMatrix part = matrix_rows(w, first, rows);
    LS_CHECK(exact_ ? launch_dequantize(on_, part, static_cast<float*>(space_.matrix))
                    : launch_dequantize_f16(on_, part, space_.matrix));
    LS_CUBLAS(cublasGemmEx(handle_, CUBLAS_OP_T, CUBLAS_OP_N, rows, m_, w.cols, &one, space_.matrix,
                           type, w.stride, x, type, exact_ ? w.cols : w.stride, &zero, out + first,
                           CUDA_R_32F, w.rows, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  }
  return {};
}

Status Gemm::batched(const Batched& b) {
  const float zero = 0.0F;
  LS_CUBLAS(cublasSgemmStridedBatched(handle_, b.w_transposed ? CUBLAS_OP_N : CUBLAS_OP_T,
                                      CUBLAS_OP_N, b.n, b.m, b.k, &b.alpha, b.w, b.w_stride,
                                      b.w_batch, b.x, b.x_stride, b.x_batch, &zero, b.out,
                                      b.out_stride, b.out_batch, b.batch));
  return {};
}

Status Gemm::batched(const Pointers& p) {
  LS_CUBLAS(cublasGemmBatchedEx(
      handle_, p.w_transposed ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N, p.n, p.m, p.k, &p.alpha,
      p.w, CUDA_R_16F, p.w_stride, p.x, CUDA_R_16F, p.x_stride, &p.beta,
      const_cast<void* const*>(p.out),  // NOLINT: cuBLAS writes where they point, not to them
      CUDA_R_32F, p.out_stride, p.batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  return {};
}

}  // namespace layerscope::kernels::cuda
