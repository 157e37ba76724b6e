// Speed of the decode stages on a GPU: microseconds per launch and share of what memory allows.
//
// A stage runs over the matrices of many layers, one launch after the other in a graph, as a decode
// step does: caches are cold, launches overlap. `floor` is bytes / 4.65 TB/s (an H200's read
// bandwidth) over the measured time. `layer` is all five stages. Skipped without a GPU.
#include <benchmark/benchmark.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/base/half.h"
#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr double kBandwidth = 4.65e12;
constexpr std::size_t kPattern = std::size_t{16} << 20U;

struct Shape {
  const char* name;
  int hidden, n_heads, n_kv_heads, head_dim, ffn, vocab, layers;
};
constexpr Shape kSmall{"0.5b", 896, 14, 2, 64, 4864, 151936, 24};
constexpr Shape kLarge{"8b", 4096, 32, 8, 128, 14336, 128256, 8};

bool ok(cudaError_t code) { return code == cudaSuccess; }

/// Device memory until the end of a benchmark.
class Memory {
 public:
  ~Memory() {
    for (void* p : taken_) {
      cudaFree(p);
    }
  }
  template <class T>
  T* take(std::size_t n) {
    void* p = nullptr;
    failed = failed || !ok(cudaMalloc(&p, n * sizeof(T)));
    taken_.push_back(p);
    return static_cast<T*>(p);
  }
  /// Random values of a type that repeat every kPattern bytes.
  void* random(DType dtype, std::size_t bytes) {
    const std::vector<std::uint32_t>& words = pattern(dtype);
    auto* p = take<std::byte>(bytes);
    for (std::size_t at = 0; at < bytes && !failed; at += kPattern) {
      failed = !ok(
          cudaMemcpy(p + at, words.data(), std::min(kPattern, bytes - at), cudaMemcpyHostToDevice));
    }
    return p;
  }
  float* values(std::size_t n) { return static_cast<float*>(random(DType::kF32, n * 4)); }
  DeviceMatrix matrix(DType dtype, int rows, int cols) {
    DeviceMatrix m{dtype, nullptr, nullptr, rows, cols, padded_cols(dtype, cols)};
    m.data = random(dtype, plane_bytes(dtype, rows, cols));
    if (const std::size_t n = scale_bytes(dtype, rows, cols); n > 0) {
      m.scales = random(DType::kF16, n);
    }
    return m;
  }
  bool failed = false;

 private:
  const std::vector<std::uint32_t>& pattern(DType dtype) {
    std::vector<std::uint32_t>& words = patterns_[dtype];
    if (words.empty()) {
      std::mt19937 rng(7);
      words.resize(kPattern / 4);
      for (std::uint32_t& w : words) {
        const auto bits = static_cast<std::uint32_t>(rng());
        w = dtype == DType::kF16   ? (bits & 0x83FF83FFU) | 0x24002400U  // ±0.016 … 0.031
            : dtype == DType::kF32 ? (bits & 0x807FFFFFU) | 0x3F000000U  // ±0.5 … 1
                                   : bits;
      }
    }
    return words;
  }
  std::map<DType, std::vector<std::uint32_t>> patterns_;
  std::vector<void*> taken_;
};

std::size_t bytes_of(const DeviceMatrix& m) {
  return plane_bytes(m.dtype, m.rows, m.cols) + scale_bytes(m.dtype, m.rows, m.cols);
}

