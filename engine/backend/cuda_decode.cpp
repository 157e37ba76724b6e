// One token: five fused stages per layer, captured once per number of splits, tier and way of
// choosing into a CUDA graph. Its first node takes token and position from a ring, or the token
// that the step before chose; its last one sends the results to another ring. So steps can be
// enqueued ahead.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "engine/backend/cuda_draw.h"
#include "engine/backend/cuda_stages.h"
#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

using capture::Tier;
using kernels::cuda::kStepSlots;
using kernels::cuda::RawHeadStats;
using kernels::cuda::RawLogitSummary;
using kernels::cuda::RawStats;
using kernels::cuda::StepState;

namespace {

template <class T>
const T* part(const std::byte* results, std::size_t offset) {
  return reinterpret_cast<const T*>(results + offset);
}

}  // namespace

StepResults CudaBackend::results_layout() const {
  StepResults r;
  const auto place = [&r](std::size_t bytes) {
    const std::size_t at = r.bytes;
    r.bytes += (bytes + 15) / 16 * 16;
    return at;
  };
  r.summary = place(sizeof(RawLogitSummary));
  r.chosen = place(sizeof(kernels::cuda::ChosenToken));
  r.stats = place((stats_slots() + size(logit_pieces())) * sizeof(RawStats));
  r.heads = place(size(n_rows()) * sizeof(RawHeadStats));
  r.pooled = place(size(n_rows()) * size(bins_));
  return r;
}

/// Results of a step on the host.
const std::byte* CudaBackend::slot(std::uint32_t number) const {
  const std::size_t slot_bytes =
      results_layout().bytes + size(row_stride(context_)) * sizeof(float);
  return step_.data() + kStepSlots * sizeof(StepState) + number % kStepSlots * slot_bytes;
}

Status CudaBackend::enqueue_qkv(int layer, const float* x) {
  const model::DecoderSpec& spec = model_->spec;
  const DeviceLayer& w = weights_.layers[size(layer)];
  const LayerTaps& t = work_.decode[size(layer)];
  kernels::cuda::QkvStage qkv;
  for (std::size_t i = 0; i < 3; ++i) {
    qkv.w[i] = w.qkv[i];
    qkv.bias[i] = w.qkv_bias[i];
  }
  qkv.norm_weight = w.attn_norm;
  qkv.eps = spec.norm_eps;
  qkv.x = x;
  qkv.normed = t.attn_norm;
  qkv.raw[0] = t.q;
  qkv.raw[1] = t.k;
  qkv.raw[2] = t.v;
  qkv.rotated[0] = t.q_rope;
  qkv.rotated[1] = t.k_rope;
  qkv.cos_sin = cos_sin(layer);
  qkv.rope =
      fused_.qkv ? rope_of(layer) : kernels::cuda::RopeLayout{kernels::RopePairing::kNone, 0};
  qkv.heads = heads_;
  qkv.cache = layer_cache(layer);
  qkv.state = work_.state;
  return launch_qkv(on_, qkv);
}

Status CudaBackend::enqueue_attention(int layer, const Splits& splits) {
  const model::DecoderSpec& spec = model_->spec;
  const LayerTaps& t = work_.decode[size(layer)];
  const std::size_t first_row = size(layer) * size(spec.n_heads);
  kernels::cuda::AttentionStage attention;
  attention.heads = heads_;
  attention.cache = layer_cache(layer);
  attention.q = t.q_rope;
  attention.scale = spec.attention_scale;
  attention.first_row = static_cast<int>(first_row);
  attention.lse = work_.lse + first_row;
  attention.out = t.context;
  attention.parts = work_.parts;
  attention.arrived = work_.arrived;
  attention.chunk = splits.chunk;
  attention.n_splits = splits.n;
  attention.state = work_.state;
  return attends_plainly(layer) ? launch_attention_ruled(on_, attention, rules_of(layer))
                                : launch_attention_decode(on_, attention);
}

