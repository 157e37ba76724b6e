// What the stages left in device memory, brought into a PassCapture.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/backend/cuda_backend.h"
#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

using capture::PassCapture;
using capture::Tap;
using kernels::cuda::RawStats;
using kernels::cuda::StatsEntry;

namespace {

constexpr int kLogitPiece = 8192;  ///< Logits are summarised by several blocks.

struct TapRow {
  Tap tap;
  const float* values;
  std::vector<std::int64_t> shape;  ///< of one token
};

/// The taps that a layer of this spec has and that are rows, in order of computation.
std::vector<TapRow> layer_rows(const model::DecoderSpec& s, const LayerTaps& t) {
  const bool routed = s.n_experts > 0;
  const std::vector<std::int64_t> ffn = routed ? std::vector<std::int64_t>{s.n_experts_used, s.ffn}
                                               : std::vector<std::int64_t>{s.ffn};
  std::vector<TapRow> rows;
  const auto add = [&rows](bool there, Tap tap, const float* values,
                           std::vector<std::int64_t> shape) {
    if (there) {
      rows.push_back({tap, values, std::move(shape)});
    }
  };
  add(s.pre_norm, Tap::kAttnNorm, t.attn_norm, {s.hidden});
  add(true, Tap::kQ, t.q, {s.n_heads, s.head_dim});
  add(true, Tap::kK, t.k, {s.n_kv_heads, s.head_dim});
  add(true, Tap::kV, t.v, {s.n_kv_heads, s.head_dim});
  add(true, Tap::kQRope, t.q_rope, {s.n_heads, s.head_dim});
  add(true, Tap::kKRope, t.k_rope, {s.n_kv_heads, s.head_dim});
  add(true, Tap::kAttnContext, t.context, {s.n_heads, s.head_dim});
  add(true, Tap::kAttnOut, t.attn_out, {s.hidden});
  add(s.post_norm, Tap::kAttnPostNorm, t.attn_post, {s.hidden});
  add(true, Tap::kResidMid, t.resid_mid, {s.hidden});
  add(s.has_ffn_norm() || s.second_attn_norm, Tap::kFfnNorm, t.ffn_norm, {s.hidden});
  add(routed, Tap::kMoeRouter, t.router, {s.n_experts});
  add(routed, Tap::kMoeTopk, t.topk, {s.n_experts_used});
  add(routed, Tap::kMoeWeights, t.shares, {s.n_experts_used});
  add(s.gated, Tap::kFfnGate, t.gate, ffn);
  add(true, Tap::kFfnUp, t.up, ffn);
  add(true, Tap::kFfnAct, t.act, ffn);
  add(true, Tap::kFfnOut, t.ffn_out, {s.hidden});
  add(s.post_norm, Tap::kFfnPostNorm, t.ffn_post, {s.hidden});
  add(true, Tap::kResidOut, t.resid_out, {s.hidden});
  return rows;
}

std::int64_t row_width(const std::vector<std::int64_t>& shape) {
  std::int64_t width = 1;
  for (const std::int64_t dim : shape) {
    width *= dim;
  }
  return width;
}

/// Moments of a whole row from those of its pieces.
capture::TapStats finish(const RawStats* pieces, std::size_t n) {
  RawStats all;
  for (std::size_t i = 0; i < n; ++i) {
    all.sum += pieces[i].sum;
    all.sum_squares += pieces[i].sum_squares;
    all.absmax = std::max(all.absmax, pieces[i].absmax);
    all.non_finite += pieces[i].non_finite;
    all.zeros += pieces[i].zeros;
    all.count += pieces[i].count;
  }
  capture::TapStats stats;
  const std::uint32_t finite = all.count - all.non_finite;
  stats.l2 = static_cast<float>(std::sqrt(all.sum_squares));
  stats.absmax = all.absmax;
  stats.mean = finite > 0 ? static_cast<float>(all.sum / finite) : 0.0F;
  stats.count = all.count;
  stats.non_finite = all.non_finite;
  stats.zeros = all.zeros;
  return stats;
}

}  // namespace

