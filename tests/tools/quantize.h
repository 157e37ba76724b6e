// Simple quantisers, for models and tests made here: nearest codes, scales from each group's range.
// They are written from the block layouts and share no code with the decoders under test.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/dtype.h"

namespace layerscope::testing {

/// True for the types that `quantize` writes: plain floats and every decodable block type.
bool can_quantize(DType dtype);

/// Encodes n values (whole blocks).
std::vector<std::byte> quantize(DType dtype, const float* values, std::size_t n);

}  // namespace layerscope::testing
