#include "engine/backend/cuda_draw.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/backend/size.h"
#include "kernels/cuda/attention_map.h"
#include "kernels/cuda/draw.h"

namespace layerscope::backend::cuda {

using kernels::cuda::AttentionMapStage;

void CudaBackend::Drawing::cut(int length) {
  if (length < atlas_tokens) {
    atlas_tokens = 0;  // cells may hold what was cut off
  }
  if (length < rect.first_query + rect.n_queries) {
    rect = {};
  }
  std::fill(stats_known.begin() + length, stats_known.end(), std::uint8_t{0});
}

std::optional<CudaBackend::WrittenPicture> CudaBackend::Drawing::take(const float* place,
                                                                      bool still) {
  const auto found = std::find_if(written.begin(), written.end(),
                                  [place](const WrittenPicture& w) { return w.place == place; });
  if (found == written.end()) {
    return std::nullopt;
  }
  WrittenPicture known = *found;
  written.erase(found);
  return still ? std::optional(known) : std::nullopt;
}

int CudaBackend::Drawing::first_atlas_row(const WrittenPicture& last,
                                          const DrawnFrame& frame) const {
  const bool same = last.atlas_version == atlas_version && last.frame.bin == frame.bin &&
                    last.frame.thumbnails.offset == frame.thumbnails.offset &&
                    last.frame.thumbnails.width == frame.thumbnails.width &&
                    last.frame.thumbnails.height == frame.thumbnails.height;
  return same ? last.frame.n_tokens / frame.bin : 0;
}

int CudaBackend::Drawing::first_map_line(const WrittenPicture& last,
                                         const DrawnFrame& frame) const {
  const MapRect& was = last.frame.rect;
  const MapRect& is = frame.rect;
  const int seen = was.first_query + was.n_queries;
  if (last.map_version != map_version || last.frame.map.offset != frame.map.offset ||
      last.frame.map.width != frame.map.width || last.frame.map.height != frame.map.height ||
      was.n_queries > is.n_queries) {
    return 0;
  }
  // With more keys than before old queries may have new cells, unless those lie after them.
  return is.n_keys > was.n_keys && was.first_key + was.n_keys < seen ? 0 : was.n_queries / is.bin;
}

bool CudaBackend::Drawing::knows(int first, int end) const {
  return std::all_of(kept.begin() + first, kept.begin() + end, [](auto k) { return k != 0; });
}

bool CudaBackend::draws() const { return drawing_ != nullptr && faults_ == nullptr; }

std::uint64_t CudaBackend::cache_bytes() const {
  return cache_memory_.bytes() + work_memory_.bytes() + row_memory_.bytes() +
         (drawing_ != nullptr ? drawing_->memory.bytes() : 0);
}

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
    place_stats(planner, drawing->stats);
    return planner.used();
  };
  LS_TRY(drawing->memory, DeviceBuffer::create(place(Planner())));
  place(Planner(drawing->memory.data()));
  LS_CHECK(start_stats(*drawing));
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

Status CudaBackend::draw_atlas(const DrawnFrame& frame, float* out, const WrittenPicture* before) {
  Drawing& d = *drawing_;
  const kernels::cuda::Launch on{d.stream.get(), on_.sm_count, false};
  const std::size_t codes = frame.thumbnails.floats();
  if (d.atlas_tokens == 0 || d.atlas_bin != frame.bin) {
    LS_CUDA(cudaMemsetAsync(d.atlas, 0, codes * sizeof(*d.atlas), d.stream.get()));
    d.atlas_tokens = 0;
    d.atlas_bin = frame.bin;
    ++d.atlas_version;
  }
  const model::DecoderSpec& spec = model_->spec;
  const kernels::cuda::AtlasStage stage{d.history, spec.n_layers,  spec.n_heads,   bins_,
                                        frame.bin, d.atlas_tokens, frame.n_tokens, d.atlas};
  LS_CHECK(launch_atlas_add(on, stage));
  d.atlas_tokens = frame.n_tokens;
  const bool whole = before == nullptr || d.first_atlas_row(*before, frame) == 0;
  const int first = whole ? 0 : d.first_atlas_row(*before, frame);
  const int end = whole ? bins_ : (frame.n_tokens - 1) / frame.bin + 1;
  return launch_atlas_values(on, stage, std::min(first, end), end, out + frame.thumbnails.offset);
}

Status CudaBackend::draw_map(const DrawnFrame& frame, float* out, const WrittenPicture* before) {
  Drawing& d = *drawing_;
  const kernels::cuda::Launch on{d.stream.get(), on_.sm_count, false};
  // The same map with more tokens: only what is new is added, from the start of a line of cells.
  MapRect same = d.rect;
  const int seen = same.first_query + same.n_queries;
  same.n_queries = frame.rect.n_queries;
  same.n_keys = frame.rect.n_keys;
  int first = frame.rect.first_query;
  if (same == frame.rect && frame.rect.first_query + frame.rect.n_queries >= seen &&
      frame.rect.n_keys >= d.rect.n_keys) {
    first += (seen - first) / frame.rect.bin * frame.rect.bin;
    // A narrower map would lack the new keys of old queries.
    const bool wider = frame.rect.n_keys > d.rect.n_keys;
    first = wider && d.rect.first_key + d.rect.n_keys < seen ? frame.rect.first_query : first;
  } else {
    LS_CHECK(kernels::cuda::launch_map_clear(on, d.map, frame.map.floats()));
    ++d.map_version;
  }
  d.rect = {};  // until all of it is enqueued
  LS_CHECK(kernels::cuda::launch_map_add(on, map_stage(frame.rect, first, d.map)));
  const int line = before == nullptr ? 0 : d.first_map_line(*before, frame);
  const std::size_t skip = size(line) * size(frame.map.width);
  const std::size_t end =
      line == 0 ? frame.map.floats() : size(frame.rect.rows()) * size(frame.map.width);
  LS_CHECK(kernels::cuda::launch_map_values(on, d.map + skip, end - std::min(skip, end),
                                            out + frame.map.offset + skip));
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

/// Everything of `frame` into `out`, device memory; `kept`: it holds what was written there last.
Status CudaBackend::enqueue_picture(const DrawnFrame& frame, float* out, bool kept) {
  Drawing& d = *drawing_;
  const std::optional<WrittenPicture> known = d.take(out, kept);
  const WrittenPicture* before = known ? &*known : nullptr;
  if (steps_.empty()) {  // steps ahead are of no interest, and waiting for them would take long
    LS_CUDA(cudaEventRecord(d.before.get(), on_.stream));
    LS_CUDA(cudaStreamWaitEvent(d.stream.get(), d.before.get(), 0));
  }
  LS_CUDA(cudaEventRecord(d.begun.get(), d.stream.get()));
  if (!frame.thumbnails.empty()) {
    LS_CHECK(draw_atlas(frame, out, before));
  }
  if (!frame.map.empty()) {
    LS_CHECK(draw_map(frame, out, before));
  }
  if (!frame.row.empty()) {
    LS_CHECK(draw_row(frame, out));
  }
  LS_CHECK(draw_stats(frame, out));
  d.written.push_back({out, frame, d.atlas_version, d.map_version});
  return {};
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
    DrawShape shape{spec.n_layers, spec.n_heads, bins_, {}};
    LS_CHECK(complete_stats(job, shape.known));
    LS_TRY(DrawnFrame frame,
           lay_out(job.request, kv_len_, shape, std::min(place->floats, kDrawFloats)));
    frame.tag = job.tag;
    LS_CHECK(enqueue_picture(frame, here ? place->data : d.cells, !here || place->kept));
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
