// Captured attention rows in GPU memory: where they are kept, and how the host gets one.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/backend/cuda_draw.h"
#include "engine/backend/size.h"
#include "engine/base/log.h"
#include "kernels/cuda/draw.h"

namespace layerscope::backend::cuda {

using capture::PassCapture;
using capture::Tier;

// Scores of every head of every layer, and their log-sum-exps.
std::uint64_t CudaBackend::row_bytes(int position) const {
  return size(n_rows()) * (size(row_stride(position)) + 1) * sizeof(float);
}

/// Memory for the rows: what was asked for, else what the whole context needs; at most half of what
/// is free, since a diagnosis puts a second copy of the model beside this one.
Status CudaBackend::place_rows(const BackendOptions& options, std::size_t free) {
  std::uint64_t all = 0;
  for (int position = 0; position < context_; ++position) {
    all +=
        (row_bytes(position) + RowArena::kAlignment) / RowArena::kAlignment * RowArena::kAlignment;
  }
  std::uint64_t bytes = std::min<std::uint64_t>(all, free / 2);
  if (options.row_memory > 0) {
    // The newest token's, and those of the steps ahead.
    const std::uint64_t least = (kernels::cuda::kStepSlots + 1) * row_bytes(context_ - 1);
    bytes = std::min(bytes, std::max(options.row_memory, least));
  }
  LS_TRY(row_memory_, DeviceBuffer::create(bytes));
  arena_ = RowArena::create(bytes);
  return {};
}

float* CudaBackend::rows_of(const RowArena::Block* block) const {
  return reinterpret_cast<float*>(static_cast<std::byte*>(row_memory_.data()) + block->offset());
}

void CudaBackend::attention_row(int layer, int head, int position, std::span<float> out) const {
  attention_rows(layer, head, position, 1, out, out.size(), {});
}

bool CudaBackend::attention_rows(int layer, int head, int first, int n, std::span<float> out,
                                 std::size_t stride, const std::stop_token& stop) const {
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  const int keys = first + n;
  const std::size_t room =
      std::min(kScoreFloats, size(model_->spec.n_heads) * size(context_)) / size(keys);
  const int at_once = static_cast<int>(std::clamp<std::size_t>(room, 1, 256));
  for (int begin = 0; begin < n; begin += at_once) {
    if (stop.stop_requested()) {
      return false;
    }
    const int count = std::min(at_once, n - begin);
    const float scale = model_->spec.attention_scale;
    Status status =
        attends_plainly(layer)
            ? launch_attention_recompute_ruled(on, heads_, layer_cache(layer), scale,
                                               rules_of(layer), head, first + begin, count,
                                               work_.prefill_scores, keys)
            : launch_attention_recompute(on, heads_, layer_cache(layer), scale, head, first + begin,
                                         count, work_.prefill_scores, keys);
    host_rows_.resize(size(count) * size(keys));
    if (status.ok()) {
      status = download(host_rows_.data(), work_.prefill_scores, host_rows_.size() * sizeof(float));
    }
    if (!status.ok()) {
      spdlog::error("{}", status.error().message);
    }
    for (int i = 0; i < count; ++i) {
      const std::size_t seen = size(first + begin + i) + 1;
      float* to = out.data() + size(begin + i) * stride;
      if (status.ok()) {
        std::memcpy(to, host_rows_.data() + size(i) * size(keys), seen * sizeof(float));
      } else {
        std::fill_n(to, seen, std::numeric_limits<float>::quiet_NaN());
      }
    }
  }
  return true;
}

Status CudaBackend::captured_row(const capture::TokenFrame& frame, int layer, int head,
                                 std::span<float> out) const {
  const auto* block = frame.attention == nullptr
                          ? nullptr
                          : dynamic_cast<const RowArena::Block*>(frame.attention->remote());
  if (block == nullptr || block->arena() != arena_.get() ||
      out.size() != size(frame.position) + 1) {
    return Backend::captured_row(frame, layer, head, out);
  }
  const int row = layer * model_->spec.n_heads + head;
  LS_CHECK(kernels::cuda::launch_row_probabilities(
      {on_.stream, on_.sm_count, false}, rows_of(block), n_rows(), row_stride(frame.position), row,
      1, frame.position + 1, work_.prefill_scores));
  return download(out.data(), work_.prefill_scores, out.size_bytes());
}

/// Full tier: the rows of a step as probabilities, to the host.
Status CudaBackend::keep_decode_rows(PassCapture& captured) const {
  const model::DecoderSpec& spec = model_->spec;
  const int kv_len = captured.first_position + 1;
  const std::size_t layer_floats = size(spec.n_heads) * size(kv_len);
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_CHECK(kernels::cuda::launch_row_probabilities(
        {on_.stream, on_.sm_count, false}, work_.scores, n_rows(), row_stride(context_ - 1),
        layer * spec.n_heads, spec.n_heads, kv_len, work_.prefill_scores));
    LS_CHECK(download(captured.attention[0].data() + size(layer) * layer_floats,
                      work_.prefill_scores, layer_floats * sizeof(float)));
  }
  return {};
}

