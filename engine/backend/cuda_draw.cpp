#include "engine/backend/cuda_draw.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/attention_map.h"
#include "kernels/cuda/draw.h"

namespace layerscope::backend::cuda {

using kernels::cuda::AttentionMapStage;

namespace {
std::size_t size(int a) { return static_cast<std::size_t>(a); }
}  // namespace

void CudaBackend::Drawing::cut(int length) {
  if (length < atlas_tokens) {
    atlas_tokens = 0;  // cells may hold what was cut off
  }
  if (length < rect.first_query + rect.n_queries) {
    rect = {};
  }
}

bool CudaBackend::Drawing::knows(int first, int end) const {
  return std::all_of(kept.begin() + first, kept.begin() + end, [](auto k) { return k != 0; });
}

bool CudaBackend::draws() const { return drawing_ != nullptr && faults_ == nullptr; }

std::uint64_t CudaBackend::drawn_bytes_to_host() const {
  return drawn_bytes_ + (drawing_ != nullptr ? drawing_->bytes_to_host : 0);
}

DrawCost CudaBackend::draw_cost() const {
  return drawing_ != nullptr ? drawing_->cost : DrawCost{};
}

/// Memory for drawing; without enough of it the rows go to the host as before.
Status CudaBackend::start_drawing() {
  auto drawing = std::make_unique<Drawing>();
  const std::size_t context = size(context_);
  const std::size_t rows = size(n_rows());
  const std::size_t atlas = rows * size(bins_) * size(bins_);
  const auto place = [&](Planner planner) {
    drawing->history.pooled = planner.take<std::uint8_t>(context * rows * size(bins_));
    drawing->history.lse = planner.take<float>(context * rows);
    drawing->history.kept = planner.take<std::uint8_t>(context);
    drawing->atlas = planner.take<std::uint16_t>(atlas);
    drawing->map = planner.take<float>(size(kMostMapSide) * size(kMostMapSide));
    drawing->row = planner.take<float>(2 * (context + size(kRowWidth)));
    drawing->lse = planner.take<float>(context);
    drawing->cells = planner.take<float>(kDrawFloats);
    return planner.used();
  };
  LS_TRY(drawing->memory, DeviceBuffer::create(place(Planner())));
  place(Planner(drawing->memory.data()));
  LS_TRY(drawing->stream, create_stream());
  LS_TRY(drawing->before, create_event());
  LS_TRY(drawing->begun, create_event(true));
  LS_TRY(drawing->done, create_event(true));
  LS_CUDA(cudaMemsetAsync(drawing->history.kept, 0, context, on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  drawing->kept.assign(context, 0);
  drawing_ = std::move(drawing);
  return {};
}

/// Notes whether a pass fills the history at [position, position + n).
Status CudaBackend::note_kept(bool kept, int position, int n) {
  if (drawing_ == nullptr || looking_) {
    return {};
  }
  const auto begin = drawing_->kept.begin() + position;
  if (kept) {
    std::fill(begin, begin + n, std::uint8_t{1});
    return {};
  }
  if (std::any_of(begin, begin + n, [](auto k) { return k != 0; })) {
    std::fill(begin, begin + n, std::uint8_t{0});
    LS_CUDA(cudaMemsetAsync(drawing_->history.kept + position, 0, size(n), on_.stream));
  }
  return {};
}

void CudaBackend::cut_drawing(int length) {
  if (drawing_ != nullptr) {
    drawing_->cut(length);
    // What is written next may be what the picture in hand reads.
    cudaStreamWaitEvent(on_.stream, drawing_->done.get(), 0);
  }
}

/// The stage of `rect` for queries from `first` on.
AttentionMapStage CudaBackend::map_stage(const MapRect& rect, int first, float* cells) const {
  AttentionMapStage stage;
  stage.heads = heads_;
  stage.cache = layer_cache(rect.layer);
  stage.scale = model_->spec.attention_scale;
  stage.rules = rules_of(rect.layer);
  stage.head = rect.head;
  stage.first_query = first;
  stage.n_queries = rect.first_query + rect.n_queries - first;
  stage.first_key = rect.first_key;
  stage.n_keys = rect.n_keys;
  stage.bin = rect.bin;
  stage.scores = rect.scores;
  stage.cells = cells + size((first - rect.first_query) / rect.bin) * size(rect.side);
  stage.stride = rect.side;
  stage.lse = drawing_->lse;
  if (drawing_->knows(first, first + stage.n_queries)) {
    const std::size_t row = size(rect.layer) * size(heads_.n_heads) + size(rect.head);
    stage.known_lse = drawing_->history.lse + size(first) * size(n_rows()) + row;
    stage.known_stride = n_rows();
  }
  return stage;
}

Status CudaBackend::draw_atlas(const DrawnFrame& frame, float* out) {
  Drawing& d = *drawing_;
  const kernels::cuda::Launch on{d.stream.get(), on_.sm_count, false};
  const std::size_t codes = frame.thumbnails.floats();
  if (d.atlas_tokens == 0 || d.atlas_bin != frame.bin) {
    LS_CUDA(cudaMemsetAsync(d.atlas, 0, codes * sizeof(*d.atlas), d.stream.get()));
    d.atlas_tokens = 0;
    d.atlas_bin = frame.bin;
  }
  const model::DecoderSpec& spec = model_->spec;
  LS_CHECK(launch_atlas_add(on, {d.history, spec.n_layers, spec.n_heads, bins_, frame.bin,
                                 d.atlas_tokens, frame.n_tokens, d.atlas}));
  d.atlas_tokens = frame.n_tokens;
  return launch_atlas_values(on, d.atlas, codes, out + frame.thumbnails.offset);
}

Status CudaBackend::draw_map(const DrawnFrame& frame, float* out) {
  Drawing& d = *drawing_;
  const kernels::cuda::Launch on{d.stream.get(), on_.sm_count, false};
  // The same map with more tokens: only what is new is added, from the start of a line of cells.
  MapRect before = d.rect;
  const int seen = before.first_query + before.n_queries;
  before.n_queries = frame.rect.n_queries;
  before.n_keys = frame.rect.n_keys;
  int first = frame.rect.first_query;
  if (before == frame.rect && frame.rect.first_query + frame.rect.n_queries >= seen &&
      frame.rect.n_keys >= d.rect.n_keys) {
    first += (seen - first) / frame.rect.bin * frame.rect.bin;
    // A narrower map would lack the new keys of old queries.
    const bool wider = frame.rect.n_keys > d.rect.n_keys;
    first = wider && d.rect.first_key + d.rect.n_keys < seen ? frame.rect.first_query : first;
  } else {
    LS_CHECK(kernels::cuda::launch_map_clear(on, d.map, frame.map.floats()));
  }
  d.rect = {};  // until all of it is enqueued
  LS_CHECK(kernels::cuda::launch_map_add(on, map_stage(frame.rect, first, d.map)));
  LS_CHECK(kernels::cuda::launch_map_values(on, d.map, frame.map.floats(), out + frame.map.offset));
  d.rect = frame.rect;
  return {};
}

Status CudaBackend::draw_row(const DrawnFrame& frame, float* out) {
  Drawing& d = *drawing_;
  const kernels::cuda::Launch on{d.stream.get(), on_.sm_count, false};
  MapRect rect;
  rect.layer = frame.row_layer;
  rect.head = frame.row_head;
  rect.first_query = frame.row_position;
  rect.n_queries = 1;
  rect.n_keys = frame.row_position + 1;
  rect.side = rect.n_keys;
  LS_CHECK(kernels::cuda::launch_map_clear(on, d.row, frame.row.floats()));
  LS_CHECK(kernels::cuda::launch_map_add(on, map_stage(rect, rect.first_query, d.row)));
  return kernels::cuda::launch_map_values(on, d.row, frame.row.floats(), out + frame.row.offset);
}

/// Everything of `frame` into `out`, device memory.
Status CudaBackend::enqueue_picture(const DrawnFrame& frame, float* out) {
  Drawing& d = *drawing_;
  if (steps_.empty()) {  // steps ahead are of no interest, and waiting for them would take long
    LS_CUDA(cudaEventRecord(d.before.get(), on_.stream));
    LS_CUDA(cudaStreamWaitEvent(d.stream.get(), d.before.get(), 0));
  }
  LS_CUDA(cudaEventRecord(d.begun.get(), d.stream.get()));
  if (!frame.thumbnails.empty()) {
    LS_CHECK(draw_atlas(frame, out));
  }
  if (!frame.map.empty()) {
    LS_CHECK(draw_map(frame, out));
  }
  return frame.row.empty() ? Status{} : draw_row(frame, out);
}

Result<bool> CudaBackend::draw(const DrawJob& job, DrawSink& sink,
                               const std::stop_token& /*stop*/) {
  if (drawing_ == nullptr || faults_ != nullptr) {
    return usage_error("with faults in force the attention rows are in host memory");
  }
  if (sink.device() >= 0 && sink.device() != options_.gpu) {
    return usage_error("the window draws with another GPU than the one that computes");
  }
  Drawing& d = *drawing_;
  if (const cudaError_t state = cudaEventQuery(d.done.get()); state == cudaErrorNotReady) {
    return false;
  } else {
    LS_CUDA(state);
  }
  if (std::exchange(d.timed, false)) {
    float ms = 0.0F;
    LS_CUDA(cudaEventElapsedTime(&ms, d.begun.get(), d.done.get()));
    d.cost.gpu_ms += static_cast<double>(ms);
    ++d.cost.pictures;
  }
  const auto place = sink.acquire();
  if (!place) {
    return false;
  }
  const bool here = sink.device() >= 0;
  const model::DecoderSpec& spec = model_->spec;
  const auto make = [&]() -> Status {
    LS_TRY(DrawnFrame frame, lay_out(job.request, kv_len_, spec.n_layers, spec.n_heads, bins_,
                                     std::min(place->floats, kDrawFloats)));
    frame.tag = job.tag;
    LS_CHECK(enqueue_picture(frame, here ? place->data : d.cells));
    if (!here) {
      const std::size_t bytes = frame.floats() * sizeof(float);
      LS_CUDA(cudaMemcpyAsync(place->data, d.cells, bytes, cudaMemcpyDeviceToHost, d.stream.get()));
      LS_CUDA(cudaStreamSynchronize(d.stream.get()));
      d.bytes_to_host += bytes;
    }
    LS_CUDA(cudaEventRecord(d.done.get(), d.stream.get()));
    d.timed = true;
    return sink.publish(*place, d.stream.get(), frame);
  };
  if (const Status status = make(); !status.ok()) {
    sink.abandon(*place);
    return status.error();
  }
  return true;
}

}  // namespace layerscope::backend::cuda
