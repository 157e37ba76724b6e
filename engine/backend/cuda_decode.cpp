// One token: five fused stages per layer, captured once per number of splits and tier into a CUDA
// graph that reads token and position from device memory.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "engine/backend/cuda_backend.h"

namespace layerscope::backend::cuda {

using capture::Tier;
using kernels::cuda::RawHeadStats;
using kernels::cuda::RawStats;

namespace {

std::size_t size(int a) { return static_cast<std::size_t>(a); }

constexpr std::size_t kStateBytes = 256;

/// Where the results of a step stand in the page-locked buffer.
struct StepResults {
  kernels::cuda::StepState* state;
  float* logits;
  RawStats* stats;
  RawHeadStats* heads;
  kernels::cuda::RawLogitSummary* summary;
};
StepResults find_results(std::byte* base, std::size_t slots, std::size_t head_rows) {
  StepResults r{};
  r.state = reinterpret_cast<kernels::cuda::StepState*>(base);
  r.summary = reinterpret_cast<kernels::cuda::RawLogitSummary*>(base + kStateBytes);
  r.stats = reinterpret_cast<RawStats*>(r.summary + 1);
  r.heads = reinterpret_cast<RawHeadStats*>(r.stats + slots);
  r.logits = reinterpret_cast<float*>(r.heads + head_rows);
  return r;
}

}  // namespace

Status CudaBackend::enqueue_layer(int layer, const Splits& splits) {
  const model::DecoderSpec& spec = model_->spec;
  const DeviceLayer& w = weights_.layers[size(layer)];
  const LayerTaps& t = work_.decode[size(layer)];
  const float* x = layer == 0 ? work_.embedding : work_.decode[size(layer) - 1].resid_out;
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
  qkv.cos_sin = work_.cos_sin;
  qkv.rope = rope_;
  qkv.heads = heads_;
  qkv.cache = layer_cache(layer);
  qkv.state = work_.state;
  LS_CHECK(launch_qkv(on_, qkv));

  const std::size_t first_row = size(layer) * size(spec.n_heads);
  kernels::cuda::AttentionStage attention;
  attention.heads = heads_;
  attention.cache = qkv.cache;
  attention.q = t.q_rope;
  attention.scale = spec.attention_scale;
  attention.scores = work_.scores + first_row * size(context_);
  attention.lse = work_.lse + first_row;
  attention.out = t.context;
  attention.parts = work_.parts;
  attention.arrived = work_.arrived;
  attention.chunk = splits.chunk;
  attention.n_splits = splits.n;
  attention.state = work_.state;
  LS_CHECK(launch_attention_decode(on_, attention));

  LS_CHECK(launch_project(on_, {w.out, w.out_bias, t.context, x, t.attn_out, t.resid_mid}));
  LS_CHECK(launch_gate_up(on_, {w.gate, w.up, w.ffn_norm, spec.norm_eps, t.resid_mid, t.ffn_norm,
                                t.gate, t.up, t.act}));
  return launch_project(on_, {w.down, nullptr, t.act, t.resid_mid, t.ffn_out, t.resid_out});
}

Status CudaBackend::enqueue_step(const Splits& splits, Tier tier) {
  const model::DecoderSpec& spec = model_->spec;
  const std::size_t slots = stats_slots() + size(logit_pieces());
  const int n_rows = spec.n_layers * spec.n_heads;
  const StepResults host = find_results(step_.data(), slots, size(n_rows));
  LS_CUDA(cudaMemcpyAsync(work_.state, host.state, sizeof(kernels::cuda::StepState),
                          cudaMemcpyHostToDevice, on_.stream));
  kernels::cuda::Launch first = on_;
  first.overlap = false;  // what comes before it is a copy
  LS_CHECK(launch_embed(first, weights_.embedding, &work_.state->token, 1, work_.embedding,
                        weights_.inv_freq, &work_.state->position, spec.rope_dim, work_.cos_sin));
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_CHECK(enqueue_layer(layer, splits));
  }
  LS_CHECK(launch_head(on_, {weights_.head, weights_.output_norm, spec.norm_eps,
                             work_.decode.back().resid_out, work_.final_norm, work_.logits}));
  if (tier != Tier::kOff) {
    LS_CHECK(launch_row_stats(on_, work_.entries, static_cast<int>(n_decode_entries_), 1,
                              work_.stats, static_cast<int>(slots)));
    LS_CHECK(launch_attention_rows(on_, work_.scores, work_.lse, n_rows, context_, work_.state,
                                   tier >= Tier::kAttention ? work_.probs : nullptr, work_.heads));
    LS_CUDA(cudaMemcpyAsync(host.stats, work_.stats, slots * sizeof(RawStats),
                            cudaMemcpyDeviceToHost, on_.stream));
    LS_CUDA(cudaMemcpyAsync(host.heads, work_.heads, size(n_rows) * sizeof(RawHeadStats),
                            cudaMemcpyDeviceToHost, on_.stream));
  }
  if (summarises_) {
    LS_CHECK(launch_logit_summary(on_, work_.logits, work_.usable, spec.vocab_rows,
                                  work_.logit_parts, work_.logit_summary));
    LS_CUDA(cudaMemcpyAsync(host.summary, work_.logit_summary, sizeof(*host.summary),
                            cudaMemcpyDeviceToHost, on_.stream));
  }
  return {};
}