/// Takes room for the rows of a pass of several tokens: of the newest ones, where not all fit.
Status CudaBackend::place_pass_rows(PassCapture& captured) {
  pass_rows_.assign(size(captured.n_tokens), nullptr);
  if (captured.request.tier != Tier::kAttention) {
    return {};
  }
  std::vector<kernels::cuda::RowPlace> places(size(captured.n_tokens));
  for (int t = captured.n_tokens - 1; t >= 0; --t) {
    const int position = captured.first_position + t;
    pass_rows_[size(t)] = arena_->take(row_bytes(position));
    if (pass_rows_[size(t)] == nullptr) {
      break;
    }
    places[size(t)] = {rows_of(pass_rows_[size(t)].get()), row_stride(position)};
  }
  LS_CUDA(cudaMemcpyAsync(work_.places, places.data(),
                          places.size() * sizeof(kernels::cuda::RowPlace), cudaMemcpyHostToDevice,
                          on_.stream));
  return {};
}

kernels::cuda::SoftmaxCapture CudaBackend::softmax_capture(int layer, int begin, Tier tier) const {
  kernels::cuda::SoftmaxCapture c;
  if (tier == Tier::kOff) {
    return c;
  }
  const std::size_t first = size(begin) * size(n_rows());
  c.stats = work_.heads + first;
  c.n_rows = n_rows();
  c.first_row = layer * model_->spec.n_heads;
  if (tier == Tier::kAttention) {
    c.places = work_.places + begin;
    c.pooled = work_.pooled + first * size(bins_);
    c.bins = bins_;
  }
  return c;
}

/// What one layer of a pass sends to the host, per token.
std::size_t CudaBackend::layer_bytes() const {
  return size(model_->spec.n_heads) * (sizeof(kernels::cuda::RawHeadStats) + size(bins_)) +
         capture::kNumTaps * sizeof(capture::TapStats);
}

int CudaBackend::group_layers(int n_tokens) const {
  const std::size_t fit = groups_.bytes() / 2 / (size(n_tokens) * layer_bytes());
  return static_cast<int>(std::clamp<std::size_t>(fit, 1, size((model_->spec.n_layers + 3) / 4)));
}

/// Enqueues the copy of a group's results, beside the computation of the layers after it: head
/// statistics, pooled rows, tap statistics.
Status CudaBackend::send_group(const Group& group, const PassCapture& captured) {
  CUstream_st* const copies = copy_stream_.get();
  const std::size_t heads = size(model_->spec.n_heads);
  const std::size_t rows = size(group.n) * heads;
  const std::size_t first = size(group.first) * heads;
  const std::size_t n = size(captured.n_tokens);
  const std::size_t slots = stats_slots();
  const std::size_t taps = size(group.n) * capture::kNumTaps;
  const std::size_t first_tap = size(group.first) * capture::kNumTaps;
  LS_CHECK(launch_finish_stats({on_.stream, on_.sm_count, false}, work_.stats + first_tap,
                               captured.n_tokens, static_cast<int>(taps), static_cast<int>(slots),
                               work_.finished + first_tap));
  LS_CUDA(cudaEventRecord(group_ready_[group.turn].get(), on_.stream));
  LS_CUDA(cudaStreamWaitEvent(copies, group_ready_[group.turn].get(), 0));
  std::byte* to = groups_.data() + group.turn * (groups_.bytes() / 2);
  const auto fetch = [&](const void* from, std::size_t width, std::size_t pitch) -> Status {
    LS_CUDA(cudaMemcpy2DAsync(to, width, from, pitch, width, n, cudaMemcpyDeviceToHost, copies));
    to += width * n;
    return {};
  };
  constexpr std::size_t kStats = sizeof(kernels::cuda::RawHeadStats);
  constexpr std::size_t kTap = sizeof(capture::TapStats);
  LS_CHECK(fetch(work_.heads + first, rows * kStats, size(n_rows()) * kStats));
  if (captured.request.tier == Tier::kAttention && drawing_ == nullptr) {
    const std::size_t bins = size(bins_);
    LS_CHECK(fetch(work_.pooled + first * bins, rows * bins, size(n_rows()) * bins));
  }
  LS_CHECK(fetch(work_.finished + first_tap, taps * kTap, slots * kTap));
  LS_CUDA(cudaEventRecord(group_copied_[group.turn].get(), copies));
  return {};
}