Status CudaBackend::enqueue_layer(int layer, const Splits& splits) {
  const model::DecoderSpec& spec = model_->spec;
  const DeviceLayer& w = weights_.layers[size(layer)];
  const LayerTaps& t = work_.decode[size(layer)];
  const float* x = layer == 0 ? work_.embedding : work_.decode[size(layer) - 1].resid_out;
  Stages stages(*this, weights_, spec, t, 1, Stages::Products::kTokens, on_);
  if (fused_.qkv) {
    LS_CHECK(enqueue_qkv(layer, x));
  } else {
    // The fused stage still multiplies where only the norm of Q and K stands in its way; what it
    // appends is overwritten.
    LS_CHECK(fused_.qkv_products ? enqueue_qkv(layer, x) : stages.project(layer, x));
    LS_CHECK(stages.norm_queries_and_keys(layer, true));
    LS_CHECK(stages.append(layer, work_.state, 0));
  }
  LS_CHECK(enqueue_attention(layer, splits));
  if (fused_.residual) {
    LS_CHECK(launch_project(on_, {w.out, w.out_bias, t.context, x, t.attn_out, t.resid_mid}));
  } else {
    LS_CHECK(stages.project_out(layer));
    LS_CHECK(stages.post_norm(capture::Tap::kAttnOut, layer));
    LS_CHECK(stages.add(capture::Tap::kAttnOut, x, t.resid_mid));
  }
  if (fused_.feed_forward) {
    const float* in = spec.parallel ? x : t.resid_mid;
    LS_CHECK(launch_gate_up(
        on_, {w.gate, w.up, w.ffn_norm, spec.norm_eps, in, t.ffn_norm, t.gate, t.up, t.act}));
    if (fused_.residual) {
      return launch_project(on_, {w.down, w.down_bias, t.act, t.resid_mid, t.ffn_out, t.resid_out});
    }
    LS_CHECK(stages.project_down(layer));
  } else {
    LS_CHECK(stages.feed_forward(layer, x, {}));
  }
  LS_CHECK(stages.post_norm(capture::Tap::kFfnOut, layer));
  return stages.add(capture::Tap::kFfnOut, t.resid_mid, t.resid_out);
}

Status CudaBackend::enqueue_step(const Splits& splits, Tier tier, Choosing choosing) {
  const model::DecoderSpec& spec = model_->spec;
  const StepResults at = results_layout();
  const bool drawn = drawing_ != nullptr && tier >= Tier::kAttention;
  std::byte* const results = work_.results;
  auto* summary = reinterpret_cast<RawLogitSummary*>(results + at.summary);
  auto* chosen = reinterpret_cast<kernels::cuda::ChosenToken*>(results + at.chosen);
  LS_CHECK(launch_begin_step(on_, reinterpret_cast<const StepState*>(step_.data()), work_.state,
                             work_.history));
  // Everything after this one may read the state before it has waited for its predecessor.
  kernels::cuda::Launch first = on_;
  first.overlap = false;
  LS_CHECK(launch_embed(first, weights_.embedding, &work_.state->token, 1, work_.embedding,
                        work_.inv_freq, &work_.state->position, spec.rope_dim, work_.cos_sin));
  Stages ends(*this, weights_, spec, work_.decode.back(), 1, Stages::Products::kTokens, on_);
  LS_CHECK(ends.finish_embedding(work_.embedding, &work_.state->position));
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_CHECK(enqueue_layer(layer, splits));
  }
  if (fused_.head) {
    LS_CHECK(launch_head(on_, {weights_.head, weights_.output_norm, spec.norm_eps,
                               work_.decode.back().resid_out, work_.final_norm, work_.logits}));
    LS_CHECK(ends.finish_logits(work_.logits, 1));
  } else {
    LS_CHECK(ends.final_norm(work_.decode.back().resid_out, 1, work_.final_norm));
    LS_CHECK(ends.logits(work_.final_norm, 1, work_.logits));
  }
  if (tier != Tier::kOff) {
    auto* stats = reinterpret_cast<RawStats*>(results + at.stats);
    LS_CHECK(launch_row_stats(on_, work_.entries, static_cast<int>(n_decode_entries_), 1, stats,
                              static_cast<int>(stats_slots()) + logit_pieces()));
    auto* pooled = reinterpret_cast<std::uint8_t*>(results + at.pooled);
    LS_CHECK(launch_attention_rows(on_, work_.lse, n_rows(), work_.state,
                                   reinterpret_cast<RawHeadStats*>(results + at.heads),
                                   tier >= Tier::kAttention && !drawn ? pooled : nullptr, bins_,
                                   drawn ? drawing_->history : kernels::cuda::DrawHistory{}));
  }
  if (summarises_) {
    LS_CHECK(launch_logit_summary(on_, work_.logits, work_.usable, spec.vocab_rows,
                                  work_.logit_parts, summary));
  }
  if (choosing == Choosing::kSampling) {
    LS_CHECK(launch_sample(on_, work_.logits, work_.usable, spec.vocab_rows, work_.history,
                           work_.state, work_.sample, chosen));
  }
  kernels::cuda::PublishStage publish;
  publish.state = work_.state;
  publish.chosen = choosing == Choosing::kNot      ? nullptr
                   : choosing == Choosing::kGreedy ? &summary->top_id
                                                   : &chosen->id;
  publish.results = results;
  publish.ring = step_.data() + kStepSlots * sizeof(StepState);
  publish.bytes = tier >= Tier::kAttention && !drawn ? at.bytes
                  : tier >= Tier::kSummary           ? at.pooled
                                                     : at.stats;
  publish.slot_bytes = static_cast<std::size_t>(slot(1) - slot(0));
  publish.n_rows = n_rows();
  if (tier != Tier::kOff) {
    publish.stats = reinterpret_cast<const RawStats*>(results + at.stats);
    publish.logits_slot = stats_slot(-1, capture::Tap::kLogits);
    publish.first_piece = static_cast<int>(stats_slots());
    publish.n_pieces = logit_pieces();
    publish.summary = summarises_ ? summary : nullptr;
  }
  return launch_publish(on_, publish, stats_history());
}

