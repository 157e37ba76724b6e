// Counts of shapes, which are ints, as sizes of buffers.
#pragma once

#include <cstddef>

namespace layerscope::backend {

/// `n` must not be negative.
constexpr std::size_t size(int n) { return static_cast<std::size_t>(n); }

}  // namespace layerscope::backend