/// Spreads what has arrived over the tokens.
Status CudaBackend::take_group(const Group& group, PassCapture& captured) {
  if (group.n == 0) {
    return {};
  }
  LS_CUDA(cudaEventSynchronize(group_copied_[group.turn].get()));
  static_assert(sizeof(kernels::cuda::FinishedStats) == sizeof(capture::TapStats));
  static_assert(sizeof(kernels::cuda::RawHeadStats) == sizeof(capture::HeadStats));
  const std::size_t heads = size(model_->spec.n_heads);
  const std::size_t rows = size(group.n) * heads;
  const std::size_t first = size(group.first) * heads;
  const std::size_t n = size(captured.n_tokens);
  const std::size_t all = size(n_rows());
  const bool with_rows = captured.request.tier == Tier::kAttention && drawing_ == nullptr;
  const std::size_t bins = with_rows ? size(bins_) : 0;
  const std::size_t slots = stats_slots();
  const std::size_t tap_bytes = size(group.n) * capture::kNumTaps * sizeof(capture::TapStats);
  const std::size_t first_tap = size(group.first) * capture::kNumTaps;
  constexpr std::size_t kStats = sizeof(kernels::cuda::RawHeadStats);
  const std::byte* const from = groups_.data() + group.turn * (groups_.bytes() / 2);
  const std::byte* const pooled_from = from + n * rows * kStats;
  const std::byte* const taps_from = pooled_from + n * rows * bins;
  if (with_rows) {
    pass_pooled_.resize(n);
    drawn_bytes_ += n * rows * bins;
  }
  pool_.run_ranges(n, 8, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      std::memcpy(static_cast<void*>(captured.heads.data() + t * all + first),
                  from + t * rows * kStats, rows * kStats);
      std::memcpy(static_cast<void*>(captured.taps.data() + t * slots + first_tap),
                  taps_from + t * tap_bytes, tap_bytes);
      if (with_rows) {
        capture::PooledRows& pooled = pass_pooled_[t];
        pooled.cells.resize(all * bins);
        std::memcpy(pooled.cells.data() + first * bins, pooled_from + t * rows * bins, rows * bins);
      }
    }
  });
  return {};
}

/// What is left when all groups are there: the model-wide taps, and rows for the frames.
Status CudaBackend::finish_prefill(PassCapture& captured) {
  const std::size_t n = size(captured.n_tokens);
  const std::size_t slots = stats_slots();
  const std::size_t first = size(model_->spec.n_layers) * capture::kNumTaps;
  constexpr std::size_t kWidth = capture::kNumTaps * sizeof(capture::TapStats);
  LS_CHECK(launch_finish_stats({on_.stream, on_.sm_count, false}, work_.stats + first,
                               captured.n_tokens, static_cast<int>(capture::kNumTaps),
                               static_cast<int>(slots), work_.finished + first));
  if (drawing_ != nullptr && captured.request.tier == Tier::kAttention) {
    LS_CHECK(launch_draw_history({on_.stream, on_.sm_count, false}, work_.heads, work_.pooled,
                                 captured.n_tokens, n_rows(), bins_, captured.first_position,
                                 drawing_->history));
  }
  LS_CUDA(cudaMemcpy2DAsync(groups_.data(), kWidth, work_.finished + first,
                            slots * sizeof(capture::TapStats), kWidth, n, cudaMemcpyDeviceToHost,
                            on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  for (std::size_t t = 0; t < n; ++t) {
    std::memcpy(static_cast<void*>(captured.taps.data() + t * slots + first),
                groups_.data() + t * kWidth, kWidth);
  }
  if (captured.request.tier != Tier::kAttention) {
    return {};
  }
  pass_pooled_.resize(n);
  for (std::size_t t = 0; t < n && drawing_ == nullptr; ++t) {
    const int n_keys = captured.first_position + static_cast<int>(t) + 1;
    pass_pooled_[t].width = capture::pooled_width(n_keys, bins_);
    pass_pooled_[t].bins = bins_;
  }
  for (std::size_t t = 0; t < n; ++t) {
    captured.kept.push_back(std::make_shared<capture::AttentionRows>(std::move(pass_rows_[t]),
                                                                     std::move(pass_pooled_[t])));
  }
  pass_rows_.clear();
  pass_pooled_.clear();
  return {};
}

}  // namespace layerscope::backend::cuda
