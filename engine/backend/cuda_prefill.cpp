// Many tokens: products on cuBLAS, row-wise kernels between them, attention in chunks of queries so
// that the scores take bounded memory whatever the length.
#include <algorithm>
#include <cstring>

#include "engine/backend/cuda_stages.h"
#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

using capture::PassCapture;
using capture::Tap;
using capture::Tier;
using kernels::cuda::RawStats;

Status CudaBackend::prefill(const ForwardRequest& request, std::vector<float>& logits,
                            PassCapture& captured) {
  const model::DecoderSpec& spec = model_->spec;
  const int n = static_cast<int>(request.ids.size());
  const bool summarise = request.capture.tier != Tier::kOff;
  const std::size_t slots = stats_slots();
  std::jthread sizing = reset_capture(request, captured);
  LS_CHECK(place_pass_rows(captured));
  const kernels::cuda::StatsEntry* layer_entries = work_.entries + n_decode_entries_;
  const kernels::cuda::StatsEntry* wide_entries =
      layer_entries + size(spec.n_layers) * n_layer_entries_;
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  const LayerTaps& t = work_.prefill;

  LS_CUDA(cudaMemcpyAsync(work_.ids, request.ids.data(), request.ids.size_bytes(),
                          cudaMemcpyHostToDevice, on.stream));
  LS_CUDA(cudaMemcpyAsync(work_.history + request.position, work_.ids, request.ids.size_bytes(),
                          cudaMemcpyDeviceToDevice, on.stream));
  LS_CUDA(cudaMemcpyAsync(work_.position, &request.position, sizeof(request.position),
                          cudaMemcpyHostToDevice, on.stream));
  LS_CHECK(launch_embed(on, weights_.embedding, work_.ids, n, t.resid_out, work_.inv_freq,
                        work_.position, spec.rope_dim, work_.cos_sin));
  Stages ends(*this, weights_, spec, t, n, Stages::Products::kBatch, on);
  LS_CHECK(ends.finish_embedding(t.resid_out, work_.position));
  if (summarise) {
    LS_CUDA(cudaMemsetAsync(work_.stats, 0, size(n) * slots * sizeof(RawStats), on.stream));
    LS_CHECK(launch_row_stats(on, wide_entries, 1, n, work_.stats, static_cast<int>(slots)));
    LS_CHECK(keep_full(captured, Tap::kEmbedding, -1, {n, spec.hidden}, t.resid_out));
  }
  const int per_group = summarise ? group_layers(n) : 1;
  Group group;
  Group before;
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    if (request.stop.stop_requested()) {
      LS_CUDA(cudaStreamSynchronize(copy_stream_.get()));  // the next pass uses its buffer
      return cancelled_error();
    }
    LS_CHECK(prefill_attention_block(layer, request, t.resid_out, captured));
    LS_CHECK(prefill_ffn_block(layer, n));
    if (summarise) {
      LS_CHECK(launch_row_stats(on, layer_entries + size(layer) * n_layer_entries_,
                                static_cast<int>(n_layer_entries_), n, work_.stats,
                                static_cast<int>(slots)));
      LS_CHECK(keep_layer_taps(captured, layer, t));
      ++group.n;
      // Few layers in the last group: nothing hides its delivery.
      constexpr int kLast = 2;
      const int left = spec.n_layers - layer - 1;
      if (group.n == per_group || left == kLast || left == 0) {
        LS_CHECK(send_group(group, captured));
        if (before.n > 0 && sizing.joinable()) {
          sizing.join();
        }
        LS_CHECK(take_group(before, captured));
        before = group;
        group = {layer + 1, 0, 1 - group.turn};
      }
    }
  }
  LS_CHECK(prefill_logits(request, logits, captured));
  if (sizing.joinable()) {
    sizing.join();
  }
  LS_CHECK(take_group(before, captured));
  LS_CHECK(note_kept(request.capture.tier == Tier::kAttention, request.position, n));
  if (summarise) {
    LS_CHECK(finish_prefill(captured));
  }
  return keep_prefill_stats(request, logits.empty());
}

