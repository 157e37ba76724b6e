// The first and the last node of a decode step. The host writes inputs into, and reads results
// from, rings in page-locked memory: it enqueues steps ahead and never has to be waited for.
//
// Bytes: the inputs (80) over the bus; the results once from L2 and once over the bus (47 KB a
// token for Qwen2.5-0.5B, 100 KB for Llama-3-8B). On an H200 (ncu): 15 µs and 4.8 µs, the way over
// the bus.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/stats_cells.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 32;

__global__ void begin_step_kernel(const volatile StepState* inputs, StepState* state,
                                  std::int32_t* history) {
  if (threadIdx.x != 0) {
    return;
  }
  const std::uint32_t step = state->step;
  const volatile StepState& in = inputs[step % kStepSlots];
  const std::int32_t wanted = in.token;
  const std::int32_t token = wanted >= 0 ? wanted : max(state->next, 0);
  const std::int32_t position = in.position;
  state->token = token;
  state->position = position;
  state->rows = in.rows;
  state->row_stride = in.row_stride;
  state->follow_row = in.follow_row;
  state->sampling.uniform = in.sampling.uniform;
  state->sampling.temperature = in.sampling.temperature;
  state->sampling.top_p = in.sampling.top_p;
  state->sampling.min_p = in.sampling.min_p;
  state->sampling.repeat_penalty = in.sampling.repeat_penalty;
  state->sampling.top_k = in.sampling.top_k;
  state->sampling.repeat_last_n = in.sampling.repeat_last_n;
  state->keep = in.keep;
  state->step = step + 1;
  history[position] = token;
}

/// A column's statistics from the moments; the logits' are added up from pieces, in order, as the
/// host does (CudaBackend::finish_stats).
__device__ FinishedStats column_stats(const PublishStage& s, int slot) {
  RawStats all = s.stats[slot];
  if (slot == s.logits_slot) {
    all = RawStats{};
    for (int i = s.first_piece; i < s.first_piece + s.n_pieces; ++i) {
      const RawStats piece = s.stats[i];
      all.sum_squares += piece.sum_squares;
      all.absmax = fmaxf(all.absmax, piece.absmax);
      all.non_finite += piece.non_finite;
      all.count += piece.count;
    }
  }
  FinishedStats stats;
  stats.l2 = static_cast<float>(sqrt(all.sum_squares));
  stats.absmax = all.absmax;
  stats.non_finite = all.non_finite;
  stats.count = all.count;
  return stats;
}

__global__ void __launch_bounds__(kThreads)
    publish_kernel(const __grid_constant__ PublishStage s, const __grid_constant__ StatsHistory h) {
  wait_for_previous();
  const unsigned slot = (s.state->step - 1) % kStepSlots;
  std::byte* out = s.ring + slot * s.slot_bytes;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (std::size_t i = first; i < s.bytes / sizeof(uint4); i += kBlocks * kThreads) {
    reinterpret_cast<uint4*>(out)[i] = reinterpret_cast<const uint4*>(s.results)[i];
  }
  const int row = s.state->follow_row;
  const float* rows = s.state->rows;
  if (row >= 0 && rows != nullptr) {
    const std::size_t stride = static_cast<std::size_t>(s.state->row_stride);
    const float shift = rows[static_cast<std::size_t>(s.n_rows) * stride + row];
    auto* to = reinterpret_cast<float*>(out + s.bytes);
    const std::size_t kv_len = static_cast<std::size_t>(s.state->position) + 1;
    for (std::size_t j = first; j < kv_len; j += kBlocks * kThreads) {
      to[j] = expf(rows[static_cast<std::size_t>(row) * stride + j] - shift);
    }
  }
  if (h.planes != nullptr && s.state->keep != 0) {
    const int position = s.state->position;
    if (s.stats != nullptr) {
      for (std::size_t c = first; c < static_cast<std::size_t>(h.columns);
           c += kBlocks * kThreads) {
        keep_column(h, static_cast<int>(c), position, column_stats(s, h.slots[c]));
      }
    }
    // Another block than that of the first columns.
    const int rank = blockIdx.x == kBlocks - 1 ? static_cast<int>(threadIdx.x) : kTopLogits;
    if (s.summary != nullptr && rank < kTopLogits) {
      keep_rank(h, *s.summary, position, rank);
    }
  }
  if (first == 0 && s.chosen != nullptr) {
    s.state->next = *s.chosen;
  }
}

}  // namespace

Status launch_begin_step(const Launch& on, const StepState* inputs, StepState* state,
                         std::int32_t* history) {
  Launch alone = on;
  alone.overlap = false;
  return launch(alone, begin_step_kernel, dim3(1), kWarp, 0, inputs, state, history);
}

Status launch_publish(const Launch& on, const PublishStage& stage, const StatsHistory& history) {
  return launch(on, publish_kernel, dim3(kBlocks), kThreads, 0, stage, history);
}

}  // namespace layerscope::kernels::cuda
