#include "engine/backend/cuda_stages.h"

#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

using capture::Tap;

Status CudaBackend::Stages::finish_embedding(float* x, const std::int32_t* position, bool bare) {
  const bool learned = spec_.learned_positions;
  if (!bare && (learned || spec_.embedding_scale != 1.0F)) {
    LS_CHECK(launch_finish_embedding(on_, x, n_, spec_.hidden, spec_.embedding_scale,
                                     learned ? weights_.positions : DeviceMatrix{}, position));
  }
  if (spec_.rope_factor != 1.0 && spec_.rope_dim > 0) {
    LS_CHECK(launch_rope_angles(on_, self_.work_.inv_freq, position, n_, spec_.rope_dim,
                                spec_.rope_factor, self_.work_.cos_sin));
  }
  if (weights_.inv_freq_windowed != nullptr) {
    return launch_rope_angles(on_, weights_.inv_freq_windowed, position, n_, spec_.rope_dim,
                              spec_.rope_factor, self_.work_.cos_sin_windowed);
  }
  return {};
}

/// Several products of the same rows.
Status CudaBackend::Stages::products(std::initializer_list<Part> parts, const float* x, int rows) {
  const Work& work = self_.work_;
  const DeviceMatrix* like = nullptr;
  for (const Part& part : parts) {
    if (batch_) {
      if (like == nullptr || like->dtype != part.w.dtype) {
        LS_CHECK(self_.gemm_->set_input(x, rows, part.w));
        like = &part.w;
      }
      LS_CHECK(self_.gemm_->product(part.w, part.out));
      LS_CHECK(launch_finish_rows(on_, part.out, self_.gemm_->row_scale(), part.bias, rows,
                                  part.w.rows));
      continue;
    }
    for (int t = 0; t < rows; ++t) {
      LS_CHECK(launch_project(on_, {part.w, part.bias, x + size(t) * size(part.w.cols), work.zeros,
                                    part.out + size(t) * size(part.w.rows), work.sink}));
    }
  }
  return {};
}

Status CudaBackend::Stages::norm(const float* x, const float* weight, const float* bias, int rows,
                                 float* out) {
  return launch_norm_rows(on_, {x, weight, bias, out, rows, spec_.hidden, 1, spec_.norm_eps,
                                spec_.norm_kind == model::NormKind::kLayer});
}

Status CudaBackend::Stages::norm_heads(float* x, const float* weight, int heads) {
  kernels::cuda::NormRows rows;
  const bool whole = spec_.qk_norm == model::QkNorm::kWhole;
  rows.x = rows.out = x;
  rows.weight = weight;
  rows.n_rows = whole ? n_ : n_ * heads;
  rows.width = whole ? heads * spec_.head_dim : spec_.head_dim;
  rows.weight_rows = spec_.qk_norm == model::QkNorm::kOwnHead ? heads : 1;
  rows.eps = spec_.norm_eps;
  rows.centred = spec_.qk_norm_kind == model::NormKind::kLayer;
  return launch_norm_rows(on_, rows);
}

Status CudaBackend::Stages::project(int layer, const float* x) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  const float* in = x;
  if (spec_.pre_norm) {
    const bool second = spec_.second_attn_norm;
    LS_CHECK(norm(x, second ? w.attn_norm_2 : w.attn_norm,
                  second ? w.attn_norm_2_bias : w.attn_norm_bias, n_, taps_.attn_norm));
    in = taps_.attn_norm;
  }
  return products({{w.qkv[0], w.qkv_bias[0], taps_.q},
                   {w.qkv[1], w.qkv_bias[1], taps_.k},
                   {w.qkv[2], w.qkv_bias[2], taps_.v}},
                  in, n_);
}

Status CudaBackend::Stages::norm_queries_and_keys(int layer, bool whole_rows_only) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  if (spec_.qk_norm == model::QkNorm::kNone ||
      (whole_rows_only && spec_.qk_norm != model::QkNorm::kWhole)) {
    return {};
  }
  LS_CHECK(norm_heads(taps_.q, w.q_norm, spec_.n_heads));
  return norm_heads(taps_.k, w.k_norm, spec_.n_kv_heads);
}

