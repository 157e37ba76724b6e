// edit_model: a copy of a model in which some tensors are read wrongly on purpose.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/model/interventions.h"
#include "engine/model/tensor_map.h"
#include "kernels/ops.h"

namespace layerscope::model {
namespace {

using Kind = InterventionKind;

/// SplitMix64's mixer (Steele, Lea, Flood 2014): the same noise in every run.
double noise(std::uint64_t i) {
  i = (i + 1) * 0x9E3779B97F4A7C15U;
  i = (i ^ (i >> 30U)) * 0xBF58476D1CE4E5B9U;
  i = (i ^ (i >> 27U)) * 0x94D049BB133111EBU;
  return static_cast<double>((i ^ (i >> 31U)) >> 11U) * 0x1p-53;
}

/// Where a tensor of the file went: a matrix and the views of it that are computed with (several,
/// where one tensor holds more than one matrix), or vectors.
struct Place {
  kernels::Matrix whole;
  struct View {
    kernels::Matrix* matrix;
    std::size_t first_row;
  };
  std::vector<View> views;
  std::vector<std::vector<float>*> vectors;

  void add(kernels::Matrix& matrix, const MatrixSource& source) {
    const auto first = static_cast<std::size_t>(source.first_row);
    const auto rows = static_cast<std::size_t>(source.tensor_rows) *
                      static_cast<std::size_t>(std::max(1, source.tensor_experts));
    whole = {matrix.dtype, matrix.data - dtype_bytes(matrix.dtype, first * matrix.cols), rows,
             matrix.cols};
    views.push_back({&matrix, first});
  }
  void add(kernels::Matrix& matrix) {
    whole = matrix;
    views.push_back({&matrix, 0});
  }
  void add(std::vector<float>& vector) {
    if (!vector.empty()) {
      vectors.push_back(&vector);
    }
  }
  /// Lets the views show the edited matrix.
  void write_back() const {
    for (const View& view : views) {
      view.matrix->dtype = whole.dtype;
      view.matrix->data = whole.row(view.first_row);
    }
  }
};

Place locate_in_layer(LayerWeights& w, const DecoderSpec& spec, int layer,
                      const std::string& name) {
  Place place;
  for (const NormSource& norm : layer_norms(spec, layer)) {
    if (norm.tensor == name) {
      place.add(w.*norm.weight);
    } else if (norm.bias != nullptr && norm.bias_tensor == name) {
      place.add(w.*norm.bias);
    }
  }
  for (const bool split : {false, true}) {
    for (const MatrixSource& source : layer_matrices(spec, layer, split)) {
      if (source.tensor == name && (source.expert < 0 ? !split : true)) {
        place.add(source.expert < 0
                      ? w.*source.matrix
                      : w.experts[static_cast<std::size_t>(source.expert)].*source.expert_matrix,
                  source);
      } else if (!split && source.bias != nullptr && source.bias_tensor == name) {
        place.add(w.*source.bias);
      }
    }
  }
  return place;
}

Place locate(Model& model, const std::string& name) {
  Weights& weights = model.weights;
  Place place;
  if (name == "token_embd.weight") {
    place.add(weights.embedding);
  } else if (name == "output.weight" && !weights.tied_head) {
    place.add(weights.head);
  } else if (name == "position_embd.weight" && model.spec.learned_positions) {
    place.add(weights.positions);
  } else if (name == "output_norm.weight") {
    place.add(weights.output_norm);
  } else if (name == "output_norm.bias") {
    place.add(weights.output_norm_bias);
  }
  for (int layer = 0; layer < model.spec.n_layers; ++layer) {
    if (name.starts_with(layer_tensor(layer, ""))) {
      return locate_in_layer(weights.layers[static_cast<std::size_t>(layer)], model.spec, layer,
                             name);
    }
  }
  return place;
}

/// Float32 storage that a matrix of the edited model points into.
class Storage {
 public:
  explicit Storage(std::size_t n_bytes)
      : bytes_(std::make_shared<std::vector<std::byte>>(n_bytes)) {}
  [[nodiscard]] std::byte* data() const { return bytes_->data(); }
  [[nodiscard]] float* floats() const { return reinterpret_cast<float*>(bytes_->data()); }
  void give_to(Model& model, kernels::Matrix& matrix, DType dtype) {
    matrix.dtype = dtype;
    matrix.data = bytes_->data();
    model.edited.push_back(std::move(bytes_));
  }

