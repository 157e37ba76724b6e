// Statistics of every position on the GPU, for pictures of them.
//
// Steps and prefill passes leave them there as they finish. What only the frames hold (a branch
// that was switched to, a token that was evaluated again, passes with faults) is sent up once, when
// a picture is asked for: a picture always shows what the frames hold.
#include <algorithm>
#include <cstring>

#include "engine/backend/cuda_draw.h"
#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

using capture::Tap;
using kernels::cuda::kTopLogits;
using kernels::cuda::StatsHistory;

namespace {

/// Positions sent up for one picture, at most: 4 MB for Llama-3-8B. Until all are there the window
/// draws from the frames.
constexpr int kMostUploads = 1024;
constexpr std::array kWideTaps{Tap::kEmbedding, Tap::kFinalNorm, Tap::kLogits};
static_assert(kernels::cuda::kStatPlanes == kNumStatistics &&
              kernels::cuda::kSeriesPlanes == kNumSeries &&
              kernels::cuda::kProfileLines == kProfileTaps.size());

float unknown() {
  float value = 0.0F;
  std::memset(&value, 0xFF, sizeof(value));
  return value;
}

/// As the planes hold it.
float kept_value(const capture::TokenFrame* frame, int layer, Tap tap, Statistic statistic) {
  const float value = statistic_of(frame, layer, tap, statistic);
  return value == kDrawHole ? unknown() : value;
}

}  // namespace

void CudaBackend::place_stats(Planner& planner, StatsHistory& history) const {
  history.columns = static_cast<int>(stat_taps().size()) * model_->spec.n_layers +
                    static_cast<int>(kWideTaps.size());
  history.context = context_;
  history.planes = planner.take<float>(history.n_planes() * size(context_));
  history.lengths = planner.take<float>(size(context_) * kTopLogits);
  history.ids = planner.take<std::int32_t>(size(context_) * kTopLogits);
  history.slots = planner.take<std::int32_t>(size(history.columns));
}

Status CudaBackend::start_stats(Drawing& drawing) const {
  const StatsHistory& h = drawing.stats;
  drawing.stat_taps = stat_taps();
  std::vector<std::int32_t> slots;
  for (int layer = 0; layer < model_->spec.n_layers; ++layer) {
    for (const Tap tap : drawing.stat_taps) {
      slots.push_back(stats_slot(layer, tap));
    }
  }
  for (const Tap tap : kWideTaps) {
    slots.push_back(stats_slot(-1, tap));
  }
  LS_CUDA(cudaMemcpyAsync(const_cast<std::int32_t*>(h.slots), slots.data(),
                          slots.size() * sizeof(slots[0]), cudaMemcpyHostToDevice, on_.stream));
  LS_CUDA(
      cudaMemsetAsync(h.planes, 0xFF, h.n_planes() * size(context_) * sizeof(float), on_.stream));
  // Grids of a picture start at multiples of 64 floats; what lies between is copied with them.
  LS_CUDA(cudaMemsetAsync(drawing.cells, 0, kDrawFloats * sizeof(float), on_.stream));
  LS_CHECK(launch_forget_logits(on_, 0, context_, h));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  drawing.stats_known.assign(size(context_), 0);
  return {};
}

StatsHistory CudaBackend::stats_history() const {
  return drawing_ != nullptr ? drawing_->stats : StatsHistory{};
}

/// Whether the history has what the frames of [position, position + n) will hold.
void CudaBackend::note_stats(bool known, int position, int n) {
  if (drawing_ != nullptr) {
    std::fill_n(drawing_->stats_known.begin() + position, n, std::uint8_t{known});
  }
}

/// Column of the planes; −1: not summarised in this model.
int CudaBackend::stat_column(int layer, Tap tap) const {
  const std::vector<Tap>& taps = drawing_->stat_taps;
  if (!capture::is_layer_tap(tap)) {
    const auto at = std::find(kWideTaps.begin(), kWideTaps.end(), tap) - kWideTaps.begin();
    return static_cast<int>(taps.size()) * model_->spec.n_layers + static_cast<int>(at);
  }
  const auto at = std::find(taps.begin(), taps.end(), tap) - taps.begin();
  const auto n = static_cast<int>(taps.size());
  return at == n ? -1 : layer * n + static_cast<int>(at);
}

/// After a prefill pass. `summarised`: the distribution after its last token is in the results.
Status CudaBackend::keep_prefill_stats(const ForwardRequest& request, bool summarised) {
  if (drawing_ == nullptr || looking_) {
    return {};
  }
  const int n = static_cast<int>(request.ids.size());
  const int last = request.position + n - 1;
  if (request.again || request.all_logits || request.capture.tier == capture::Tier::kOff) {
    note_stats(false, request.position, n);
    return {};
  }
  const StatsHistory& h = drawing_->stats;
  LS_CHECK(launch_keep_stats(on_, work_.finished, n, static_cast<int>(stats_slots()),
                             request.position, h));
  LS_CHECK(launch_forget_logits(on_, request.position, n, h));
  if (summarised) {
    const auto* summary = reinterpret_cast<const kernels::cuda::RawLogitSummary*>(
        work_.results + results_layout().summary);
    LS_CHECK(launch_keep_logits(on_, summary, last, h));
  }
  note_stats(true, request.position, n);
  note_stats(summarised, last, 1);
  LS_CUDA(cudaStreamSynchronize(on_.stream));  // pictures are made on another stream
  return {};
}