Status CudaBackend::prefill_attention_block(int layer, const ForwardRequest& request,
                                            const float* x, PassCapture& captured) {
  const model::DecoderSpec& spec = model_->spec;
  const int n = captured.n_tokens;
  const DeviceLayer& w = weights_.layers[size(layer)];
  const LayerTaps& t = work_.prefill;
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  if (!fused_.all()) {
    Stages stages(*this, weights_, spec, t, n, Stages::Products::kBatch, on);
    LS_CHECK(stages.project(layer, x));
    LS_CHECK(stages.norm_queries_and_keys(layer, true));
    LS_CHECK(stages.append(layer, nullptr, request.position));
    LS_CHECK(prefill_attend(layer, request, captured));
    LS_CHECK(stages.project_out(layer));
    LS_CHECK(stages.post_norm(Tap::kAttnOut, layer));
    return stages.add(Tap::kAttnOut, x, t.resid_mid);
  }
  LS_CHECK(norm_for_product(x, w.attn_norm, n, w.qkv[0], t.attn_norm));
  kernels::cuda::AppendStage append;
  append.raw[0] = t.q;
  append.raw[1] = t.k;
  append.raw[2] = t.v;
  for (std::size_t i = 0; i < 3; ++i) {
    LS_CHECK(gemm_->product(w.qkv[i], append.raw[i]));
    append.bias[i] = w.qkv_bias[i];
  }
  append.row_scale = gemm_->row_scale();
  append.rotated[0] = t.q_rope;
  append.rotated[1] = t.k_rope;
  append.cos_sin = cos_sin(layer);
  append.rope = rope_of(layer);
  append.heads = heads_;
  append.cache = layer_cache(layer);
  append.position = request.position;
  append.n = n;
  LS_CHECK(launch_append(on, append));
  LS_CHECK(prefill_attend(layer, request, captured));
  LS_CHECK(gemm_->set_input(t.context, n, w.out));
  LS_CHECK(gemm_->product(w.out, t.attn_out));
  return launch_add_block(on, t.attn_out, gemm_->row_scale(), w.out_bias, x, t.resid_mid, n,
                          spec.hidden);
}

