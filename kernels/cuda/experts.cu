// Mixture of experts: routing, products with the chosen experts, and their weighed sum. Routing
// stays on the GPU: which rows a product reads is looked up where it runs, so the launches of a
// decode step are the same for every token.
//
// Bytes of a decode step: the chosen experts' matrices once. Many tokens read the matrices once per
// token, mostly from L2; beyond a few per expert, rows are grouped by expert for cuBLAS instead.
#include "kernels/cuda/matvec.cuh"
#include "kernels/cuda/plain_ops.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// The next expert as the CPU picks it; only where a logit is NaN, whose order is that of the scan.
__device__ int pick_in_order(const float* logits, const unsigned char* taken, int n) {
  int best = -1;
  for (int e = 0; e < n; ++e) {
    if (taken[e] == 0 && (best < 0 || !(logits[e] <= logits[best]))) {
      best = e;
    }
  }
  return best;
}

/// The next expert, largest logit first, of equal ones the first. All lanes return it.
__device__ int pick_largest(const float* logits, const unsigned char* taken, int n) {
  const int lane = static_cast<int>(threadIdx.x);
  float value = -INFINITY;
  int best = n;
  for (int e = lane; e < n; e += kWarp) {
    if (taken[e] == 0 && (best == n || logits[e] > value)) {
      value = logits[e];
      best = e;
    }
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFU, value, step);
    const int other_at = __shfl_xor_sync(0xFFFFFFFFU, best, step);
    if (other_at < n && (best == n || other > value || (other == value && other_at < best))) {
      value = other;
      best = other_at;
    }
  }
  return best;
}

/// One warp per token. Shared memory: logits [n_experts], then a byte per expert.
__global__ void __launch_bounds__(kWarp) route_kernel(const __grid_constant__ RouteStage s) {
  extern __shared__ float logits[];
  auto* taken = reinterpret_cast<unsigned char*>(logits + s.n_experts);
  wait_for_previous();
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x);
  const auto t = static_cast<std::size_t>(blockIdx.x);
  float top = -INFINITY;
  bool nan = false;
  for (int e = lane; e < s.n_experts; e += kWarp) {
    const float v = s.logits[t * s.n_experts + e];
    logits[e] = v;
    taken[e] = 0;
    top = fmaxf(top, v);
    nan = nan || isnan(v);
  }
  top = warp_max(top);
  nan = __any_sync(0xFFFFFFFFU, nan) != 0;
  __syncwarp();
  double total = 0.0;
  for (int e = lane; e < s.n_experts; e += kWarp) {
    total += exp(static_cast<double>(logits[e]) - static_cast<double>(top));
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    total += __shfl_xor_sync(0xFFFFFFFFU, total, step);
  }
  std::int32_t* chosen = s.chosen + t * s.used;
  float* numbers = s.numbers + t * s.used;
  float* shares = s.shares + t * s.used;
  double sum = 0.0;
  for (int slot = -s.skip; slot < s.used; ++slot) {
    const int best =
        nan ? pick_in_order(logits, taken, s.n_experts) : pick_largest(logits, taken, s.n_experts);
    __syncwarp();
    if (lane == 0) {
      taken[best] = 1;
    }
    __syncwarp();
    const double p = exp(static_cast<double>(logits[best]) - static_cast<double>(top)) / total;
    if (slot >= 0) {
      sum += p;
      if (lane == 0) {
        chosen[slot] = best;
        numbers[slot] = static_cast<float>(best);
        shares[slot] = static_cast<float>(p);
      }
    }
  }
  if (lane == 0 && s.normalise) {
    for (int slot = 0; slot < s.used; ++slot) {
      shares[slot] = static_cast<float>(static_cast<double>(shares[slot]) / sum);
    }
  }
}

template <DType kType>
using Stream = RowStream<kType, 2, Piece<kType>::kDepth, 1>;

