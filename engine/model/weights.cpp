#include "engine/model/weights.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <string_view>

namespace layerscope::model {
namespace {

using format::ModelFile;
using format::TensorInfo;

/// Binds tensors by name and remembers which ones were used.
class Binder {
 public:
  explicit Binder(const ModelFile& file) : file_(file) {}

  [[nodiscard]] bool has(const std::string& name) const {
    return file_.find_tensor(name) != nullptr;
  }

  Result<kernels::Matrix> matrix(const std::string& name, int rows, int cols) {
    LS_TRY(const TensorInfo* const tensor,
           find(name, {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)}));
    const std::size_t alignment = tensor->dtype == DType::kF32 ? 4 : 2;
    if (reinterpret_cast<std::uintptr_t>(tensor->data.data()) % alignment != 0) {
      return invalid_input(
          fmt::format("{}: tensor '{}' starts at offset {}, which is not aligned to "
                      "its elements; rewrite the file with general.alignment 32",
                      file_.path, name, tensor->offset));
    }
    return kernels::Matrix{tensor->dtype, tensor->data.data(), static_cast<std::size_t>(rows),
                           static_cast<std::size_t>(cols)};
  }

  Result<std::vector<float>> vector(const std::string& name, int n) {
    LS_TRY(const TensorInfo* const tensor, find(name, {static_cast<std::uint64_t>(n)}));
    return format::decode_values(*tensor, 0, tensor->n_elements);
  }

  /// An optional vector: empty when the file has none.
  Result<std::vector<float>> vector_if_present(const std::string& name, int n) {
    if (!has(name)) {
      return std::vector<float>{};
    }
    return vector(name, n);
  }

  [[nodiscard]] std::vector<std::string> unread() const {
    std::vector<std::string> names;
    for (const TensorInfo& tensor : file_.tensors) {
      if (!used_.contains(tensor.name)) {
        names.push_back(tensor.name);
      }
    }
    return names;
  }

 private:
  Result<const TensorInfo*> find(const std::string& name, const std::vector<std::uint64_t>& shape) {
    const TensorInfo* tensor = file_.find_tensor(name);
    if (tensor == nullptr) {
      return invalid_input(fmt::format("{}: tensor '{}' is missing", file_.path, name));
    }
    if (tensor->shape != shape) {
      return invalid_input(fmt::format("{}: tensor '{}' has shape {} but the metadata ask for {}",
                                       file_.path, name, format::shape_text(tensor->shape),
                                       format::shape_text(shape)));
    }
    const DTypeInfo& info = dtype_info(tensor->dtype);
    if (!info.decodable) {
      return invalid_input(
          fmt::format("{}: tensor '{}' is of type {}, which Layerscope cannot compute with; "
                      "convert it to one of the usual types, such as Q8_0 or Q4_K",
                      file_.path, name, info.name));
    }
    used_.insert(tensor->name);
    return tensor;
  }

  const ModelFile& file_;
  std::set<std::string_view> used_;
};

Result<LayerWeights> bind_layer(Binder& binder, const DecoderSpec& spec, int layer) {
  const auto name = [layer](std::string_view role) {
    return fmt::format("blk.{}.{}", layer, role);
  };
  LayerWeights w;
  LS_TRY(w.attn_norm, binder.vector(name("attn_norm.weight"), spec.hidden));
  LS_TRY(w.q, binder.matrix(name("attn_q.weight"), spec.q_width(), spec.hidden));
  LS_TRY(w.k, binder.matrix(name("attn_k.weight"), spec.kv_width(), spec.hidden));
  LS_TRY(w.v, binder.matrix(name("attn_v.weight"), spec.kv_width(), spec.hidden));
  if (spec.needs_qkv_bias) {
    LS_TRY(w.q_bias, binder.vector(name("attn_q.bias"), spec.q_width()));
    LS_TRY(w.k_bias, binder.vector(name("attn_k.bias"), spec.kv_width()));
    LS_TRY(w.v_bias, binder.vector(name("attn_v.bias"), spec.kv_width()));
  } else {
    LS_TRY(w.q_bias, binder.vector_if_present(name("attn_q.bias"), spec.q_width()));
    LS_TRY(w.k_bias, binder.vector_if_present(name("attn_k.bias"), spec.kv_width()));
    LS_TRY(w.v_bias, binder.vector_if_present(name("attn_v.bias"), spec.kv_width()));
  }
  LS_TRY(w.out, binder.matrix(name("attn_output.weight"), spec.hidden, spec.q_width()));
  LS_TRY(w.out_bias, binder.vector_if_present(name("attn_output.bias"), spec.hidden));
  LS_TRY(w.ffn_norm, binder.vector(name("ffn_norm.weight"), spec.hidden));
  LS_TRY(w.gate, binder.matrix(name("ffn_gate.weight"), spec.ffn, spec.hidden));
  LS_TRY(w.up, binder.matrix(name("ffn_up.weight"), spec.ffn, spec.hidden));
  LS_TRY(w.down, binder.matrix(name("ffn_down.weight"), spec.hidden, spec.ffn));
  return w;
}

}  // namespace

Result<Weights> bind_weights(const ModelFile& file, const DecoderSpec& spec) {
  Binder binder(file);
  Weights w;
  LS_TRY(w.embedding, binder.matrix("token_embd.weight", spec.vocab_rows, spec.hidden));
  w.tied_head = !binder.has("output.weight");
  if (w.tied_head) {
    w.head = w.embedding;
  } else {
    LS_TRY(w.head, binder.matrix("output.weight", spec.vocab_rows, spec.hidden));
  }
  LS_TRY(w.output_norm, binder.vector("output_norm.weight", spec.hidden));

  // θ_i = base^(−2i/dim) (Su et al. 2021); `rope_freqs` divides each (Llama 3.1's scaling).
  const int n_pairs = spec.rope_dim / 2;
  LS_TRY(const std::vector<float> divisors, binder.vector_if_present("rope_freqs.weight", n_pairs));
  w.inv_freq.resize(static_cast<std::size_t>(n_pairs));
  for (std::size_t i = 0; i < w.inv_freq.size(); ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / spec.rope_dim;
    const double divisor = divisors.empty() ? 1.0 : static_cast<double>(divisors[i]);
    if (!(std::isfinite(divisor) && divisor > 0.0)) {
      return invalid_input(
          fmt::format("{}: tensor 'rope_freqs.weight' holds {} at index {}; divisors "
                      "must be positive",
                      file.path, divisor, i));
    }
    w.inv_freq[i] = std::pow(spec.rope_base, exponent) / (divisor * spec.rope_divisor);
  }
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_TRY(LayerWeights layer_weights, bind_layer(binder, spec, layer));
    w.layers.push_back(std::move(layer_weights));
  }
  w.unread = binder.unread();
  return w;
}

}  // namespace layerscope::model