Result<cudaGraphExec_t> CudaBackend::step_graph(const Splits& splits, Tier tier,
                                                Choosing choosing) {
  const Tier kind = std::min(tier, Tier::kAttention);
  const std::array<int, 3> key{splits.n * splits.chunk, static_cast<int>(kind),
                               static_cast<int>(choosing)};
  if (const auto it = graphs_.find(key); it != graphs_.end()) {
    return it->second.get();
  }
  LS_CUDA(cudaStreamBeginCapture(on_.stream, cudaStreamCaptureModeThreadLocal));
  const Status enqueued = enqueue_step(splits, kind, choosing);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(on_.stream, &graph);
  if (!enqueued.ok() || ended != cudaSuccess) {
    if (graph != nullptr) {
      cudaGraphDestroy(graph);
    }
    LS_CHECK(enqueued);
    LS_CUDA(ended);
  }
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  LS_CUDA(made);
  graphs_.emplace(key, GraphExec(executable));
  return executable;
}

Step CudaBackend::make_step(const ForwardRequest& request, int position, std::int32_t token) const {
  Step step;
  step.token = token;
  step.position = position;
  step.tier = request.capture.tier;
  step.choosing = choosing(request);
  step.eager = request.eager;
  step.again = request.again;
  if (step.choosing != Choosing::kNot) {
    step.sampling = *request.sampling;
  }
  if (step.tier == Tier::kAttention) {
    step.follow_layer = request.capture.follow_layer;
    step.follow_head = request.capture.follow_head;
    step.rows = arena_->take(row_bytes(position));
  }
  return step;
}

/// Gives the GPU one step. The slot's last user must be done before the host writes its inputs.
Status CudaBackend::begin_step(Step step) {
  step.number = next_step_;
  const std::size_t at = step.number % kStepSlots;
  LS_CUDA(cudaEventSynchronize(step_done_[at].get()));
  StepState& in = reinterpret_cast<StepState*>(step_.data())[at];
  in = {};
  in.token = step.token;
  in.position = step.position;
  if (step.rows != nullptr) {
    in.rows = rows_of(step.rows.get());
    in.row_stride = row_stride(step.position);
  } else if (step.tier != Tier::kOff) {  // statistics need them, nobody keeps them
    in.rows = work_.scores;
    in.row_stride = row_stride(context_ - 1);
  }
  const model::DecoderSpec& spec = model_->spec;
  if (step.follow_layer >= 0 && step.follow_layer < spec.n_layers && step.follow_head >= 0 &&
      step.follow_head < spec.n_heads) {
    in.follow_row = step.follow_layer * spec.n_heads + step.follow_head;
  }
  in.sampling = step_sampling(step.sampling, step.position);
  if (!step.only_logits && !looking_) {
    in.keep = step.again ? 0 : 1;
    LS_CHECK(note_kept(step.tier >= Tier::kAttention, step.position, 1));
    note_stats(!step.again && step.tier != Tier::kOff && summarises_, step.position, 1);
  }
  const Splits splits = splits_for(step.position + 1);
  if (step.eager) {
    LS_CHECK(enqueue_step(splits, std::min(step.tier, Tier::kAttention), step.choosing));
  } else {
    LS_TRY(CUgraphExec_st* const graph, step_graph(splits, step.tier, step.choosing));
    LS_CUDA(cudaGraphLaunch(graph, on_.stream));
  }
  ++next_step_;
  LS_CUDA(cudaEventRecord(step_done_[at].get(), on_.stream));
  logits_position_ = step.position;
  written_ = std::max(written_, step.position + 1);
  steps_.push_back(std::move(step));
  return {};
}