Status CudaBackend::prefill_attend(int layer, const ForwardRequest& request,
                                   PassCapture& captured) {
  const model::DecoderSpec& spec = model_->spec;
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  const LayerTaps& t = work_.prefill;
  const Tier tier = request.capture.tier;
  const int n = captured.n_tokens;
  const int keys_all = request.position + n;
  const int per_kv = spec.heads_per_kv();
  const kernels::cuda::LayerCache cache = layer_cache(layer);
  const auto* keys = static_cast<const float*>(cache.keys);
  const auto* values = static_cast<const float*>(cache.values);
  std::ptrdiff_t kv_batch = static_cast<std::ptrdiff_t>(context_) * heads_.head_stride;
  const bool pairs = kernels::cuda::takes_pairs(heads_);
  if (!float32_ && !pairs) {
    LS_CHECK(launch_cache_to_f32(on, cache.keys, heads_, keys_all, work_.keys_f32));
    LS_CHECK(launch_cache_to_f32(on, cache.values, heads_, keys_all, work_.values_f32));
    keys = work_.keys_f32;
    values = work_.values_f32;
    kv_batch = static_cast<std::ptrdiff_t>(keys_all) * heads_.head_stride;
  }
  // As few and as large products as the layout allows.
  const bool by_kv = spec.n_kv_heads > per_kv;
  const int products = by_kv ? per_kv : spec.n_kv_heads;
  const std::ptrdiff_t q_step = static_cast<std::ptrdiff_t>(per_kv) * spec.head_dim;
  float* full_scores = full_attention(captured, Tap::kAttnScores, layer, keys_all, -INFINITY);
  float* full_weights = full_attention(captured, Tap::kAttnWeights, layer, keys_all, 0.0F);
  const std::size_t room =
      std::min(kScoreFloats, size(spec.n_heads) * size(batch_) * size(context_));
  const std::size_t widest = size(spec.n_heads) * size(kernels::cuda::pair_stride(keys_all));
  const int chunk = static_cast<int>(std::clamp<std::size_t>(room / widest, 1, size(n)));
  for (int begin = 0; begin < n; begin += chunk) {
    const int rows = std::min(chunk, n - begin);
    const int n_keys = request.position + begin + rows;
    const int stride = kernels::cuda::pair_stride(n_keys);
    const kernels::cuda::PairStage pair = pair_stage(layer, begin, rows, n_keys);
    kernels::cuda::Gemm::Batched scores;
    scores.x_stride = spec.q_width();
    scores.x_batch = by_kv ? q_step : spec.head_dim;
    scores.w_batch = by_kv ? kv_batch : 0;
    scores.w_stride = heads_.head_stride;
    scores.out_stride = stride;
    const std::ptrdiff_t head_scores = static_cast<std::ptrdiff_t>(rows) * stride;
    scores.out_batch = by_kv ? per_kv * head_scores : head_scores;
    scores.m = rows;
    scores.n = n_keys;
    scores.k = spec.head_dim;
    scores.batch = by_kv ? spec.n_kv_heads : per_kv;
    scores.alpha = spec.attention_scale;
    kernels::cuda::Gemm::Batched sums;
    sums.x_stride = stride;
    sums.x_batch = scores.out_batch;
    sums.w_stride = heads_.head_stride;
    sums.w_transposed = true;
    sums.out_stride = spec.q_width();
    sums.out_batch = scores.x_batch;
    sums.w_batch = scores.w_batch;
    sums.m = rows;
    sums.n = spec.head_dim;
    sums.k = n_keys;
    sums.batch = scores.batch;
    const std::size_t first_value = size(begin) * size(spec.q_width());
    // Product i is of KV head i, or of the i-th query head of every KV head.
    const auto q_offset = [&](int i) {
      return static_cast<std::ptrdiff_t>(first_value) + i * (by_kv ? spec.head_dim : q_step);
    };
    const auto score_offset = [&](int i) {
      return std::ptrdiff_t{i} * (by_kv ? 1 : per_kv) * head_scores;
    };
    if (pairs) {
      LS_CHECK(launch_prepare_pairs(on, pair));
      LS_CHECK(pair_scores(*gemm_, pair, spec.attention_scale));
    }
    for (int i = 0; i < products && !pairs; ++i) {
      scores.x = t.q_rope + q_offset(i);
      scores.w = keys + (by_kv ? 0 : i * kv_batch);
      scores.out = work_.prefill_scores + score_offset(i);
      LS_CHECK(gemm_->batched(scores));
    }
    if (const kernels::cuda::ScoreRules rules = rules_of(layer); rules.any()) {
      LS_CHECK(launch_rule_scores(on, work_.prefill_scores, spec.n_heads, rows, stride,
                                  request.position + begin, rules));
    }
    if (full_scores != nullptr) {
      LS_CHECK(launch_mask(on, work_.prefill_scores, spec.n_heads, rows, stride,
                           request.position + begin));
      LS_CHECK(keep_rows(full_scores, rows, n_keys, stride, begin, n, keys_all));
    }
    const bool short_rows = pairs && stride <= kernels::cuda::kMaxPairKeys;
    const bool split = short_rows && tier < Tier::kFull;  // nobody wants the probabilities
    if (short_rows) {
      LS_CHECK(launch_pair_softmax(on, pair, request.position + begin, split,
                                   softmax_capture(layer, begin, tier)));
    } else {
      LS_CHECK(launch_softmax(on, work_.prefill_scores, spec.n_heads, rows, stride,
                              request.position + begin, softmax_capture(layer, begin, tier)));
    }
    if (full_weights != nullptr) {
      LS_CHECK(keep_rows(full_weights, rows, n_keys, stride, begin, n, keys_all));
    }
    if (tier == Tier::kFull) {
      LS_CHECK(keep_attention(layer, begin, rows, stride, captured));
    }
    if (pairs) {  // the probabilities are gone after it
      LS_CHECK(pair_sums(on, *gemm_, pair, split));
    }
    for (int i = 0; i < products && !pairs; ++i) {
      sums.x = work_.prefill_scores + score_offset(i);
      sums.w = values + (by_kv ? 0 : i * kv_batch);
      sums.out = t.context + q_offset(i);
      LS_CHECK(gemm_->batched(sums));
    }
  }
  return {};
}