/// All a step needs.
class Step {
 public:
  Step(const Shape& shape, DType dtype, int depth, bool with_head) : shape_(shape) {
    const auto n = static_cast<std::size_t>(shape.layers);
    const int q = shape.n_heads * shape.head_dim;
    const int kv = shape.n_kv_heads * shape.head_dim;
    const auto h = static_cast<std::size_t>(shape.hidden);
    heads_ = {shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.head_dim, depth + 64, false};
    cap_ = 64;
    while (cap_ < depth + 1) {
      cap_ *= 2;
    }
    StepState state;
    state.token = 1;
    state.position = depth;
    state.row_stride = heads_.context;
    state.rows = memory_.take<float>(n * static_cast<unsigned>(shape.n_heads) *
                                     static_cast<unsigned>(heads_.context));
    auto* d_state = memory_.take<StepState>(1);
    memory_.failed = memory_.failed ||
                     !ok(cudaMemcpy(d_state, &state, sizeof(StepState), cudaMemcpyHostToDevice));
    const std::size_t cache = static_cast<std::size_t>(heads_.context) * static_cast<unsigned>(kv);
    auto* parts = memory_.take<float>(attention_parts_floats(heads_, 64));
    auto* arrived = memory_.take<unsigned>(1024);
    cudaMemset(arrived, 0, 4096);
    const float* x = memory_.values(h);
    if (with_head) {
      head_ = {memory_.matrix(dtype, shape.vocab, shape.hidden),
               memory_.values(h),
               1e-5F,
               x,
               memory_.values(h),
               memory_.take<float>(static_cast<unsigned>(shape.vocab))};
      return;
    }
    for (std::size_t i = 0; i < n; ++i) {
      QkvStage a;
      const int widths[3] = {q, kv, kv};
      for (int m = 0; m < 3; ++m) {
        a.w[m] = memory_.matrix(dtype, widths[m], shape.hidden);
        a.raw[m] = memory_.values(static_cast<unsigned>(widths[m]));
        if (m < 2) {
          a.rotated[m] = memory_.values(static_cast<unsigned>(widths[m]));
        }
      }
      a.norm_weight = memory_.values(h);
      a.eps = 1e-5F;
      a.x = x;
      a.normed = memory_.values(h);
      a.cos_sin = memory_.values(static_cast<unsigned>(shape.head_dim));
      a.rope = {RopePairing::kHalf, shape.head_dim};
      a.heads = heads_;
      a.cache = {
          memory_.random(DType::kF16, cache * 2), memory_.random(DType::kF16, cache * 2),
          memory_.take<float>(static_cast<std::size_t>(heads_.context) * static_cast<unsigned>(q))};
      a.state = d_state;
      qkv_.push_back(a);
      AttentionStage b;
      b.heads = heads_;
      b.cache = a.cache;
      b.q = a.rotated[0];
      b.scale = 0.1F;
      b.first_row = static_cast<int>(i) * shape.n_heads;
      b.lse = memory_.take<float>(static_cast<unsigned>(shape.n_heads));
      b.out = memory_.values(static_cast<unsigned>(q));
      b.parts = parts;
      b.arrived = arrived;
      b.chunk = 64;
      b.n_splits = cap_ / 64;
      b.state = d_state;
      attention_.push_back(b);
      auto* mid = memory_.values(h);
      out_.push_back(
          {memory_.matrix(dtype, shape.hidden, q), nullptr, b.out, x, memory_.values(h), mid});
      const auto f = static_cast<std::size_t>(shape.ffn);
      gate_up_.push_back({memory_.matrix(dtype, shape.ffn, shape.hidden),
                          memory_.matrix(dtype, shape.ffn, shape.hidden), memory_.values(h), 1e-5F,
                          mid, memory_.values(h), memory_.values(f), memory_.values(f),
                          memory_.values(f)});
      auto* end = memory_.values(h);
      down_.push_back({memory_.matrix(dtype, shape.hidden, shape.ffn), nullptr, gate_up_.back().act,
                       mid, memory_.values(h), end});
      x = end;
    }
  }

  [[nodiscard]] bool failed() const { return memory_.failed; }
  [[nodiscard]] int layers() const { return shape_.layers; }

  /// Bytes that a launch of the stage must read.
  [[nodiscard]] double bytes(const std::string& stage) const {
    const double kv = 4.0 * heads_.n_kv_heads * heads_.head_dim * (heads_.context - 63);
    const auto qkv = [&] {
      return static_cast<double>(bytes_of(qkv_[0].w[0]) + bytes_of(qkv_[0].w[1]) +
                                 bytes_of(qkv_[0].w[2]));
    };
    const auto one = [](const DeviceMatrix& m) { return static_cast<double>(bytes_of(m)); };
    return stage == "qkv"         ? qkv()
           : stage == "attention" ? kv
           : stage == "out"       ? one(out_[0].w)
           : stage == "gate_up"   ? 2 * one(gate_up_[0].gate)
           : stage == "down"      ? one(down_[0].w)
           : stage == "head"
               ? one(head_.w)
               : qkv() + kv + one(out_[0].w) + 2 * one(gate_up_[0].gate) + one(down_[0].w);
  }

