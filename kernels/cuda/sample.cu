// Choosing the next token on the GPU, with the distribution of session::Sampler.
//
// Repeat penalty → top-k → top-p → min-p → temperature → draw, all of them cuts of one descending
// order. Nothing is sorted as a whole: logits fall into bins of 1/64 below the largest, bins carry
// counts and masses, and only the members of the few bins in which a cut or the draw falls are
// sorted. Masses are fixed-point (2⁻⁴⁰ of the largest), so that adding them in any order gives the
// same bits. Greedy choices without a penalty do not come here (launch_logit_summary has them).
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

using Mass = unsigned long long;

constexpr int kThreads = 256;
constexpr int kBlocks = 64;
constexpr int kDrawThreads = 1024;
constexpr int kMaxMembers = 2048;  ///< of one bin
constexpr float kBinsPerUnit = 64.0F;
constexpr double kOne = 1099511627776.0;  ///< 2⁴⁰

/// Unsigned integers in the order of the floats.
__device__ unsigned ordered(float v) {
  const unsigned bits = __float_as_uint(v);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ float unordered(unsigned key) {
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7FFFFFFFU : ~key);
}

__device__ int bin_of(float v, float top) {
  const float below = (top - v) * kBinsPerUnit;
  return below < static_cast<float>(kSampleBins - 1) ? static_cast<int>(below) : kSampleBins - 1;
}
__device__ Mass mass_of(float v, float top, double temperature) {
  const double shift = (static_cast<double>(v) - static_cast<double>(top)) / temperature;
  return static_cast<Mass>(exp(shift) * kOne + 0.5);
}

__global__ void __launch_bounds__(kThreads)
    adjust_kernel(const float* logits, const std::uint8_t* usable, int n,
                  const std::int32_t* history, const StepState* state, float* adjusted,
                  unsigned* top) {
  __shared__ std::int32_t recent[kThreads];
  __shared__ unsigned keys[kThreads / kWarp];
  wait_for_previous();
  let_next_start();
  const StepSampling& s = state->sampling;
  const int length = state->position + 1;
  const int n_recent = s.repeat_penalty == 1.0F ? 0 : min(length, max(s.repeat_last_n, 0));
  const int tid = static_cast<int>(threadIdx.x);
  const int step = kBlocks * kThreads;
  for (int i = static_cast<int>(blockIdx.x) * kThreads + tid; i < n; i += step) {
    adjusted[i] = usable[i] != 0 && isfinite(logits[i]) ? logits[i] : -INFINITY;
  }
  for (int base = 0; base < n_recent; base += kThreads) {
    __syncthreads();
    if (base + tid < n_recent) {
      recent[tid] = history[length - n_recent + base + tid];
    }
    __syncthreads();
    const int here = min(kThreads, n_recent - base);
    for (int i = static_cast<int>(blockIdx.x) * kThreads + tid; i < n; i += step) {
      bool seen = false;
      for (int k = 0; k < here; ++k) {
        seen = seen || recent[k] == i;
      }
      if (seen && isfinite(adjusted[i])) {
        // From the logit itself: a token that stands in the history twice is penalised once.
        const double v = logits[i];
        const double penalty = s.repeat_penalty;
        adjusted[i] = static_cast<float>(v > 0.0 ? v / penalty : v * penalty);
      }
    }
  }
  unsigned best = 0;
  for (int i = static_cast<int>(blockIdx.x) * kThreads + tid; i < n; i += step) {
    best = max(best, ordered(adjusted[i]));
  }
  for (int lane = kWarp / 2; lane > 0; lane /= 2) {
    best = max(best, __shfl_xor_sync(0xFFFFFFFFU, best, lane));
  }
  if (tid % kWarp == 0) {
    keys[tid / kWarp] = best;
  }
  __syncthreads();
  if (tid == 0) {
    for (int w = 1; w < kThreads / kWarp; ++w) {
      best = max(best, keys[w]);
    }
    atomicMax(top, best);
  }
}

__global__ void __launch_bounds__(kThreads)
    histogram_kernel(int n, const StepState* state, const __grid_constant__ SampleSpace space) {
  __shared__ unsigned counts[kSampleBins];
  __shared__ Mass mass[kSampleBins];
  __shared__ Mass heat[kSampleBins];
  const int tid = static_cast<int>(threadIdx.x);
  for (int b = tid; b < kSampleBins; b += kThreads) {
    counts[b] = 0;
    mass[b] = 0;
    heat[b] = 0;
  }
  wait_for_previous();
  let_next_start();
  __syncthreads();
  const float top = unordered(*space.top);
  const double temperature = state->sampling.temperature;
  for (int i = static_cast<int>(blockIdx.x) * kThreads + tid; i < n; i += kBlocks * kThreads) {
    const float v = space.adjusted[i];
    if (v == -INFINITY) {
      continue;
    }
    const int b = bin_of(v, top);
    atomicAdd(&counts[b], 1U);
    atomicAdd(&mass[b], mass_of(v, top, 1.0));
    if (temperature > 0.0) {
      atomicAdd(&heat[b], mass_of(v, top, temperature));
    }
  }
  __syncthreads();
  for (int b = tid; b < kSampleBins; b += kThreads) {
    if (counts[b] != 0) {
      atomicAdd(&space.counts[b], counts[b]);
      atomicAdd(&space.mass[b], mass[b]);
      atomicAdd(&space.heat[b], heat[b]);
    }
  }
}

