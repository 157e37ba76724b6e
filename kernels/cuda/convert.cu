// Conversions: file blocks to planes, weights to F32 or F16 for products of many tokens,
// activations to F16 or to a pair of BF16, F16 cache rows to F32. Each element once. On an H200
// (ncu): 512 × 4,096 activations to F16, 12.6 MB, 6.5 µs (42 % of 4.65 TB/s).
#include "kernels/cuda/piece.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(std::size_t n) {
  const std::size_t blocks = (n + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
}

/// Blocks of 34 bytes: a binary16 scale, then 32 int8 (GGUF block layouts). One warp per block.
/// Codes are stored + 128 (Piece<kQ8_0> says why); scales of a row fill whole 16 bytes.
__global__ void __launch_bounds__(kThreads)
    repack_q8_kernel(const unsigned char* blocks, std::size_t n, unsigned per_row,
                     std::uint8_t* codes, unsigned short* scales) {
  constexpr std::size_t kBytes = 34;
  const std::size_t warps = static_cast<std::size_t>(gridDim.x) * (kThreads / kWarp);
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned pitch = (per_row + 7) / 8 * 8;
  for (std::size_t b =
           static_cast<std::size_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
       b < n; b += warps) {
    const unsigned char* block = blocks + b * kBytes;
    codes[b * 32 + lane] = block[2 + lane] ^ 0x80U;
    if (lane == 0) {
      unsigned short* scale = scales + b / per_row * pitch + b % per_row;
      *scale = static_cast<unsigned short>(block[0] | (block[1] << 8U));
      for (unsigned i = per_row; b % per_row == per_row - 1 && i < pitch; ++i) {
        scale[i - per_row + 1] = 0;
      }
    }
  }
}

template <DType kType, class Out>
__global__ void __launch_bounds__(kThreads) dequantize_kernel(DeviceMatrix m, Out* out) {
  const std::size_t n = static_cast<std::size_t>(m.rows) * m.stride;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    const float v =
        weight_at<kType>(m, static_cast<int>(i / m.stride), static_cast<int>(i % m.stride));
    if constexpr (sizeof(Out) == 2) {
      out[i] = __float2half_rn(v);
    } else {
      out[i] = v;
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    to_f16_kernel(const float* x, int width, int stride, __half* out, float* row_scale) {
  __shared__ float scratch[kWarp];
  const float* row = x + static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(width);
  float top = 0.0F;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    top = fmaxf(top, fabsf(row[i]));
  }
  top = block_max(top, scratch);
  // 65,504 is the largest F16. A power of two changes no mantissa; Inf and NaN stay what they are.
  float scale = 1.0F;
  while (top > 32768.0F && top < INFINITY && scale < 1e30F) {
    top *= 0.5F;
    scale *= 2.0F;
  }
  const float inverse = 1.0F / scale;
  __half* target = out + static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(stride);
  for (int i = static_cast<int>(threadIdx.x); i < stride; i += kThreads) {
    target[i] = __float2half_rn(i < width ? row[i] * inverse : 0.0F);
  }
  if (threadIdx.x == 0) {
    row_scale[blockIdx.x] = scale;
  }
}

__global__ void __launch_bounds__(kThreads)
    to_bf16_pair_kernel(const float* x, int width, int stride, __nv_bfloat16* high,
                        __nv_bfloat16* low) {
  const float* row = x + static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(width);
  const std::size_t base = static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(stride);
  for (int i = static_cast<int>(threadIdx.x); i < stride; i += kThreads) {
    const float v = i < width ? row[i] : 0.0F;
    const __nv_bfloat16 h = __float2bfloat16_rn(v);
    high[base + i] = h;
    low[base + i] =
        isfinite(v) ? __float2bfloat16_rn(v - __bfloat162float(h)) : __float2bfloat16_rn(0.0F);
  }
}

__global__ void __launch_bounds__(kThreads)
    cache_to_f32_kernel(const __half* cache, HeadLayout heads, int keys, float* out) {
  const std::size_t per_head = static_cast<std::size_t>(keys) * heads.head_stride;
  const __half* from =
      cache + static_cast<std::size_t>(blockIdx.y) * heads.context * heads.head_stride;
  float* to = out + static_cast<std::size_t>(blockIdx.y) * per_head;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < per_head;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    to[i] = __half2float(from[i]);
  }
}