/// Sends up what only the frames of [first, first + n) hold.
Status CudaBackend::upload_stats(const DrawJob& job, int first, int n) {
  Drawing& d = *drawing_;
  const StatsHistory& h = d.stats;
  const std::vector<Tap>& taps = d.stat_taps;
  const std::size_t row = size(n) * sizeof(float);
  const std::size_t ranks = size(n) * kTopLogits;
  d.staged.resize(h.n_planes() * row + ranks * (sizeof(float) + sizeof(std::int32_t)));
  auto* planes = reinterpret_cast<float*>(d.staged.data());
  float* lengths = planes + h.n_planes() * size(n);
  auto* ids = reinterpret_cast<std::int32_t*>(lengths + ranks);
  std::fill_n(lengths, ranks, unknown());
  std::fill_n(ids, ranks, -1);
  for (int i = 0; i < n; ++i) {
    const capture::TokenFrame* frame = job.frame(first + i);
    float* to = planes + i;
    const auto put = [&to, n](float value) {
      *to = value;
      to += n;
    };
    for (const Statistic statistic : {Statistic::kL2, Statistic::kAbsmax}) {
      for (int layer = 0; layer < model_->spec.n_layers; ++layer) {
        for (const Tap tap : taps) {
          put(kept_value(frame, layer, tap, statistic));
        }
      }
      for (const Tap tap : kWideTaps) {
        put(kept_value(frame, -1, tap, statistic));
      }
    }
    const bool distribution = frame != nullptr && frame->logits.has_value();
    const capture::LogitSummary s = distribution ? *frame->logits : capture::LogitSummary{};
    for (const float value : {s.entropy, s.min, s.mean, s.max}) {
      put(distribution ? value : unknown());
    }
    for (std::size_t k = 0; k < s.top.size() && k < size(kTopLogits); ++k) {
      lengths[size(i) * kTopLogits + k] = bar_length(s.top[k].prob, s.top.front().prob);
      ids[size(i) * kTopLogits + k] = s.top[k].id;
    }
  }
  CUstream_st* const stream = d.stream.get();
  LS_CUDA(cudaMemcpy2DAsync(h.planes + first, size(context_) * sizeof(float), planes, row, row,
                            h.n_planes(), cudaMemcpyHostToDevice, stream));
  const std::size_t at = size(first) * kTopLogits;
  LS_CUDA(cudaMemcpyAsync(h.lengths + at, lengths, ranks * sizeof(float), cudaMemcpyHostToDevice,
                          stream));
  LS_CUDA(cudaMemcpyAsync(h.ids + at, ids, ranks * sizeof(std::int32_t), cudaMemcpyHostToDevice,
                          stream));
  note_stats(true, first, n);
  return {};
}

/// Brings the history up to the frames, and says which parts of a picture can be made of it.
Status CudaBackend::complete_stats(const DrawJob& job, KnownStats& known) {
  known = {false, false, false, false};
  const StatsLook& look = job.request.stats;
  if (!look.any() || !job.frame) {
    return {};
  }
  const auto begin = drawing_->stats_known.begin();
  const auto end = begin + kv_len_;
  auto missing = std::find(begin, end, std::uint8_t{0});
  for (int left = kMostUploads; missing != end && left > 0;) {
    const auto after = std::find(missing, std::min(end, missing + left), std::uint8_t{1});
    const int n = static_cast<int>(after - missing);
    LS_CHECK(upload_stats(job, static_cast<int>(missing - begin), n));
    left -= n;
    missing = std::find(after, end, std::uint8_t{0});
  }
  const bool complete = missing == end;
  known.map = complete && look.tap && stat_column(0, *look.tap) >= 0;
  known.profile = known.bars = known.series = complete;
  return {};
}

Status CudaBackend::draw_stats(const DrawnFrame& frame, float* out) {
  const DrawnStats& stats = frame.stats;
  const Drawing& d = *drawing_;
  kernels::cuda::StatsPicture p;
  p.history = d.stats;
  p.n_tokens = frame.n_tokens;
  p.position = stats.look.position;
  p.next = p.position + 1 < frame.n_tokens ? work_.history + p.position + 1 : nullptr;
  const int step = stat_column(1, Tap::kResidOut) - stat_column(0, Tap::kResidOut);
  if (!stats.map.empty()) {
    const Tap tap = *stats.look.tap;
    p.map = out + stats.map.offset;
    p.map_plane = static_cast<int>(stats.look.statistic) * d.stats.columns + stat_column(0, tap);
    p.map_step = step;
    p.map_rows = stats.map.height;
    p.map_width = stats.map.width;
    p.map_bin = stats.bin;
  }
  if (!stats.profile.empty()) {
    p.profile = out + stats.profile.offset;
    for (std::size_t i = 0; i < kProfileTaps.size(); ++i) {
      p.profile_planes[i] = stat_column(0, kProfileTaps[i]);
    }
    p.profile_step = step;
    p.n_layers = stats.profile.width;
  }
  p.bars = stats.bars.empty() ? nullptr : out + stats.bars.offset;
  if (!stats.series.empty()) {
    p.series = out + stats.series.offset;
    p.series_cells = stats.series.width;
    p.series_bin = stats.series_bin;
  }
  return launch_stats_picture({d.stream.get(), on_.sm_count, false}, p);
}

}  // namespace layerscope::backend::cuda
