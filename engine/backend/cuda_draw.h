// Pictures for the window, made on the GPU beside the decoding. Private to the CUDA backend.
//
// A stream of its own, of the lowest priority: the steps are bound by memory and leave arithmetic
// free. It reads positions that are finished; a truncation makes the main stream wait for the
// picture in hand, nothing else ever waits.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/backend/cuda_backend.h"
#include "kernels/cuda/stats_picture.h"

namespace layerscope::backend::cuda {

struct CudaBackend::Drawing {
  Stream stream;
  Event before;  ///< what the main stream had done when the picture was begun
  Event done;    ///< the picture
  DeviceBuffer memory;
  kernels::cuda::DrawHistory history;  ///< of [context] positions
  std::uint16_t* atlas = nullptr;      ///< [layers · bins][heads · bins]
  float* map = nullptr;                ///< codes [kMostMapSide²]
  float* row = nullptr;                ///< codes [context, rounded up to whole lines]
  float* lse = nullptr;                ///< [context], where the history has none
  float* cells = nullptr;              ///< [kDrawFloats], of a picture on its way to the host
  /// Host's copy of history.kept.
  std::vector<std::uint8_t> kept;
  kernels::cuda::StatsHistory stats;
  std::vector<capture::Tap> stat_taps;    ///< of a layer, in the order of its columns
  std::vector<std::uint8_t> stats_known;  ///< 1: `stats` has what the position's frame holds
  std::vector<std::byte> staged;          ///< of positions whose frames are only on the host
  int atlas_tokens = 0;                   ///< taken in
  int atlas_bin = 1;
  MapRect rect;  ///< what `map` holds
  std::uint64_t bytes_to_host = 0;

  /// Positions ≥ length change.
  void cut(int length);
  /// Whether the log-sum-exps of positions [first, end) are in the history.
  [[nodiscard]] bool knows(int first, int end) const;
};

}  // namespace layerscope::backend::cuda