/// Whether a step that was done ahead is what is asked for now.
bool CudaBackend::answers(const Step& step, const ForwardRequest& request) const {
  const Choosing wanted = choosing(request);
  return step.position == request.position && step.token == request.ids[0] &&
         step.tier == request.capture.tier && step.choosing == wanted &&
         step.eager == request.eager &&
         (wanted == Choosing::kNot || step.sampling == *request.sampling);
}

Status CudaBackend::decode(const ForwardRequest& request, std::vector<float>& logits,
                           capture::PassCapture& captured) {
  if (request.stop.stop_requested()) {
    return cancelled_error();
  }
  if (steps_.empty() || !answers(steps_.front(), request)) {
    steps_.clear();
    LS_CHECK(begin_step(make_step(request, request.position, request.ids[0])));
  }
  // Slots hold one step less than there are, so that the oldest results stay until they are read.
  const bool may_go_ahead =
      choosing(request) != Choosing::kNot && request.capture.tier < Tier::kFull;
  const int ahead = may_go_ahead ? std::min(request.ahead, kStepSlots - 2) : 0;
  while (static_cast<int>(steps_.size()) <= ahead && steps_.back().position + 1 < context_) {
    LS_CHECK(begin_step(make_step(request, steps_.back().position + 1, -1)));
  }
  const Step step = std::move(steps_.front());
  steps_.pop_front();
  Status finished = finish_step(step, request, logits, captured);
  if (!finished.ok()) {
    steps_.clear();
  }
  return finished;
}

Status CudaBackend::finish_step(const Step& step, const ForwardRequest& request,
                                std::vector<float>& logits, capture::PassCapture& captured) {
  const model::DecoderSpec& spec = model_->spec;
  const Tier tier = step.tier;
  // While the GPU works.
  captured.reset(request.capture, step.position, 1, spec.n_layers, spec.n_heads,
                 tier == Tier::kFull);
  LS_CUDA(cudaEventSynchronize(step_done_[step.number % kStepSlots].get()));
  const StepResults at = results_layout();
  const std::byte* const results = slot(step.number);
  const auto& summary = *part<RawLogitSummary>(results, at.summary);
  if (step.choosing != Choosing::kNot) {
    *request.chosen =
        chosen_of(step.choosing, summary, *part<kernels::cuda::ChosenToken>(results, at.chosen));
    const std::int32_t next = request.chosen->id;
    if (next < 0) {
      steps_.clear();
    } else if (!steps_.empty()) {
      steps_.front().token = next;
    }
  }
  last_token_ = step.token;
  if (tier != Tier::kOff) {
    finish_stats(part<RawStats>(results, at.stats), 0, true, captured);
    static_assert(sizeof(RawHeadStats) == sizeof(capture::HeadStats) &&
                  std::is_trivially_copyable_v<capture::HeadStats>);
    std::memcpy(static_cast<void*>(captured.heads.data()), results + at.heads,
                size(n_rows()) * sizeof(RawHeadStats));
  }
  if (tier == Tier::kAttention) {
    capture::PooledRows pooled;
    if (drawing_ == nullptr) {
      const auto* cells = part<std::uint8_t>(results, at.pooled);
      pooled = {capture::pooled_width(step.position + 1, bins_), bins_, {}};
      pooled.cells.assign(cells, cells + size(n_rows()) * size(bins_));
      drawn_bytes_ += pooled.cells.size();
    }
    auto rows = std::make_shared<capture::AttentionRows>(step.rows, std::move(pooled));
    if (step.follow_layer >= 0) {
      const auto* row = part<float>(results, drawing_ != nullptr ? at.pooled : at.bytes);
      drawn_bytes_ += (size(step.position) + 1) * sizeof(float);
      rows->set_followed(step.follow_layer, step.follow_head,
                         std::vector<float>(row, row + step.position + 1));
    }
    captured.kept.push_back(std::move(rows));
  }
  if (summarises_ && request.summary != nullptr && finish_summary(summary, *request.summary)) {
    logits.clear();
  } else {
    kv_len_ = step.position + 1;
    LS_CHECK(last_logits(logits));
    if (tier != Tier::kOff && !looking_) {
      note_stats(false, step.position, 1);  // what the host ranks is only there
    }
  }
  return tier == Tier::kFull ? keep_decode_taps(captured) : Status{};
}

}  // namespace layerscope::backend::cuda