std::size_t CudaBackend::stats_slots() const {
  return size(model_->spec.n_layers + 1) * capture::kNumTaps;
}

/// `layer` −1: model-wide.
std::int32_t CudaBackend::stats_slot(int layer, Tap tap) const {
  const int row = layer < 0 ? model_->spec.n_layers : layer;
  return static_cast<std::int32_t>(size(row) * capture::kNumTaps + static_cast<std::size_t>(tap));
}

/// The taps of a layer that are summarised, in order of computation.
std::vector<Tap> CudaBackend::stat_taps() const {
  std::vector<Tap> taps;
  for (const TapRow& row : layer_rows(model_->spec, work_.prefill)) {
    taps.push_back(row.tap);
  }
  return taps;
}

int CudaBackend::logit_pieces() const {
  return (model_->spec.vocab_rows + kLogitPiece - 1) / kLogitPiece;
}

// The table of rows to summarise: all of a decode step; then each layer of a prefill pass; then,
// for prefill, embedding, final norm and logits.
Status CudaBackend::make_entries() {
  const model::DecoderSpec& spec = model_->spec;
  const auto slot = [this](int layer, Tap tap) { return stats_slot(layer, tap); };
  std::vector<StatsEntry> entries;
  const auto add_layer = [&](int layer, const LayerTaps& taps) {
    for (const TapRow& row : layer_rows(spec, taps)) {
      entries.push_back(
          {row.values, static_cast<std::int32_t>(row_width(row.shape)), slot(layer, row.tap)});
    }
  };
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    add_layer(layer, work_.decode[size(layer)]);
  }
  entries.push_back({work_.embedding, spec.hidden, slot(-1, Tap::kEmbedding)});
  entries.push_back({work_.final_norm, spec.hidden, slot(-1, Tap::kFinalNorm)});
  for (int piece = 0; piece < logit_pieces(); ++piece) {
    const int begin = piece * kLogitPiece;
    entries.push_back({work_.logits + begin, std::min(kLogitPiece, spec.vocab_rows - begin),
                       static_cast<std::int32_t>(stats_slots()) + piece});
  }
  n_decode_entries_ = entries.size();
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    add_layer(layer, work_.prefill);
  }
  n_layer_entries_ = (entries.size() - n_decode_entries_) / size(std::max(1, spec.n_layers));
  entries.push_back({work_.prefill.resid_out, spec.hidden, slot(-1, Tap::kEmbedding)});
  entries.push_back({work_.final_norm, spec.hidden, slot(-1, Tap::kFinalNorm)});
  entries.push_back({work_.logits, spec.vocab_rows, slot(-1, Tap::kLogits)});
  LS_CUDA(cudaMemcpyAsync(work_.entries, entries.data(), entries.size() * sizeof(StatsEntry),
                          cudaMemcpyHostToDevice, on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  return {};
}

// Two halves of the page-locked buffer in turn, so that copying out of one hides behind filling the
// other; large ones are copied out by several threads.
Status CudaBackend::download(void* to, const void* from, std::size_t bytes) const {
  constexpr std::size_t kSmall = std::size_t{512} << 10U;
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  const std::size_t piece = std::min(bounce_.bytes() / 2, std::max(kSmall, bytes / 4));
  const auto fetch = [&](std::size_t at, std::size_t turn) -> Status {
    LS_CUDA(cudaMemcpyAsync(bounce_.data() + turn * (bounce_.bytes() / 2), source + at,
                            std::min(piece, bytes - at), cudaMemcpyDeviceToHost, on_.stream));
    return {};
  };
  if (bytes > 0) {
    LS_CHECK(fetch(0, 0));
  }
  std::size_t turn = 0;
  for (std::size_t at = 0; at < bytes; at += piece, turn = 1 - turn) {
    LS_CUDA(cudaStreamSynchronize(on_.stream));
    if (at + piece < bytes) {
      LS_CHECK(fetch(at + piece, 1 - turn));
    }
    const std::size_t n = std::min(piece, bytes - at);
    const std::byte* buffer = bounce_.data() + turn * (bounce_.bytes() / 2);
    if (n <= kSmall) {
      std::memcpy(target + at, buffer, n);
      continue;
    }
    pool_.run_ranges(n, kSmall / 2, [&](std::size_t begin, std::size_t end) {
      std::memcpy(target + at + begin, buffer + begin, end - begin);
    });
  }
  return {};
}

Status CudaBackend::keep_full(PassCapture& captured, Tap tap, int layer,
                              std::vector<std::int64_t> shape, const float* from) const {
  if (!captured.request.wants_full(tap, layer)) {
    return {};
  }
  const auto n = static_cast<std::size_t>(row_width(shape));
  captured.tensors.push_back({tap, layer, std::move(shape), std::vector<float>(n)});
  return download(captured.tensors.back().values.data(), from, n * sizeof(float));
}

Status CudaBackend::keep_layer_taps(PassCapture& captured, int layer, const LayerTaps& taps) const {
  for (TapRow& row : layer_rows(model_->spec, taps)) {
    row.shape.insert(row.shape.begin(), captured.n_tokens);
    LS_CHECK(keep_full(captured, row.tap, layer, std::move(row.shape), row.values));
  }
  return {};
}

Status CudaBackend::keep_decode_taps(PassCapture& captured) const {
  const model::DecoderSpec& spec = model_->spec;
  const int kv_len = captured.first_position + 1;
  const std::size_t layer_floats = size(spec.n_heads) * size(kv_len);
  LS_CHECK(keep_decode_rows(captured));
  LS_CHECK(keep_full(captured, Tap::kEmbedding, -1, {1, spec.hidden}, work_.embedding));
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_CHECK(keep_layer_taps(captured, layer, work_.decode[size(layer)]));
    if (captured.request.wants_full(Tap::kAttnWeights, layer)) {
      const float* rows = captured.attention[0].data() + size(layer) * layer_floats;
      captured.tensors.push_back({Tap::kAttnWeights,
                                  layer,
                                  {spec.n_heads, 1, kv_len},
                                  std::vector<float>(rows, rows + layer_floats)});
    }
    if (captured.request.wants_full(Tap::kAttnScores, layer)) {
      // Rows of scores are a whole context apart.
      const std::size_t stride = size(row_stride(context_ - 1));
      std::vector<float> scores(layer_floats);
      for (std::size_t h = 0; h < size(spec.n_heads); ++h) {
        LS_CHECK(download(scores.data() + h * size(kv_len),
                          work_.scores + (size(layer) * size(spec.n_heads) + h) * stride,
                          size(kv_len) * sizeof(float)));
      }
      captured.tensors.push_back(
          {Tap::kAttnScores, layer, {spec.n_heads, 1, kv_len}, std::move(scores)});
    }
  }
  LS_CHECK(keep_full(captured, Tap::kFinalNorm, -1, {1, spec.hidden}, work_.final_norm));
  return keep_full(captured, Tap::kLogits, -1, {1, spec.vocab_rows}, work_.logits);
}

void CudaBackend::finish_stats(const RawStats* raw, int token, bool pieces,
                               PassCapture& captured) const {
  const std::size_t slots = stats_slots();
  capture::TapStats* out = captured.taps.data() + size(token) * slots;
  for (std::size_t i = 0; i < slots; ++i) {
    if (raw[i].count > 0) {
      out[i] = finish(raw + i, 1);
    }
  }
  if (pieces) {
    captured.stats(token, -1, Tap::kLogits) = finish(raw + slots, size(logit_pieces()));
  }
}

}  // namespace layerscope::backend::cuda