__global__ void __launch_bounds__(kThreads) fill_kernel(float* x, std::size_t n, float value) {
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    x[i] = value;
  }
}

template <class Out>
Status dequantize(const Launch& on, const DeviceMatrix& w, Out* out) {
  const std::size_t n = static_cast<std::size_t>(w.rows) * static_cast<std::size_t>(w.stride);
  return for_dtype(w.dtype, [&]<DType kType>() {
    return launch(on, dequantize_kernel<kType, Out>, dim3(blocks_for(n)), kThreads, 0, w, out);
  });
}

}  // namespace

int padded_cols(DType dtype, int cols) {
  const int piece = dtype == DType::kQ8_0 ? 32 : dtype == DType::kF32 ? 4 : 8;
  return (cols + piece - 1) / piece * piece;
}

std::size_t plane_bytes(DType dtype, int rows, int cols) {
  const std::size_t size = dtype == DType::kQ8_0 ? 1 : dtype == DType::kF32 ? 4 : 2;
  return size * static_cast<std::size_t>(rows) * static_cast<std::size_t>(padded_cols(dtype, cols));
}

// Rows of whole 16 bytes.
std::size_t scale_bytes(DType dtype, int rows, int cols) {
  const int blocks = padded_cols(dtype, cols) / 32;
  return dtype == DType::kQ8_0
             ? static_cast<std::size_t>(rows) * static_cast<std::size_t>((blocks + 7) / 8 * 16)
             : 0;
}

Status launch_repack_q8(const Launch& on, const void* blocks, std::size_t n_blocks, int cols,
                        void* codes, void* scales) {
  return launch(on, repack_q8_kernel, dim3(blocks_for(n_blocks * kWarp)), kThreads, 0,
                static_cast<const unsigned char*>(blocks), n_blocks,
                static_cast<unsigned>(padded_cols(DType::kQ8_0, cols) / 32),
                static_cast<std::uint8_t*>(codes), static_cast<unsigned short*>(scales));
}

Status launch_dequantize(const Launch& on, const DeviceMatrix& w, float* out) {
  return dequantize(on, w, out);
}

Status launch_dequantize_f16(const Launch& on, const DeviceMatrix& w, void* out) {
  return dequantize(on, w, static_cast<__half*>(out));
}

Status launch_to_f16(const Launch& on, const float* x, int n, int width, int stride, void* out,
                     float* row_scale) {
  return launch(on, to_f16_kernel, dim3(static_cast<unsigned>(n)), kThreads, 0, x, width, stride,
                static_cast<__half*>(out), row_scale);
}

Status launch_to_bf16_pair(const Launch& on, const float* x, int n, int width, int stride,
                           void* high, void* low) {
  return launch(on, to_bf16_pair_kernel, dim3(static_cast<unsigned>(n)), kThreads, 0, x, width,
                stride, static_cast<__nv_bfloat16*>(high), static_cast<__nv_bfloat16*>(low));
}

Status launch_cache_to_f32(const Launch& on, const void* cache, const HeadLayout& heads, int keys,
                           float* out) {
  const std::size_t per_head =
      static_cast<std::size_t>(keys) * static_cast<std::size_t>(heads.head_stride);
  const dim3 grid(blocks_for(per_head), static_cast<unsigned>(heads.n_kv_heads));
  return launch(on, cache_to_f32_kernel, grid, kThreads, 0, static_cast<const __half*>(cache),
                heads, keys, out);
}

Status check_device_code() {
  cudaFuncAttributes attributes{};
  LS_CUDA(cudaFuncGetAttributes(&attributes, fill_kernel));
  return {};
}

Status launch_fill(const Launch& on, float* x, std::size_t n, float value) {
  return launch(on, fill_kernel, dim3(blocks_for(n)), kThreads, 0, x, n, value);
}

}  // namespace layerscope::kernels::cuda
