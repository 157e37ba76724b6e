// Faults come and go: edited tensors to the device, and the work space of the fault pass.
#include <algorithm>

#include "engine/backend/cuda_fault_pass.h"
#include "engine/backend/size.h"

namespace layerscope::backend::cuda {
namespace {

/// Puts what an edited model has in place of the file's tensors. Float32 holds every type exactly.
class Replacer {
 public:
  Replacer(std::vector<DeviceBuffer>& replaced, cudaStream_t stream)
      : replaced_(replaced), stream_(stream) {}

  Status matrix(const kernels::Matrix& file, const kernels::Matrix& edited, DeviceMatrix& on) {
    if (file.data == edited.data && file.dtype == edited.dtype) {
      return {};
    }
    LS_TRY(on, room(edited.rows, edited.cols));
    return fill(edited, on, 0);
  }

  /// The stack of all experts' matrices, where one of them is edited.
  Status stack(const std::vector<model::ExpertWeights>& file,
               const std::vector<model::ExpertWeights>& edited,
               kernels::Matrix model::ExpertWeights::*which, DeviceMatrix& on) {
    bool same = true;
    for (std::size_t e = 0; e < file.size(); ++e) {
      same = same && (file[e].*which).data == (edited[e].*which).data &&
             (file[e].*which).dtype == (edited[e].*which).dtype;
    }
    if (same) {
      return {};
    }
    const kernels::Matrix& first = edited.front().*which;
    LS_TRY(on, room(edited.size() * first.rows, first.cols));
    for (std::size_t e = 0; e < edited.size(); ++e) {
      LS_CHECK(fill(edited[e].*which, on, e * first.rows));
    }
    return {};
  }

  Result<DeviceMatrix> room(std::size_t rows, std::size_t cols) {
    DeviceMatrix to;
    to.dtype = DType::kF32;
    to.rows = static_cast<int>(rows);
    to.cols = static_cast<int>(cols);
    to.stride = kernels::cuda::padded_cols(DType::kF32, to.cols);
    LS_TRY(DeviceBuffer buffer,
           DeviceBuffer::create(kernels::cuda::plane_bytes(DType::kF32, to.rows, to.cols)));
    to.data = buffer.data();
    replaced_.push_back(std::move(buffer));
    return to;
  }

  /// `edited` to the rows of `to` from `at` on.
  Status fill(const kernels::Matrix& edited, const DeviceMatrix& to, std::size_t at) {
    auto* target = static_cast<float*>(const_cast<void*>(to.data));
    constexpr std::size_t kPiece = std::size_t{4} << 20U;  // floats on the host at a time
    const std::size_t stride = size(to.stride);
    const std::size_t at_once = std::max<std::size_t>(1, kPiece / stride);
    for (std::size_t first = 0; first < edited.rows; first += at_once) {
      const std::size_t n = std::min(at_once, edited.rows - first);
      std::vector<float> rows(n * stride, 0.0F);
      for (std::size_t r = 0; r < n; ++r) {
        kernels::dequantize_row(edited.dtype, edited.row(first + r), edited.cols,
                                rows.data() + r * stride);
      }
      LS_CHECK(send(target + (at + first) * stride, rows));
    }
    return {};
  }

  Status vector(const std::vector<float>& file, const std::vector<float>& edited,
                const float*& on) {
    if (file == edited) {
      return {};
    }
    if (edited.empty()) {
      on = nullptr;
      return {};
    }
    LS_TRY(DeviceBuffer buffer, DeviceBuffer::create(edited.size() * sizeof(float)));
    LS_CHECK(send(static_cast<float*>(buffer.data()), edited));
    on = static_cast<const float*>(buffer.data());
    replaced_.push_back(std::move(buffer));
    return {};
  }

  Status layer(const model::LayerWeights& file, const model::LayerWeights& edited,
               DeviceLayer& on) {
    LS_CHECK(matrix(file.q, edited.q, on.qkv[0]));
    LS_CHECK(matrix(file.k, edited.k, on.qkv[1]));
    LS_CHECK(matrix(file.v, edited.v, on.qkv[2]));
    LS_CHECK(vector(file.q_bias, edited.q_bias, on.qkv_bias[0]));
    LS_CHECK(vector(file.k_bias, edited.k_bias, on.qkv_bias[1]));
    LS_CHECK(vector(file.v_bias, edited.v_bias, on.qkv_bias[2]));
    LS_CHECK(matrix(file.out, edited.out, on.out));
    LS_CHECK(vector(file.out_bias, edited.out_bias, on.out_bias));
    LS_CHECK(matrix(file.gate, edited.gate, on.gate));
    LS_CHECK(matrix(file.up, edited.up, on.up));
    LS_CHECK(matrix(file.down, edited.down, on.down));
    LS_CHECK(matrix(file.router, edited.router, on.router));
    using E = model::ExpertWeights;
    LS_CHECK(stack(file.experts, edited.experts, &E::gate, on.expert_gate));
    LS_CHECK(stack(file.experts, edited.experts, &E::up, on.expert_up));
    LS_CHECK(stack(file.experts, edited.experts, &E::down, on.expert_down));
    return vectors(file, edited, on);
  }