/// A block per piece of the rows, slot and token; a warp takes two rows at a time.
template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    expert_product_kernel(const __grid_constant__ ExpertStage s, int n_groups, int padded) {
  extern __shared__ float4 shared[];
  constexpr int kElements = Piece<kType>::kElements;
  let_next_start();
  wait_for_previous();
  const std::size_t place = static_cast<std::size_t>(blockIdx.z) * s.used + blockIdx.y;
  const int first = s.chosen != nullptr ? __ldcg(s.chosen + place) * s.rows : 0;
  const int turn = static_cast<int>(gridDim.x) * kMatvecWarps;
  int group = static_cast<int>(blockIdx.x) * kMatvecWarps + static_cast<int>(threadIdx.x) / kWarp;
  const auto source = [&](int which, int r) {
    return RowOf{&s.w, first + min(which * 2 + r, s.rows - 1)};
  };
  Stream<kType> stream(shared + padded / 4, s.w.stride, group, turn, n_groups, 0, source);
  const std::size_t x_row = s.x_per_slot ? place : blockIdx.z;
  stage_plain<kType>(shared, s.x + x_row * s.w.cols, s.w.cols, padded);
  float* out = s.out + place * s.rows;
  for (; group < n_groups; group += turn) {
    float sum[2] = {0.0F, 0.0F};
    stream.multiply(source, shared, padded / kElements, sum);
    if (threadIdx.x % kWarp == 0) {
      out[2 * group] = sum[0];
      if (2 * group + 1 < s.rows) {
        out[2 * group + 1] = sum[1];
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    weigh_experts_kernel(const float* parts, const float* shares, int used, int width, float* out) {
  wait_for_previous();
  let_next_start();
  const auto t = static_cast<std::size_t>(blockIdx.y);
  for (int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x); i < width;
       i += static_cast<int>(gridDim.x) * kThreads) {
    float sum = 0.0F;
    for (int slot = 0; slot < used; ++slot) {
      const std::size_t place = t * used + slot;
      sum = fmaf(shares[place], parts[place * width + i], sum);
    }
    out[t * width + i] = sum;
  }
}

__global__ void __launch_bounds__(kThreads) move_rows_kernel(const __grid_constant__ MoveRows s) {
  wait_for_previous();
  let_next_start();
  const std::size_t place = blockIdx.x;
  const auto other = static_cast<std::size_t>(s.index[place]);
  const std::size_t from = s.scatter ? place : other / static_cast<unsigned>(s.share);
  const std::size_t to = s.scatter ? other : place;
  for (int i = static_cast<int>(threadIdx.x); i < s.width; i += kThreads) {
    s.out[to * s.width + i] = s.in[from * s.width + i];
  }
}

}  // namespace

Status launch_route(const Launch& on, const RouteStage& stage) {
  if (stage.used + stage.skip > stage.n_experts) {
    return internal_error("more experts are asked for than there are");
  }
  const std::size_t shared = static_cast<std::size_t>(stage.n_experts) * (sizeof(float) + 1);
  return launch(on, route_kernel, dim3(static_cast<unsigned>(stage.n)), kWarp, shared, stage);
}

Status launch_expert_product(const Launch& on, const ExpertStage& stage) {
  const int padded = shared_floats(stage.w.cols);
  const int groups = (stage.rows + 1) / 2;
  const int side_by_side = stage.used * stage.n;
  const int resident = on.sm_count * 3 / side_by_side;
  const int blocks = even_blocks(groups, kMatvecWarps, resident < 1 ? 1 : resident);
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(stage.used),
                  static_cast<unsigned>(stage.n));
  return for_dtype(stage.w.dtype, [&]<DType kType>() {
    return launch(on, expert_product_kernel<kType>, grid, kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType>::kBytes, stage,
                  groups, padded);
  });
}

Status launch_move_rows(const Launch& on, const MoveRows& stage) {
  return launch(on, move_rows_kernel, dim3(static_cast<unsigned>(stage.n)), kThreads, 0, stage);
}

Status launch_weigh_experts(const Launch& on, const float* parts, const float* shares, int n,
                            int used, int width, float* out) {
  const dim3 grid(static_cast<unsigned>((width + kThreads - 1) / kThreads),
                  static_cast<unsigned>(n));
  return launch(on, weigh_experts_kernel, grid, kThreads, 0, parts, shares, used, width, out);
}

}  // namespace layerscope::kernels::cuda