kernels::cuda::PairStage CudaBackend::pair_stage(int layer, int begin, int rows, int n_keys) const {
  const std::size_t first = size(begin) * size(model_->spec.q_width());
  kernels::cuda::PairStage s;
  s.heads = heads_;
  s.cache = layer_cache(layer);
  s.q = work_.prefill.q_rope + first;
  s.n = rows;
  s.n_keys = n_keys;
  s.scores = work_.prefill_scores;
  s.score_stride = kernels::cuda::pair_stride(n_keys);
  s.out = work_.prefill.context + first;
  s.q_pair = work_.q_pair;
  s.value_pair = work_.value_pair;
  s.pointers = work_.pair_pointers;
  return s;
}

float* CudaBackend::full_attention(PassCapture& captured, Tap tap, int layer, int keys,
                                   float fill) const {
  if (!captured.request.wants_full(tap, layer)) {
    return nullptr;
  }
  const std::int64_t heads = model_->spec.n_heads;
  captured.tensors.push_back(
      {tap,
       layer,
       {heads, captured.n_tokens, keys},
       std::vector<float>(size(model_->spec.n_heads) * size(captured.n_tokens) * size(keys),
                          fill)});
  return captured.tensors.back().values.data();
}

/// Rows [begin, begin + rows) of every head into a whole [heads, n, keys_all] tensor.
Status CudaBackend::keep_rows(float* whole, int rows, int n_keys, int stride, int begin, int n,
                              int keys_all) const {
  host_rows_.resize(size(model_->spec.n_heads) * size(rows) * size(stride));
  LS_CHECK(download(host_rows_.data(), work_.prefill_scores, host_rows_.size() * sizeof(float)));
  for (std::size_t h = 0; h < size(model_->spec.n_heads); ++h) {
    for (std::size_t r = 0; r < size(rows); ++r) {
      std::memcpy(whole + (h * size(n) + size(begin) + r) * size(keys_all),
                  host_rows_.data() + (h * size(rows) + r) * size(stride),
                  size(n_keys) * sizeof(float));
    }
  }
  return {};
}

/// As PassCapture::reset, but memory for the statistics (22 MB for 512 tokens of Llama-3-8B) is
/// taken by another thread while the GPU begins; it is there when the thread has been joined. The
/// rows of the full tier are made by several threads.
std::jthread CudaBackend::reset_capture(const ForwardRequest& request, PassCapture& captured) {
  const model::DecoderSpec& spec = model_->spec;
  const int n = static_cast<int>(request.ids.size());
  const Tier tier = request.capture.tier;
  std::vector<capture::TapStats> taps = std::move(captured.taps);
  std::vector<capture::HeadStats> heads = std::move(captured.heads);
  captured.reset({}, request.position, n, spec.n_layers, spec.n_heads);
  captured.request = request.capture;
  if (tier == Tier::kOff) {
    return {};
  }
  captured.taps = std::move(taps);
  captured.heads = std::move(heads);
  if (tier == Tier::kFull) {
    captured.attention.resize(size(n));
    pool_.run_ranges(size(n), 8, [&](std::size_t begin, std::size_t end) {
      for (std::size_t t = begin; t < end; ++t) {
        captured.attention[t].resize(size(n_rows()) * (size(request.position) + t + 1));
      }
    });
  }
  return std::jthread(
      [&captured, n_taps = size(n) * stats_slots(), n_heads = size(n) * size(n_rows())] {
        captured.taps.resize(n_taps);
        captured.heads.resize(n_heads);
      });
}

