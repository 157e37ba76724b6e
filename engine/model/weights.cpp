#include "engine/model/weights.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <string_view>

#include "engine/model/tensor_map.h"

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
    LS_TRY(const TensorInfo* const tensor, find(name, {size(rows), size(cols)}));
    return view(*tensor, 0, rows, cols);
  }

  /// The rows of a tensor that a source names.
  Result<kernels::Matrix> matrix(const MatrixSource& source) {
    std::vector<std::uint64_t> shape{size(source.tensor_rows), size(source.cols)};
    if (source.tensor_experts > 0) {
      shape.insert(shape.begin(), size(source.tensor_experts));
    }
    LS_TRY(const TensorInfo* const tensor, find(source.tensor, shape));
    return view(*tensor, source.first_row, source.rows, source.cols);
  }

  Result<std::vector<float>> vector(const std::string& name, int n) {
    LS_TRY(const TensorInfo* const tensor, find(name, {size(n)}));
    return format::decode_values(*tensor, 0, tensor->n_elements);
  }

  /// An optional vector: empty when the file has none and it is not required.
  Result<std::vector<float>> vector(const std::string& name, int n, bool required) {
    if (!required && !has(name)) {
      return std::vector<float>{};
    }
    return vector(name, n);
  }

  /// Elements [first, first + count) of a vector of n; empty when the file has none and it is not
  /// required.
  Result<std::vector<float>> part(const std::string& name, int n, int first, int count,
                                  bool required) {
    LS_TRY(std::vector<float> whole, vector(name, n, required));
    if (whole.empty()) {
      return whole;
    }
    return std::vector<float>(whole.begin() + first, whole.begin() + first + count);
  }

  Result<std::vector<float>> norm(const NormSource& source) {
    if (source.own_heads == 0) {
      return vector(source.tensor, source.width);
    }
    LS_TRY(const TensorInfo* const tensor,
           find(source.tensor, {size(source.own_heads), size(source.width / source.own_heads)}));
    return format::decode_values(*tensor, 0, tensor->n_elements);
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
  static std::uint64_t size(int n) { return static_cast<std::uint64_t>(n); }

  Result<kernels::Matrix> view(const TensorInfo& tensor, int first_row, int rows, int cols) {
    const std::size_t alignment = tensor.dtype == DType::kF32 ? 4 : 2;
    if (reinterpret_cast<std::uintptr_t>(tensor.data.data()) % alignment != 0) {
      return invalid_input(
          fmt::format("{}: tensor '{}' starts at offset {}, which is not aligned to "
                      "its elements; rewrite the file with general.alignment 32",
                      file_.path, tensor.name, tensor.offset));
    }
    // Blocks lie within rows (the reader checks it), so a row starts at a whole byte.
    const std::size_t skipped = dtype_bytes(tensor.dtype, size(first_row) * size(cols));
    return kernels::Matrix{tensor.dtype, tensor.data.data() + skipped,
                           static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)};
  }

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
  LayerWeights w;
  w.experts.resize(static_cast<std::size_t>(spec.n_experts));
  for (const NormSource& norm : layer_norms(spec, layer)) {
    LS_TRY(w.*norm.weight, binder.norm(norm));
    if (norm.bias != nullptr) {
      LS_TRY(w.*norm.bias, binder.vector(norm.bias_tensor, norm.width, spec.needs_norm_bias));
    }
  }
  // Old Mixtral files hold each expert in a tensor of its own.
  const bool split = binder.has(layer_tensor(layer, "ffn_gate.0.weight"));
  for (const MatrixSource& source : layer_matrices(spec, layer, split)) {
    LS_TRY(kernels::Matrix matrix, binder.matrix(source));
    if (source.expert >= 0) {
      w.experts[static_cast<std::size_t>(source.expert)].*source.expert_matrix = matrix;
    } else {
      w.*source.matrix = matrix;
    }
    if (source.bias != nullptr) {
      LS_TRY(w.*source.bias, binder.part(source.bias_tensor, source.tensor_rows, source.first_row,
                                         source.rows, source.bias_required));
    }
  }
  return w;
}

/// Divides each frequency by its entry of a tensor.
Status divide(Binder& binder, const ModelFile& file, const char* name, bool required,
              std::vector<double>& frequencies) {
  LS_TRY(const std::vector<float> divisors,
         binder.vector(name, static_cast<int>(frequencies.size()), required));
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    if (!(std::isfinite(divisors[i]) && divisors[i] > 0.0F)) {
      return invalid_input(
          fmt::format("{}: tensor '{}' holds {} at index {}; divisors must be "
                      "positive",
                      file.path, name, divisors[i], i));
    }
    frequencies[i] /= static_cast<double>(divisors[i]);
  }
  return {};
}

Status bind_rope(Binder& binder, const ModelFile& file, const DecoderSpec& spec, Weights& w) {
  w.inv_freq = rope_frequencies(spec, spec.rope_base);
  if (spec.rope_scaling == RopeScaling::kLongRope) {
    w.inv_freq_long = w.inv_freq;
    LS_CHECK(divide(binder, file, "rope_factors_long.weight", true, w.inv_freq_long));
    LS_CHECK(divide(binder, file, "rope_factors_short.weight", true, w.inv_freq));
  }
  LS_CHECK(divide(binder, file, "rope_freqs.weight", false, w.inv_freq));
  if (spec.rope_base_windowed > 0.0) {
    DecoderSpec unscaled = spec;
    unscaled.rope_scaling = RopeScaling::kNone;
    w.inv_freq_windowed = rope_frequencies(unscaled, spec.rope_base_windowed);
  }
  return {};
}

}  // namespace

Result<Weights> bind_weights(const ModelFile& file, const DecoderSpec& spec) {
  Binder binder(file);
  Weights w;
  LS_TRY(w.embedding, binder.matrix("token_embd.weight", spec.vocab_rows, spec.hidden));
  if (spec.learned_positions) {
    LS_TRY(w.positions, binder.matrix("position_embd.weight", spec.train_context, spec.hidden));
  }
  w.tied_head = !binder.has("output.weight");
  if (w.tied_head) {
    w.head = w.embedding;
  } else {
    LS_TRY(w.head, binder.matrix("output.weight", spec.vocab_rows, spec.hidden));
  }
  LS_TRY(w.head_bias, binder.vector("output.bias", spec.vocab_rows, false));
  LS_TRY(w.output_norm, binder.vector("output_norm.weight", spec.hidden));
  if (spec.norm_kind == NormKind::kLayer) {
    LS_TRY(w.output_norm_bias,
           binder.vector("output_norm.bias", spec.hidden, spec.needs_norm_bias));
  }
  if (spec.rope_pairing != kernels::RopePairing::kNone) {
    LS_CHECK(bind_rope(binder, file, spec, w));
  }
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_TRY(LayerWeights layer_weights, bind_layer(binder, spec, layer));
    w.layers.push_back(std::move(layer_weights));
  }
  w.unread = binder.unread();
  return w;
}

}  // namespace layerscope::model