  Status vectors(const model::LayerWeights& file, const model::LayerWeights& edited,
                 DeviceLayer& on) {
    using W = model::LayerWeights;
    const struct {
      std::vector<float> W::*host;
      const float*& device;
    } list[] = {{&W::gate_bias, on.gate_bias},
                {&W::up_bias, on.up_bias},
                {&W::down_bias, on.down_bias},
                {&W::attn_norm, on.attn_norm},
                {&W::attn_norm_bias, on.attn_norm_bias},
                {&W::attn_norm_2, on.attn_norm_2},
                {&W::attn_norm_2_bias, on.attn_norm_2_bias},
                {&W::q_norm, on.q_norm},
                {&W::k_norm, on.k_norm},
                {&W::ffn_norm, on.ffn_norm},
                {&W::ffn_norm_bias, on.ffn_norm_bias},
                {&W::post_attn_norm, on.post_attn_norm},
                {&W::post_ffn_norm, on.post_ffn_norm}};
    for (const auto& item : list) {
      LS_CHECK(vector(file.*item.host, edited.*item.host, item.device));
    }
    return {};
  }

  Status all(const model::Weights& file, const model::Weights& edited, DeviceWeights& on) {
    LS_CHECK(matrix(file.embedding, edited.embedding, on.embedding));
    if (edited.head.data == edited.embedding.data) {
      on.head = on.embedding;
    } else {
      LS_CHECK(matrix(file.head, edited.head, on.head));
    }
    LS_CHECK(matrix(file.positions, edited.positions, on.positions));
    LS_CHECK(vector(file.head_bias, edited.head_bias, on.head_bias));
    LS_CHECK(vector(file.output_norm, edited.output_norm, on.output_norm));
    LS_CHECK(vector(file.output_norm_bias, edited.output_norm_bias, on.output_norm_bias));
    for (std::size_t i = 0; i < file.layers.size(); ++i) {
      LS_CHECK(layer(file.layers[i], edited.layers[i], on.layers[i]));
    }
    return {};
  }

 private:
  Status send(float* to, const std::vector<float>& values) {
    LS_CUDA(cudaMemcpyAsync(to, values.data(), values.size() * sizeof(float),
                            cudaMemcpyHostToDevice, stream_));
    LS_CUDA(cudaStreamSynchronize(stream_));
    return {};
  }

  std::vector<DeviceBuffer>& replaced_;
  cudaStream_t stream_;
};

}  // namespace

void CudaBackend::place_fault_space(Planner& planner, FaultState& state) const {
  const model::DecoderSpec& spec = model_->spec;
  state.other_angles = planner.take<float>(size(batch_) * size(std::max(2, spec.rope_dim)));
  state.scores = planner.take<float>(size(spec.n_heads) * size(context_));
  state.attention = planner.take<float>(size(spec.n_heads) * size(context_));
  state.modes = planner.take<std::uint8_t>(size(spec.n_heads));
  state.per_head = planner.take<kernels::cuda::FaultHead>(size(spec.n_heads));
}

Status CudaBackend::set_interventions(const model::Interventions& list) {
  LS_TRY(auto computed, model::edit_model(model_, list));
  auto state = std::make_unique<FaultState>();
  std::copy_if(list.begin(), list.end(), std::back_inserter(state->list), [](const auto& item) {
    return model::obeyed_by(item.kind) == model::Obeyed::kForward;
  });
  if (state->list.empty() && computed == model_) {
    faults_.reset();
    return {};
  }
  state->computed = std::move(computed);
  state->weights = weights_;
  Replacer replacer(state->replaced, on_.stream);
  LS_CHECK(replacer.all(model_->weights, state->computed->weights, state->weights));
  Planner measure;
  place_fault_space(measure, *state);
  LS_TRY(state->memory, DeviceBuffer::create(measure.used()));
  Planner planner(state->memory.data());
  place_fault_space(planner, *state);
  LS_CUDA(cudaMemsetAsync(state->memory.data(), 0, state->memory.bytes(), on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  faults_ = std::move(state);
  return {};
}

}  // namespace layerscope::backend::cuda