 private:
  std::shared_ptr<std::vector<std::byte>> bytes_;
};

std::vector<float> decode(const kernels::Matrix& m) {
  std::vector<float> values(m.rows * m.cols);
  kernels::dequantize_row(m.dtype, m.data, values.size(), values.data());
  return values;
}

void transpose(Model& model, kernels::Matrix& m) {
  const std::vector<float> flat = decode(m);
  Storage storage(flat.size() * sizeof(float));
  for (std::size_t r = 0; r < m.rows; ++r) {
    for (std::size_t c = 0; c < m.cols; ++c) {
      storage.floats()[r * m.cols + c] = flat[c * m.rows + r];
    }
  }
  storage.give_to(model, m, DType::kF32);
}

void read_f16_as_f32(Model& model, kernels::Matrix& m) {
  const std::size_t n = m.rows * m.cols;
  const std::size_t n_bytes = dtype_bytes(m.dtype, n);
  Storage storage(n * sizeof(float));
  for (std::size_t i = 0; i < n; ++i) {
    std::memcpy(storage.data() + i * 4, m.data + (i * 4) % (n_bytes - n_bytes % 4), 4);
  }
  storage.give_to(model, m, DType::kF32);
}

/// Offset and length of the packed nibbles in a block; length 0: the type has none.
struct Packed {
  std::size_t offset, length;
};
Packed packed_nibbles(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {2, 16};
    case DType::kQ4_1:
      return {4, 16};
    case DType::kQ5_0:
      return {6, 16};
    case DType::kQ5_1:
      return {8, 16};
    case DType::kQ4_K:
      return {16, 128};
    case DType::kQ5_K:
      return {48, 128};
    default:
      return {0, 0};
  }
}

void swap_nibbles(Model& model, kernels::Matrix& m) {
  const Packed packed = packed_nibbles(m.dtype);
  const DTypeInfo& info = dtype_info(m.dtype);
  const std::size_t n_bytes = dtype_bytes(m.dtype, m.rows * m.cols);
  Storage storage(n_bytes);
  std::memcpy(storage.data(), m.data, n_bytes);
  for (std::size_t block = 0; block < n_bytes; block += info.block_bytes) {
    for (std::size_t i = 0; i < packed.length; ++i) {
      std::byte& b = storage.data()[block + packed.offset + i];
      b = (b << 4U) | (b >> 4U);
    }
  }
  storage.give_to(model, m, m.dtype);
}

/// A tied head that was never tied holds what it was initialised with: noise as large as the rows.
void wrong_head(Model& model) {
  Weights& w = model.weights;
  if (!w.tied_head) {
    w.head = w.embedding;
    return;
  }
  const std::vector<float> rows = decode(w.embedding);
  double squares = 0.0;
  for (const float v : rows) {
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const double width = std::sqrt(12.0 * squares / static_cast<double>(rows.size()));
  Storage storage(rows.size() * sizeof(float));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    storage.floats()[i] = static_cast<float>((noise(i) - 0.5) * width);
  }
  storage.give_to(model, w.head, DType::kF32);
}

Status edit_matrix(Model& model, kernels::Matrix& m, const Intervention& item) {
  const auto must_be = [&](bool right, const char* wanted) -> Status {
    return right ? Status{}
                 : usage_error(fmt::format("tensor '{}' is of type {}, not {}", item.tensor,
                                           dtype_info(m.dtype).name, wanted));
  };
  switch (item.kind) {
    case Kind::kTransposeTensor:
      transpose(model, m);
      return {};
    case Kind::kReadF16AsF32:
      LS_CHECK(must_be(m.dtype == DType::kF16, "F16"));
      read_f16_as_f32(model, m);
      return {};
    case Kind::kReadBf16AsF16:
      LS_CHECK(must_be(m.dtype == DType::kBF16, "BF16"));
      m.dtype = DType::kF16;
      return {};
    case Kind::kSwapNibbles:
      LS_CHECK(must_be(packed_nibbles(m.dtype).length > 0, "one with packed nibbles"));
      swap_nibbles(model, m);
      return {};
    default:
      return usage_error(fmt::format("tensor '{}' is a matrix, not a vector", item.tensor));
  }
}

Status edit_vector(std::vector<float>& v, const Intervention& item) {
  switch (item.kind) {
    case Kind::kDropVector:
      v.clear();
      return {};
    case Kind::kCorruptVector:
      for (std::size_t i = 0; i < v.size(); ++i) {
        v[i] *= static_cast<float>(7.0 + 9.0 * noise(i));
      }
      return {};
    case Kind::kShiftVector:
      for (float& value : v) {
        value += static_cast<float>(item.amount);
      }
      return {};
    default:
      return usage_error(fmt::format("tensor '{}' is a vector, not a matrix", item.tensor));
  }
}

Status apply(Model& model, const Intervention& item) {
  if (item.kind == Kind::kNormEpsilon) {
    model.spec.norm_eps = static_cast<float>(item.amount);
    return {};
  }
  if (item.kind == Kind::kWrongHead) {
    wrong_head(model);
    return {};
  }
  Place place = locate(model, item.tensor);
  for (std::vector<float>* vector : place.vectors) {
    LS_CHECK(edit_vector(*vector, item));
  }
  if (!place.vectors.empty()) {
    return {};
  }
  if (place.views.empty()) {
    return usage_error(
        fmt::format("the model has no tensor '{}' that is computed with", item.tensor));
  }
  const bool embedding = place.views.front().matrix == &model.weights.embedding;
  LS_CHECK(edit_matrix(model, place.whole, item));
  place.write_back();
  if (model.weights.tied_head && embedding) {
    model.weights.head = model.weights.embedding;
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Model>> edit_model(std::shared_ptr<const Model> model,
                                                std::span<const Intervention> list) {
  std::shared_ptr<Model> copy;
  for (const Intervention& item : list) {
    if (obeyed_by(item.kind) != Obeyed::kModel) {
      continue;
    }
    if (copy == nullptr) {
      copy = std::make_shared<Model>(*model);
    }
    LS_CHECK(apply(*copy, item));
  }
  if (copy == nullptr) {
    return model;
  }
  return std::shared_ptr<const Model>(std::move(copy));
}

}  // namespace layerscope::model