/// Exclusive running sums over the bins; two per thread. Returns the total.
template <class T>
__device__ T scan_bins(const T* from, T* before) {
  __shared__ T warps[kWarp];
  const int tid = static_cast<int>(threadIdx.x);
  const T a = from[2 * tid];
  const T b = from[2 * tid + 1];
  T running = a + b;
  for (int step = 1; step < kWarp; step *= 2) {
    const T other = __shfl_up_sync(0xFFFFFFFFU, running, step);
    running += tid % kWarp >= step ? other : T{0};
  }
  __syncthreads();
  if (tid % kWarp == kWarp - 1) {
    warps[tid / kWarp] = running;
  }
  __syncthreads();
  T offset = 0;
  T total = 0;
  for (int w = 0; w < kDrawThreads / kWarp; ++w) {
    offset += w < tid / kWarp ? warps[w] : T{0};
    total += warps[w];
  }
  before[2 * tid] = offset + running - a - b;
  before[2 * tid + 1] = offset + running - b;
  __syncthreads();
  return total;
}

struct Member {
  float value;
  std::int32_t id;
};

/// The one block that finds the cuts and draws. Everything in it is the same for all threads unless
/// it says otherwise.
struct Drawer {
  const float* adjusted;
  int n;
  float top;
  double temperature;
  Member* found;    // [kMaxMembers], unsorted
  Member* members;  // [kMaxMembers], of `bin`, best first
  Mass* weights;    // [kMaxMembers]
  int* n_found;
  int bin;
  int n_members;
  std::int32_t rank;  // of the chosen token

  /// Sorts the members of a bin; false when there are too many.
  __device__ bool gather(int wanted) {
    if (wanted == bin) {
      return true;
    }
    const int tid = static_cast<int>(threadIdx.x);
    __syncthreads();
    if (tid == 0) {
      *n_found = 0;
    }
    __syncthreads();
    constexpr int kTogether = 8;
    for (int base = tid; base < n; base += kTogether * kDrawThreads) {
      float v[kTogether];
#pragma unroll
      for (int u = 0; u < kTogether; ++u) {
        const int i = base + u * kDrawThreads;
        v[u] = i < n ? adjusted[i] : -INFINITY;
      }
#pragma unroll
      for (int u = 0; u < kTogether; ++u) {
        if (v[u] != -INFINITY && bin_of(v[u], top) == wanted) {
          const int at = atomicAdd(n_found, 1);
          if (at < kMaxMembers) {
            found[at] = {v[u], base + u * kDrawThreads};
          }
        }
      }
    }
    __syncthreads();
    n_members = *n_found;
    bin = wanted;
    if (n_members > kMaxMembers) {
      return false;
    }
    for (int c = tid; c < n_members; c += kDrawThreads) {
      const Member mine = found[c];
      int rank = 0;
      for (int i = 0; i < n_members; ++i) {
        const Member other = found[i];
        rank += other.value > mine.value || (other.value == mine.value && other.id < mine.id);
      }
      members[rank] = mine;
    }
    __syncthreads();
    return true;
  }
  __device__ void weigh(double at_temperature) {
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < n_members; c += kDrawThreads) {
      weights[c] = mass_of(members[c].value, top, at_temperature);
    }
    __syncthreads();
  }
  __device__ Mass sum_of_first(int count) const {
    Mass sum = 0;
    for (int i = 0; i < count; ++i) {
      sum += weights[i];
    }
    return sum;
  }
};