Result<cudaGraphExec_t> CudaBackend::step_graph(const Splits& splits, Tier tier) {
  const Tier kind = std::min(tier, Tier::kAttention);
  const std::pair<int, int> key{splits.n * splits.chunk, static_cast<int>(kind)};
  if (const auto it = graphs_.find(key); it != graphs_.end()) {
    return it->second.get();
  }
  LS_CUDA(cudaStreamBeginCapture(on_.stream, cudaStreamCaptureModeThreadLocal));
  const Status enqueued = enqueue_step(splits, kind);
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

Status CudaBackend::decode(const ForwardRequest& request, std::vector<float>& logits,
                           capture::PassCapture& captured) {
  if (request.stop.stop_requested()) {
    return cancelled_error();
  }
  const model::DecoderSpec& spec = model_->spec;
  const std::size_t slots = stats_slots() + size(logit_pieces());
  const std::size_t n_rows = size(spec.n_layers) * size(spec.n_heads);
  const StepResults host = find_results(step_.data(), slots, n_rows);
  const int kv_len = request.position + 1;
  const Tier tier = request.capture.tier;
  *host.state = {request.ids[0], request.position};
  if (request.eager) {
    LS_CHECK(enqueue_step(splits_for(kv_len), std::min(tier, Tier::kAttention)));
  } else {
    LS_TRY(cudaGraphExec_t const graph, step_graph(splits_for(kv_len), tier));
    LS_CUDA(cudaGraphLaunch(graph, on_.stream));
  }
  // While the GPU works: the system clears the pages of the new row here, once.
  captured.reset(request.capture, request.position, 1, spec.n_layers, spec.n_heads);
  if (tier >= Tier::kAttention) {
    LS_CHECK(
        download(captured.attention[0].data(), work_.probs, n_rows * size(kv_len) * sizeof(float)));
  }
  const bool summarised = summarises_ && request.summary != nullptr;
  if (!summarised) {
    LS_CUDA(cudaMemcpyAsync(host.logits, work_.logits, size(spec.vocab_rows) * sizeof(float),
                            cudaMemcpyDeviceToHost, on_.stream));
  }
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  if (!summarised) {
    logits.assign(host.logits, host.logits + spec.vocab_rows);
  } else if (finish_summary(*host.summary, *request.summary)) {
    logits.clear();
  } else {
    LS_CHECK(last_logits(logits));
  }
  if (tier == Tier::kOff) {
    return {};
  }
  finish_stats(host.stats, 0, true, captured);
  static_assert(sizeof(RawHeadStats) == sizeof(capture::HeadStats) &&
                std::is_trivially_copyable_v<capture::HeadStats>);
  std::memcpy(static_cast<void*>(captured.heads.data()), host.heads, n_rows * sizeof(RawHeadStats));
  if (tier == Tier::kFull) {
    return keep_decode_taps(captured);
  }
  return {};
}

}  // namespace layerscope::backend::cuda
