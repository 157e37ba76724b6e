// Which types live on the GPU as they are, and how the others get there: host launcher.
//
// A block type with planes (block_planes.h) is resident in them. Every other one is decoded once,
// at upload, to float32: exact, and every model runs. Giving a type planes needs no change here.
#pragma once

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// The type in which a matrix of `dtype` is kept on the device.
DType resident_dtype(DType dtype);

/// Whether `launch_decode_blocks` takes it: the quantised types of kernels/block_formats.h.
bool can_decode_blocks(DType dtype);

/// out[row][col] = element of the file's blocks, bit for bit as kernels::dequantize_row gives it.
/// `blocks` hold rows · cols elements without gaps, at any address; rows of `out` stand `stride`
/// apart, and what is beyond `cols` becomes zero. Error (kInternal): a type that is not quantised.
Status launch_decode_blocks(const Launch& on, DType dtype, const void* blocks, std::size_t rows,
                            int cols, float* out, int stride);

}  // namespace layerscope::kernels::cuda