/// First bin whose running sum including itself is at least (or above) the target; by thread 0's
/// binary search over sums that do not fall.
template <class T>
__device__ int find_bin(const T* before, T total, double target, bool above) {
  int low = 0;
  int high = kSampleBins - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    const T upto = middle + 1 < kSampleBins ? before[middle + 1] : total;
    const auto sum = static_cast<double>(upto);
    if (above ? sum > target : sum >= target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

struct Sums {
  unsigned counts[kSampleBins];
  Mass mass[kSampleBins];
  Mass heat[kSampleBins];
};

__device__ std::int32_t draw(Drawer& d, const Sums& before, unsigned total, Mass total_mass,
                             Mass total_heat, const StepSampling& s) {
  if (total == 0) {
    return -1;
  }
  if (s.temperature <= 0.0F) {
    d.rank = 0;
    return d.gather(0) ? d.members[0].id : kCannotChoose;
  }
  // How many of the best tokens every filter leaves.
  unsigned keep = s.top_k > 0 ? min(static_cast<unsigned>(s.top_k), total) : total;
  double kept_mass = static_cast<double>(total_mass);
  if (s.top_p < 1.0F) {
    if (keep < total) {
      const int b = find_bin(before.counts, total, static_cast<double>(keep), false);
      if (!d.gather(b)) {
        return kCannotChoose;
      }
      d.weigh(1.0);
      kept_mass = static_cast<double>(before.mass[b] +
                                      d.sum_of_first(static_cast<int>(keep - before.counts[b])));
    }
    const double target = static_cast<double>(s.top_p) * kept_mass;
    const int b = find_bin(before.mass, total_mass, target, false);
    if (!d.gather(b)) {
      return kCannotChoose;
    }
    d.weigh(1.0);
    Mass sum = before.mass[b];
    for (int i = 0; i < d.n_members; ++i) {
      sum += d.weights[i];
      if (static_cast<double>(sum) >= target) {
        keep = min(keep, before.counts[b] + static_cast<unsigned>(i) + 1);
        break;
      }
    }
  }
  if (s.min_p > 0.0F) {
    const auto floor = static_cast<double>(s.min_p);
    const int b = bin_of(static_cast<float>(static_cast<double>(d.top) + log(floor)), d.top);
    if (!d.gather(b)) {
      return kCannotChoose;
    }
    unsigned above = before.counts[b];
    for (int i = 0; i < d.n_members; ++i) {
      const double shift = static_cast<double>(d.members[i].value) - static_cast<double>(d.top);
      above += exp(shift) >= floor ? 1U : 0U;
    }
    keep = min(keep, max(above, 1U));
  }
  // The draw: the first token at which the running sum passes its share.
  const int last = find_bin(before.counts, total, static_cast<double>(keep), false);
  double all = static_cast<double>(total_heat);
  int in_last = -1;
  if (keep < total) {
    if (!d.gather(last)) {
      return kCannotChoose;
    }
    d.weigh(d.temperature);
    in_last = static_cast<int>(keep - before.counts[last]);
    all = static_cast<double>(before.heat[last] + d.sum_of_first(in_last));
  }
  const double target = s.uniform * all;
  const int b = min(find_bin(before.heat, total_heat, target, true), last);
  if (!d.gather(b)) {
    return kCannotChoose;
  }
  d.weigh(d.temperature);
  const int limit = b == last && in_last >= 0 ? in_last : d.n_members;
  Mass sum = before.heat[b];
  for (int i = 0; i < limit; ++i) {
    sum += d.weights[i];
    if (static_cast<double>(sum) > target || i + 1 == limit) {
      d.rank = static_cast<std::int32_t>(before.counts[b]) + i;
      return d.members[i].id;
    }
  }
  return kCannotChoose;
}

__global__ void __launch_bounds__(kDrawThreads)
    draw_kernel(const float* logits, int n, const StepState* state,
                const __grid_constant__ SampleSpace space, ChosenToken* chosen) {
  extern __shared__ Mass dynamic[];
  __shared__ int n_found;
  auto& before = *reinterpret_cast<Sums*>(dynamic);
  auto* found = reinterpret_cast<Member*>(dynamic + sizeof(Sums) / sizeof(Mass));
  wait_for_previous();
  let_next_start();
  const unsigned total = scan_bins(space.counts, before.counts);
  const Mass total_mass = scan_bins(space.mass, before.mass);
  const Mass total_heat = scan_bins(space.heat, before.heat);
  const StepSampling s = state->sampling;
  Drawer d{space.adjusted,
           n,
           unordered(*space.top),
           s.temperature,
           found,
           found + kMaxMembers,
           reinterpret_cast<Mass*>(found + 2 * kMaxMembers),
           &n_found,
           -1,
           0,
           -1};
  const std::int32_t id = draw(d, before, total, total_mass, total_heat, s);
  __syncthreads();
  const int tid = static_cast<int>(threadIdx.x);
  for (int b = tid; b < kSampleBins; b += kDrawThreads) {
    space.counts[b] = 0;
    space.mass[b] = 0;
    space.heat[b] = 0;
  }
  if (tid == 0) {
    *space.top = 0;
    const bool plain = s.repeat_penalty == 1.0F || s.repeat_last_n <= 0;
    *chosen = {id, plain ? d.rank : -1, id >= 0 ? logits[id] : 0.0F};
  }
}

}  // namespace

Status launch_sample(const Launch& on, const float* logits, const std::uint8_t* usable, int n,
                     const std::int32_t* history, const StepState* state, const SampleSpace& space,
                     ChosenToken* chosen) {
  static_assert(kSampleBins == 2 * kDrawThreads && sizeof(Sums) % sizeof(Mass) == 0);
  LS_CHECK(launch(on, adjust_kernel, dim3(kBlocks), kThreads, 0, logits, usable, n, history, state,
                  space.adjusted, space.top));
  LS_CHECK(launch(on, histogram_kernel, dim3(kBlocks), kThreads, 0, n, state, space));
  constexpr std::size_t kShared = sizeof(Sums) + kMaxMembers * (2 * sizeof(Member) + sizeof(Mass));
  return launch(on, draw_kernel, dim3(1), kDrawThreads, kShared, logits, n, state, space, chosen);
}

}  // namespace layerscope::kernels::cuda
