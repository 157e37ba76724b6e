#include "engine/backend/cuda_fault_pass.h"

#include <algorithm>
#include <cstring>

#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

using capture::PassCapture;
using capture::Tap;
using capture::Tier;
using kernels::cuda::FaultHead;
using kernels::cuda::RawHeadStats;
using kernels::cuda::RawStats;
using model::InterventionKind;

namespace {

bool active(const model::Interventions& list, InterventionKind kind, int layer = -1) {
  return model::find(list, kind, layer) != nullptr;
}

}  // namespace

CudaBackend::FaultPass::FaultPass(CudaBackend& backend, const ForwardRequest& request,
                                  PassCapture& captured)
    : self_(backend),
      state_(*backend.faults_),
      spec_(state_.computed->spec),
      request_(request),
      captured_(captured),
      on_{backend.on_.stream, backend.on_.sm_count, false},
      taps_(backend.work_.prefill),
      n_(static_cast<int>(request.ids.size())),
      stages_(backend, state_.weights, spec_, taps_, n_, Stages::Products::kTokens, on_),
      keys_(request.position + n_) {}

Status CudaBackend::FaultPass::run(std::vector<float>& logits) {
  const Work& work = self_.work_;
  const bool summarise = request_.capture.tier != Tier::kOff;
  const std::size_t slots = self_.stats_slots();
  captured_.reset(request_.capture, request_.position, n_, spec_.n_layers, spec_.n_heads);
  LS_CUDA(cudaMemsetAsync(work.stats, 0, size(n_) * slots * sizeof(RawStats), on_.stream));
  LS_CHECK(embed());
  for (int layer = 0; layer < spec_.n_layers; ++layer) {
    if (request_.stop.stop_requested()) {
      return cancelled_error();
    }
    LS_CHECK(attention_block(layer));
    LS_CHECK(ffn_block(layer));
    if (summarise) {
      const kernels::cuda::StatsEntry* entries =
          work.entries + self_.n_decode_entries_ + size(layer) * self_.n_layer_entries_;
      LS_CHECK(launch_row_stats(on_, entries, static_cast<int>(self_.n_layer_entries_), n_,
                                work.stats, static_cast<int>(slots)));
      LS_CHECK(self_.keep_layer_taps(captured_, layer, taps_));
    }
  }
  LS_CHECK(output(logits));
  if (!summarise) {
    return {};
  }
  std::vector<RawStats> raw(size(n_) * slots);
  LS_CHECK(self_.download(raw.data(), work.stats, raw.size() * sizeof(RawStats)));
  for (int token = 0; token < n_; ++token) {
    self_.finish_stats(raw.data() + size(token) * slots, token, false, captured_);
  }
  const int first = n_ - static_cast<int>(logits.size() / size(spec_.vocab_rows));
  for (int token = first; token < n_; ++token) {
    captured_.stats(token, -1, Tap::kLogits) = capture::compute_stats(
        logits.data() + size(token - first) * size(spec_.vocab_rows), size(spec_.vocab_rows));
  }
  return self_.download(captured_.heads.data(), work.heads,
                        captured_.heads.size() * sizeof(RawHeadStats));
}

Status CudaBackend::FaultPass::embed() {
  const Work& work = self_.work_;
  std::vector<std::int32_t> ids;
  for (const std::int32_t id : request_.ids) {
    ids.push_back(embedding_row(state_.list, id, spec_.vocab_rows));
  }
  LS_CUDA(cudaMemcpyAsync(work.ids, ids.data(), ids.size() * sizeof(ids[0]), cudaMemcpyHostToDevice,
                          on_.stream));
  LS_CUDA(cudaMemcpyAsync(work.history + request_.position, work.ids, request_.ids.size_bytes(),
                          cudaMemcpyDeviceToDevice, on_.stream));
  LS_CUDA(cudaMemcpyAsync(work.position, &request_.position, sizeof(request_.position),
                          cudaMemcpyHostToDevice, on_.stream));
  LS_CHECK(launch_embed(on_, state_.weights.embedding, work.ids, n_, taps_.resid_out, work.inv_freq,
                        work.position, spec_.rope_dim, work.cos_sin));
  LS_CHECK(stages_.finish_embedding(taps_.resid_out, work.position,
                                    active(state_.list, InterventionKind::kEmbeddingUnscaled)));
  LS_CHECK(edit(Tap::kEmbedding, -1, taps_.resid_out, spec_.hidden));
  if (request_.capture.tier == Tier::kOff) {
    return {};
  }
  const kernels::cuda::StatsEntry* entry =
      work.entries + self_.n_decode_entries_ + size(spec_.n_layers) * self_.n_layer_entries_;
  LS_CHECK(launch_row_stats(on_, entry, 1, n_, work.stats, static_cast<int>(self_.stats_slots())));
  return self_.keep_full(captured_, Tap::kEmbedding, -1, {n_, spec_.hidden}, taps_.resid_out);
}