/// Probabilities of a chunk of queries to the rows of their tokens: as many heads at a time as half
/// of the page-locked buffer holds, the copy of one part running while the other is spread.
Status CudaBackend::keep_attention(int layer, int begin, int rows, int stride,
                                   PassCapture& captured) {
  const std::size_t heads = size(model_->spec.n_heads);
  const std::size_t head_floats = size(rows) * size(stride);
  const std::size_t half = bounce_.bytes() / 2 / sizeof(float);
  const std::size_t heads_at_once = std::min(heads, half / head_floats);
  if (heads_at_once == 0) {
    return keep_attention_whole(layer, begin, rows, stride, captured);
  }
  auto* buffer = reinterpret_cast<float*>(bounce_.data());
  const auto fetch = [&](std::size_t first, std::size_t turn) -> Status {
    const std::size_t n = std::min(heads_at_once, heads - first);
    LS_CUDA(cudaMemcpyAsync(buffer + turn * half, work_.prefill_scores + first * head_floats,
                            n * head_floats * sizeof(float), cudaMemcpyDeviceToHost, on_.stream));
    return {};
  };
  LS_CHECK(fetch(0, 0));
  std::size_t turn = 0;
  for (std::size_t first = 0; first < heads; first += heads_at_once, turn = 1 - turn) {
    LS_CUDA(cudaStreamSynchronize(on_.stream));
    if (first + heads_at_once < heads) {
      LS_CHECK(fetch(first + heads_at_once, 1 - turn));
    }
    const std::size_t n = std::min(heads_at_once, heads - first);
    const float* from = buffer + turn * half;
    pool_.run_ranges(size(rows), 8, [&](std::size_t row_begin, std::size_t row_end) {
      for (std::size_t r = row_begin; r < row_end; ++r) {
        const std::size_t seen = size(captured.first_position + begin) + r + 1;
        float* out =
            captured.attention[size(begin) + r].data() + (size(layer) * heads + first) * seen;
        for (std::size_t h = 0; h < n; ++h) {
          std::memcpy(out + h * seen, from + (h * size(rows) + r) * size(stride),
                      seen * sizeof(float));
        }
      }
    });
  }
  return {};
}

Status CudaBackend::keep_attention_whole(int layer, int begin, int rows, int stride,
                                         PassCapture& captured) const {
  const std::size_t heads = size(model_->spec.n_heads);
  host_rows_.resize(heads * size(rows) * size(stride));
  LS_CHECK(download(host_rows_.data(), work_.prefill_scores, host_rows_.size() * sizeof(float)));
  for (std::size_t r = 0; r < size(rows); ++r) {
    const std::size_t seen = size(captured.first_position + begin) + r + 1;
    float* out = captured.attention[size(begin) + r].data() + size(layer) * heads * seen;
    for (std::size_t h = 0; h < heads; ++h) {
      std::memcpy(out + h * seen, host_rows_.data() + (h * size(rows) + r) * size(stride),
                  seen * sizeof(float));
    }
  }
  return {};
}

/// out = rms_norm(x), ready to be multiplied with matrices like `like`.
Status CudaBackend::norm_for_product(const float* x, const float* weight, int n,
                                     const kernels::cuda::DeviceMatrix& like, float* out) {
  const model::DecoderSpec& spec = model_->spec;
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  if (gemm_->takes_f16(like) && kernels::cuda::takes_f16_rows(spec.hidden)) {
    LS_CHECK(launch_rms_norm_f16(on, x, weight, n, spec.hidden, spec.norm_eps, out,
                                 gemm_->f16_rows(like)));
    gemm_->x_is_converted(out, n);
    return {};
  }
  LS_CHECK(launch_rms_norm(on, x, weight, n, spec.hidden, spec.norm_eps, out));
  return gemm_->set_input(out, n, like);
}

