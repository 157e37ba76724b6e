// launch_decode_blocks: file blocks to float32 rows, one element per thread, at upload only.
//
// Neighbouring threads read the same block, so its bytes come from L1; the writes are whole lines.
// Upload waits for the bus (55 GB/s), not for this.
#include "kernels/cuda/block_planes.h"
#include "kernels/cuda/dequant_blocks.h"
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <DType kType>
__global__ void __launch_bounds__(kThreads)
    decode_blocks_kernel(Bytes blocks, std::size_t n, unsigned cols, unsigned stride, float* out) {
  using Format = BlockFormat<kType>;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    const std::size_t row = i / stride;
    const auto col = static_cast<unsigned>(i % stride);
    const std::size_t element = row * cols + col;
    out[i] = col < cols ? block_value<kType>(blocks + element / Format::kBlock * Format::kBytes,
                                             static_cast<int>(element % Format::kBlock))
                        : 0.0F;
  }
}

}  // namespace

bool has_planes(DType dtype) {
  bool known = false;
  for_plane_dtype(dtype, [&]<DType kType>() { known = BlockPlanes<kType>::kSides > 0; });
  return known;
}

DType resident_dtype(DType dtype) {
  const bool plain = dtype == DType::kF16 || dtype == DType::kBF16;
  return plain || has_planes(dtype) ? dtype : DType::kF32;
}

bool can_decode_blocks(DType dtype) {
  bool known = false;
  for_block_dtype(dtype, [&]<DType kType>() { known = BlockFormat<kType>::kBlock > 0; });
  return known;
}

Status launch_decode_blocks(const Launch& on, DType dtype, const void* blocks, std::size_t rows,
                            int cols, float* out, int stride) {
  void (*kernel)(Bytes, std::size_t, unsigned, unsigned, float*) = nullptr;
  for_block_dtype(dtype, [&]<DType kType>() { kernel = decode_blocks_kernel<kType>; });
  if (kernel == nullptr) {
    return internal_error("a type without blocks cannot be decoded on the GPU");
  }
  const std::size_t n = rows * static_cast<std::size_t>(stride);
  const std::size_t grid = (n + kThreads - 1) / kThreads;
  return launch(on, kernel, dim3(static_cast<unsigned>(grid < 65536 ? grid : 65536)), kThreads, 0,
                static_cast<Bytes>(blocks), n, static_cast<unsigned>(cols),
                static_cast<unsigned>(stride), out);
}

}  // namespace layerscope::kernels::cuda