  Status enqueue(const Launch& on, const std::string& stage) const {
    if (stage == "head") {
      return launch_head(on, head_);
    }
    const bool all = stage == "layer";
    for (std::size_t i = 0; i < qkv_.size(); ++i) {
      if (all || stage == "qkv") {
        LS_CHECK(launch_qkv(on, qkv_[i]));
      }
      if (all || stage == "attention") {
        LS_CHECK(launch_attention_decode(on, attention_[i]));
      }
      if (all || stage == "out") {
        LS_CHECK(launch_project(on, out_[i]));
      }
      if (all || stage == "gate_up") {
        LS_CHECK(launch_gate_up(on, gate_up_[i]));
      }
      if (all || stage == "down") {
        LS_CHECK(launch_project(on, down_[i]));
      }
    }
    return {};
  }

 private:
  Shape shape_;
  Memory memory_;
  HeadLayout heads_;
  int cap_ = 64;
  std::vector<QkvStage> qkv_;
  std::vector<AttentionStage> attention_;
  std::vector<ProjectStage> out_, down_;
  std::vector<GateUpStage> gate_up_;
  HeadStage head_;
};

/// One launch in microseconds: the median of replays of a graph of all layers.
double replay(const Step& step, const std::string& stage, benchmark::State& state) {
  Launch on;
  cudaDeviceGetAttribute(&on.sm_count, cudaDevAttrMultiProcessorCount, 0);
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  on.overlap = major >= 9;
  cudaStreamCreateWithFlags(&on.stream, cudaStreamNonBlocking);
  const int launches = stage == "head" ? 1 : step.layers();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaStreamBeginCapture(on.stream, cudaStreamCaptureModeThreadLocal);
  const Status enqueued = step.enqueue(on, stage);
  if (!ok(cudaStreamEndCapture(on.stream, &graph)) || !enqueued.ok() ||
      !ok(cudaGraphInstantiate(&executable, graph, 0))) {
    state.SkipWithError(enqueued.ok() ? "no graph" : enqueued.error().message.c_str());
    return 0.0;
  }
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> times;
  for (auto _ : state) {
    cudaEventRecord(begin, on.stream);
    cudaGraphLaunch(executable, on.stream);
    cudaEventRecord(end, on.stream);
    if (!ok(cudaEventSynchronize(end))) {
      state.SkipWithError("a launch failed");
      break;
    }
    float ms = 0.0F;
    cudaEventElapsedTime(&ms, begin, end);
    times.push_back(ms);
    state.SetIterationTime(static_cast<double>(ms) / 1e3 / launches);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(on.stream);
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                   times.end());
  return times.empty() ? 0.0 : static_cast<double>(times[times.size() / 2]) * 1e3 / launches;
}

void bm_stages(benchmark::State& state, const Shape& shape, DType dtype, int depth,
               const std::string& stage) {
  int n = 0;
  if (!ok(cudaGetDeviceCount(&n)) || n == 0) {
    state.SkipWithError("needs a GPU");
    return;
  }
  const Step step(shape, dtype, depth, stage == "head");
  if (step.failed()) {
    state.SkipWithError("not enough memory on the GPU");
    return;
  }
  const double us = replay(step, stage, state);
  const double bytes = step.bytes(stage);
  state.counters["us"] = us;
  state.counters["MB"] = bytes / 1e6;
  state.counters["floor"] = us > 0.0 ? bytes / kBandwidth * 1e6 / us : 0.0;
}

std::string lower(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// A shape whose rows are no whole blocks of the type has no such model.
bool fits(const Shape& shape, DType dtype) {
  return static_cast<unsigned>(shape.hidden) % dtype_info(dtype).block == 0;
}

constexpr DType kTypes[] = {DType::kF16,  DType::kQ8_0, DType::kQ4_0, DType::kQ5_0,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

void register_all() {
  for (const Shape* shape : {&kSmall, &kLarge}) {
    for (const DType dtype : kTypes) {
      for (const char* stage : {"qkv", "attention", "out", "gate_up", "down", "head", "layer"}) {
        for (const int depth : {128, 4096}) {
          const std::string name = stage;
          const bool deep = name == "attention" || name == "layer";
          if (!fits(*shape, dtype)) {
            continue;
          }
          if ((depth > 128 && !deep) || (name == "attention" && dtype != DType::kF16)) {
            continue;
          }
          const std::string label = "bm_" + name + "/" + lower(dtype_info(dtype).name) + "/" +
                                    shape->name + (deep ? "/" + std::to_string(depth) : "");
          benchmark::RegisterBenchmark(
              label.c_str(),
              [=](benchmark::State& state) { bm_stages(state, *shape, dtype, depth, name); })
              ->UseManualTime()
              ->Iterations(30)
              ->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
}

[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace layerscope::kernels::cuda