Status CudaBackend::prefill_ffn_block(int layer, int n) {
  const model::DecoderSpec& spec = model_->spec;
  const DeviceLayer& w = weights_.layers[size(layer)];
  const LayerTaps& t = work_.prefill;
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  if (!fused_.all()) {
    Stages stages(*this, weights_, spec, t, n, Stages::Products::kBatch, on);
    LS_CHECK(stages.feed_forward(layer, t.resid_out, {}));  // still holds what entered the layer
    LS_CHECK(stages.post_norm(Tap::kFfnOut, layer));
    return stages.add(Tap::kFfnOut, t.resid_mid, t.resid_out);
  }
  const float* in =
      spec.parallel ? t.resid_out : t.resid_mid;  // what entered the layer, or the sum
  LS_CHECK(norm_for_product(in, w.ffn_norm, n, w.gate, t.ffn_norm));
  LS_CHECK(gemm_->product(w.gate, t.gate));
  LS_CHECK(gemm_->product(w.up, t.up));
  if (gemm_->takes_f16(w.down) && kernels::cuda::takes_f16_rows(spec.ffn)) {
    LS_CHECK(launch_swiglu_f16(on, t.gate, t.up, t.act, n, spec.ffn, gemm_->f16_rows(w.down)));
    gemm_->x_is_converted(t.act, n);
  } else {
    LS_CHECK(launch_swiglu(on, t.gate, t.up, gemm_->row_scale(), t.act, n, spec.ffn));
    LS_CHECK(gemm_->set_input(t.act, n, w.down));
  }
  LS_CHECK(gemm_->product(w.down, t.ffn_out));
  return launch_add_block(on, t.ffn_out, gemm_->row_scale(), w.down_bias, t.resid_mid, t.resid_out,
                          n, spec.hidden);
}

Status CudaBackend::prefill_logits(const ForwardRequest& request, std::vector<float>& logits,
                                   PassCapture& captured) {
  const model::DecoderSpec& spec = model_->spec;
  const int n = captured.n_tokens;
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  const bool summarise = request.capture.tier != Tier::kOff;
  const int slots = static_cast<int>(stats_slots());
  const std::size_t vocab = size(spec.vocab_rows);
  const kernels::cuda::StatsEntry* wide =
      work_.entries + n_decode_entries_ + size(spec.n_layers) * n_layer_entries_;
  const int first = request.all_logits ? 0 : n - 1;
  const int rows = n - first;
  const float* x = work_.prefill.resid_out + size(first) * size(spec.hidden);
  if (rows > 1) {
    logits.resize(size(rows) * vocab);
  }
  // One row is multiplied as a decode step does it.
  Stages ends(*this, weights_, spec, work_.prefill, n,
              rows == 1 ? Stages::Products::kTokens : Stages::Products::kBatch, on);
  if (rows == 1 && fused_.head) {
    LS_CHECK(launch_head(on, {weights_.head, weights_.output_norm, spec.norm_eps, x,
                              work_.final_norm, work_.logits}));
    LS_CHECK(ends.finish_logits(work_.logits, 1));
  } else {
    LS_CHECK(ends.final_norm(x, rows, work_.final_norm));
    if (rows == 1) {
      LS_CHECK(ends.logits(work_.final_norm, 1, work_.logits));
    }
  }
  RawStats* stats = work_.stats + size(first) * stats_slots();
  if (summarise) {
    LS_CHECK(launch_row_stats(on, wide + 1, 1, rows, stats, slots));
    LS_CHECK(keep_full(captured, Tap::kFinalNorm, -1, {rows, spec.hidden}, work_.final_norm));
  }
  for (int begin = 0; begin < rows; begin += logit_rows_) {
    const int count = std::min(logit_rows_, rows - begin);
    if (rows > 1) {
      LS_CHECK(
          ends.logits(work_.final_norm + size(begin) * size(spec.hidden), count, work_.logits));
    }
    if (summarise) {
      LS_CHECK(
          launch_row_stats(on, wide + 2, 1, count, stats + size(begin) * stats_slots(), slots));
    }
    if (rows > 1) {
      LS_CHECK(download(logits.data() + size(begin) * vocab, work_.logits,
                        size(count) * vocab * sizeof(float)));
    }
  }
  if (rows == 1) {
    LS_CHECK(deliver_logits(request, logits));
    return keep_full(captured, Tap::kLogits, -1, {1, spec.vocab_rows}, work_.logits);
  }
  if (captured.request.wants_full(Tap::kLogits, -1)) {
    captured.tensors.push_back({Tap::kLogits, -1, {rows, spec.vocab_rows}, logits});
  }
  return {};
}

}  // namespace layerscope::backend::cuda