/// Fetches a stage's rows, changes them as on the CPU, and puts them back.
Status CudaBackend::FaultPass::edit(Tap which, int layer, float* values, int width) {
  if (!edits_rows(state_.list, which, layer)) {
    return {};
  }
  host_.resize(size(n_) * size(width));
  const std::size_t bytes = host_.size() * sizeof(float);
  LS_CHECK(self_.download(host_.data(), values, bytes));
  edit_rows(state_.list, spec_, {}, which, layer, host_, size(n_));
  LS_CUDA(cudaMemcpyAsync(values, host_.data(), bytes, cudaMemcpyHostToDevice, on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  return {};
}

/// out = residual + what the block gave, or the residual alone.
Status CudaBackend::FaultPass::add(Tap block, int layer, const float* residual, float* out) {
  LS_CHECK(
      edit(block, layer, block == Tap::kAttnOut ? taps_.attn_out : taps_.ffn_out, spec_.hidden));
  LS_CHECK(stages_.post_norm(block, layer));
  if (!skips_addition(state_.list, block, layer)) {
    return stages_.add(block, residual, out);
  }
  LS_CUDA(cudaMemcpyAsync(out, residual, size(n_) * size(spec_.hidden) * sizeof(float),
                          cudaMemcpyDeviceToDevice, on_.stream));
  return {};
}

Status CudaBackend::FaultPass::attention_block(int layer) {
  const LayerTaps& t = taps_;
  LS_CHECK(stages_.project(layer, t.resid_out));
  if (!active(state_.list, InterventionKind::kQkNormOff, layer)) {
    LS_CHECK(stages_.norm_queries_and_keys(layer, false));
  }
  LS_CHECK(rotate(layer, t.q, spec_.n_heads, true, t.q_rope));
  LS_CHECK(rotate(layer, t.k, spec_.n_kv_heads, false, t.k_rope));
  LS_CHECK(store(layer));
  LS_CHECK(attend(layer));
  LS_CHECK(edit(Tap::kAttnContext, layer, t.context, spec_.q_width()));
  LS_CHECK(stages_.project_out(layer));
  return add(Tap::kAttnOut, layer, t.resid_out, t.resid_mid);
}

Status CudaBackend::FaultPass::rotate(int layer, const float* in, int n_heads, bool is_query,
                                      float* out) {
  std::vector<std::uint8_t> modes;
  double base = 0.0;
  for (int h = 0; h < n_heads; ++h) {
    const RotationPlan plan = rotation_plan(state_.list, layer, is_query ? h : -1);
    modes.push_back(
        static_cast<std::uint8_t>((plan.off ? kernels::cuda::kRotateNot : 0) |
                                  (plan.twice ? kernels::cuda::kRotateTwice : 0) |
                                  (plan.other_pairing ? kernels::cuda::kRotateOtherPairs : 0) |
                                  (plan.base > 0.0 ? kernels::cuda::kRotateOtherAngles : 0)));
    base = std::max(base, plan.base);
  }
  LS_CUDA(cudaMemcpyAsync(state_.modes, modes.data(), modes.size(), cudaMemcpyHostToDevice,
                          on_.stream));
  if (base > 0.0) {
    const std::vector<double> inv_freq = wrong_frequencies(spec_, layer, base);
    std::vector<float> angles(size(n_) * size(spec_.rope_dim));
    for (int t = 0; t < n_; ++t) {
      kernels::rope_angles(request_.position + t, inv_freq.data(), inv_freq.size(),
                           angles.data() + size(t) * size(spec_.rope_dim), spec_.rope_factor);
    }
    LS_CUDA(cudaMemcpyAsync(state_.other_angles, angles.data(), angles.size() * sizeof(float),
                            cudaMemcpyHostToDevice, on_.stream));
    LS_CUDA(cudaStreamSynchronize(on_.stream));
  }
  kernels::cuda::FaultRotation rotation;
  rotation.in = in;
  rotation.out = out;
  rotation.n = n_;
  rotation.n_heads = n_heads;
  rotation.head_dim = spec_.head_dim;
  rotation.rope = self_.rope_of(layer);
  rotation.cos_sin = self_.cos_sin(layer);
  rotation.other = state_.other_angles;
  rotation.modes = state_.modes;
  return launch_fault_rotation(on_, rotation);
}

Status CudaBackend::FaultPass::write_slot(int layer, std::size_t token, int slot) {
  const std::size_t row = token * size(spec_.kv_width());
  return launch_write_slot(
      on_, {self_.heads_, self_.layer_cache(layer), taps_.k_rope + row, taps_.v + row, -1, slot});
}

Status CudaBackend::FaultPass::store(int layer) {
  const kernels::cuda::LayerCache cache = self_.layer_cache(layer);
  LS_CHECK(launch_store_queries(on_, self_.heads_, cache, taps_.q_rope, request_.position, n_));
  for (int t = 0; t < n_; ++t) {
    const int own = request_.position + t;
    const StorePlan plan =
        store_plan(state_.list, layer, own, self_.context_, n_ == 1 && own > 0, state_.stuck_slot);
    if (plan.clear >= 0) {
      LS_CHECK(launch_write_slot(on_, {self_.heads_, cache, nullptr, nullptr, -1, plan.clear}));
    }
    if (plan.copy_from >= 0) {
      LS_CHECK(
          launch_write_slot(on_, {self_.heads_, cache, nullptr, nullptr, plan.copy_from, own}));
    }
    if (plan.write >= 0) {
      LS_CHECK(write_slot(layer, size(t), plan.write));
    }
    written_late_ = plan.late;
  }
  return {};
}

Status CudaBackend::FaultPass::attend(int layer) {
  std::vector<FaultHead> heads;
  for (int h = 0; h < spec_.n_heads; ++h) {
    const HeadPlan plan = head_plan(state_.list, spec_, layer, h);
    const bool windowed = spec_.layer_windowed(layer) && !plan.ignores_window;
    heads.push_back({plan.scale, plan.kv_head, plan.sees_all ? 1 : 0, plan.unnormalised ? 1 : 0,
                     plan.half_scores ? 1 : 0, plan.cap, windowed ? spec_.window : 0});
  }
  LS_CUDA(cudaMemcpyAsync(state_.per_head, heads.data(), heads.size() * sizeof(FaultHead),
                          cudaMemcpyHostToDevice, on_.stream));
  float* scores = self_.full_attention(captured_, Tap::kAttnScores, layer, keys_, -INFINITY);
  float* weights = self_.full_attention(captured_, Tap::kAttnWeights, layer, keys_, 0.0F);
  kernels::cuda::FaultAttention stage;
  stage.heads = self_.heads_;
  stage.cache = self_.layer_cache(layer);
  stage.per_head = state_.per_head;
  stage.keys = keys_;
  stage.scores = state_.scores;
  stage.weights = state_.attention;
  for (int t = 0; t < n_; ++t) {
    const std::size_t row = size(t) * size(spec_.q_width());
    stage.q = taps_.q_rope + row;
    stage.out = taps_.context + row;
    stage.own = request_.position + t + 1;
    stage.stats =
        self_.work_.heads + (size(t) * size(spec_.n_layers) + size(layer)) * size(spec_.n_heads);
    LS_CHECK(launch_fault_attention(on_, stage));
    LS_CHECK(keep_rows(layer, size(t), scores, weights));
  }
  return written_late_ ? write_slot(layer, 0, request_.position) : Status{};
}

/// One token's rows to where the capture wants them: `scores` and `weights` are whole tensors
/// [heads, n, keys] or null.
Status CudaBackend::FaultPass::keep_rows(int layer, std::size_t token, float* scores,
                                         float* weights) {
  const std::size_t keys = size(keys_);
  const auto fetch = [&](const float* from) {
    host_.resize(size(spec_.n_heads) * keys);
    return self_.download(host_.data(), from, host_.size() * sizeof(float));
  };
  const auto spread = [&](float* whole) {
    for (std::size_t h = 0; whole != nullptr && h < size(spec_.n_heads); ++h) {
      std::copy_n(host_.data() + h * keys, keys, whole + (h * size(n_) + token) * keys);
    }
  };
  if (scores != nullptr) {
    LS_CHECK(fetch(state_.scores));
    spread(scores);
  }
  if (request_.capture.tier < Tier::kAttention) {
    return {};
  }
  LS_CHECK(fetch(state_.attention));
  spread(weights);
  const std::size_t own = size(request_.position) + token + 1;  // what a causal row shows
  float* rows = captured_.attention[token].data() + size(layer) * size(spec_.n_heads) * own;
  for (std::size_t h = 0; h < size(spec_.n_heads); ++h) {
    std::copy_n(host_.data() + h * keys, own, rows + h * own);
  }
  return {};
}

Status CudaBackend::FaultPass::ffn_block(int layer) {
  const LayerTaps& t = taps_;
  LS_CHECK(
      stages_.feed_forward(layer, t.resid_out,
                           {active(state_.list, InterventionKind::kRouteShifted, layer),
                            active(state_.list, InterventionKind::kRouteUnnormalised, layer)}));
  return add(Tap::kFfnOut, layer, t.resid_mid, t.resid_out);
}

/// Final norm and head of the last token or of all; the logits always come to the host.
Status CudaBackend::FaultPass::output(std::vector<float>& logits) {
  const Work& work = self_.work_;
  const int first = request_.all_logits ? 0 : n_ - 1;
  const int rows = n_ - first;
  const std::size_t vocab = size(spec_.vocab_rows);
  LS_CHECK(stages_.final_norm(taps_.resid_out + size(first) * size(spec_.hidden), rows,
                              work.final_norm));
  if (request_.capture.tier != Tier::kOff) {
    const std::size_t slots = self_.stats_slots();
    const kernels::cuda::StatsEntry* entry =
        work.entries + self_.n_decode_entries_ + size(spec_.n_layers) * self_.n_layer_entries_ + 1;
    LS_CHECK(launch_row_stats(on_, entry, 1, rows, work.stats + size(first) * slots,
                              static_cast<int>(slots)));
    LS_CHECK(
        self_.keep_full(captured_, Tap::kFinalNorm, -1, {rows, spec_.hidden}, work.final_norm));
  }
  logits.resize(size(rows) * vocab);
  for (int r = 0; r < rows; ++r) {
    LS_CHECK(stages_.logits(work.final_norm + size(r) * size(spec_.hidden), 1, work.logits,
                            !active(state_.list, InterventionKind::kLogitCapOff)));
    LS_CHECK(self_.download(logits.data() + size(r) * vocab, work.logits, vocab * sizeof(float)));
  }
  if (edits_rows(state_.list, Tap::kLogits, -1)) {
    edit_rows(state_.list, spec_, self_.model_->usable_rows(), Tap::kLogits, -1, logits,
              size(rows));
    LS_CUDA(cudaMemcpyAsync(work.logits, logits.data() + size(rows - 1) * vocab,
                            vocab * sizeof(float), cudaMemcpyHostToDevice, on_.stream));
    LS_CUDA(cudaStreamSynchronize(on_.stream));
  }
  self_.logits_position_ = keys_ - 1;
  self_.last_token_ = request_.ids.back();
  if (captured_.request.wants_full(Tap::kLogits, -1)) {
    captured_.tensors.push_back({Tap::kLogits, -1, {rows, spec_.vocab_rows}, logits});
  }
  return {};
}

Status CudaBackend::forward_with_faults(const ForwardRequest& request, std::vector<float>& logits,
                                        PassCapture& captured) {
  return FaultPass(*this, request, captured).run(logits);
}

}  // namespace layerscope::backend::cuda