Status CudaBackend::Stages::append(int layer, const kernels::cuda::StepState* state, int position) {
  kernels::cuda::AppendStage append;
  append.raw[0] = taps_.q;
  append.raw[1] = taps_.k;
  append.raw[2] = taps_.v;
  append.rotated[0] = taps_.q_rope;
  append.rotated[1] = taps_.k_rope;
  append.cos_sin = self_.cos_sin(layer);
  append.rope = self_.rope_of(layer);
  append.heads = self_.heads_;
  append.cache = self_.layer_cache(layer);
  append.position = position;
  append.n = n_;
  append.state = state;
  if (spec_.qk_norm == model::QkNorm::kHead || spec_.qk_norm == model::QkNorm::kOwnHead) {
    const DeviceLayer& w = weights_.layers[size(layer)];
    append.norm[0] = w.q_norm;
    append.norm[1] = w.k_norm;
    append.norm_own_head = spec_.qk_norm == model::QkNorm::kOwnHead;
    append.norm_centred = spec_.qk_norm_kind == model::NormKind::kLayer;
    append.norm_eps = spec_.norm_eps;
  }
  return launch_append(on_, append);
}

Status CudaBackend::Stages::project_out(int layer) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  return products({{w.out, w.out_bias, taps_.attn_out}}, taps_.context, n_);
}

Status CudaBackend::Stages::post_norm(Tap block, int layer) {
  if (!spec_.post_norm) {
    return {};
  }
  const DeviceLayer& w = weights_.layers[size(layer)];
  return block == Tap::kAttnOut
             ? norm(taps_.attn_out, w.post_attn_norm, nullptr, n_, taps_.attn_post)
             : norm(taps_.ffn_out, w.post_ffn_norm, nullptr, n_, taps_.ffn_post);
}

Status CudaBackend::Stages::add(Tap block, const float* residual, float* out) {
  const float* given = block == Tap::kAttnOut ? (spec_.post_norm ? taps_.attn_post : taps_.attn_out)
                                              : (spec_.post_norm ? taps_.ffn_post : taps_.ffn_out);
  return launch_add_rows(on_, residual, given, out, size(n_) * size(spec_.hidden));
}

Status CudaBackend::Stages::feed_forward(int layer, const float* x, const Routing& routing) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  const float* stream = spec_.parallel ? x : taps_.resid_mid;
  const float* in = spec_.pre_norm ? taps_.attn_norm : stream;  // the shared norm, or none
  if (spec_.has_ffn_norm()) {
    LS_CHECK(norm(stream, w.ffn_norm, w.ffn_norm_bias, n_, taps_.ffn_norm));
    in = taps_.ffn_norm;
  } else if (spec_.second_attn_norm) {
    LS_CHECK(norm(stream, w.attn_norm, w.attn_norm_bias, n_, taps_.ffn_norm));
    in = taps_.ffn_norm;
  }
  return spec_.n_experts > 0 ? experts(layer, in, routing) : dense(layer, in);
}

Status CudaBackend::Stages::dense(int layer, const float* in) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  const std::size_t count = size(n_) * size(spec_.ffn);
  if (spec_.gated) {
    LS_CHECK(products({{w.gate, w.gate_bias, taps_.gate}, {w.up, w.up_bias, taps_.up}}, in, n_));
    LS_CHECK(launch_activate(on_, spec_.activation, taps_.gate, taps_.up, taps_.act, count));
  } else {
    LS_CHECK(products({{w.up, w.up_bias, taps_.up}}, in, n_));
    LS_CHECK(launch_activate(on_, spec_.activation, taps_.up, nullptr, taps_.act, count));
  }
  return project_down(layer);
}

Status CudaBackend::Stages::project_down(int layer) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  return products({{w.down, w.down_bias, taps_.ffn_out}}, taps_.act, n_);
}

Status CudaBackend::Stages::final_norm(const float* x, int rows, float* out) {
  return norm(x, weights_.output_norm, weights_.output_norm_bias, rows, out);
}

Status CudaBackend::Stages::logits(const float* normed, int rows, float* out, bool cap) {
  LS_CHECK(products({{weights_.head, weights_.head_bias, out}}, normed, rows));
  return finish_logits(out, rows, cap);
}

Status CudaBackend::Stages::finish_logits(float* values, int rows, bool cap) {
  const float limit = cap ? spec_.logit_cap : 0.0F;
  if (spec_.logit_scale == 1.0F && limit <= 0.0F) {
    return {};
  }
  return launch_finish_logits(on_, values, size(rows) * size(spec_.vocab_rows), spec_.logit_scale,
                              limit);
}

}  // namespace layerscope::backend::cuda
