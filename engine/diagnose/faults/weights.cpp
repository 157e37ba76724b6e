// Faults of the weights: how they are read, and what is left of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/faults/faults.h"

namespace layerscope::diagnose {
namespace {

using Kind = model::InterventionKind;
using model::Interventions;

/// Tensors that a name means: itself, or every layer's when it names a role ("attn_q.weight").
std::vector<const format::TensorInfo*> named_tensors(const model::Model& model,
                                                     const std::string& name) {
  std::vector<const format::TensorInfo*> found;
  for (const format::TensorInfo& tensor : model.file->tensors) {
    if (tensor.name == name ||
        (tensor.name.starts_with("blk.") && tensor.name.ends_with("." + name))) {
      found.push_back(&tensor);
    }
  }
  return found;
}

Result<Interventions> transpose(const model::Model& model, const FaultArguments& given) {
  const auto tensors = named_tensors(model, given.tensor);
  if (tensors.empty()) {
    return usage_error(
        fmt::format("the model has no tensor '{}' (inspect --tensors lists them)", given.tensor));
  }
  Interventions list;
  for (const format::TensorInfo* tensor : tensors) {
    if (tensor->shape.size() != 2) {
      return usage_error(fmt::format(
          "tensor '{}' {} and cannot be transposed", tensor->name,
          tensor->shape.size() == 1 ? "has one dimension" : "holds a matrix for each expert"));
    }
    list.push_back({Kind::kTransposeTensor, -1, -1, -1, 0.0, tensor->name});
  }
  return list;
}

Result<Interventions> drop_bias(const model::Model& model, const FaultArguments& given) {
  Interventions list;
  for (int layer = 0; layer < model.spec.n_layers; ++layer) {
    for (const char* role : {"attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_qkv.bias"}) {
      const std::string name = fmt::format("blk.{}.{}", layer, role);
      const bool wanted = given.layer < 0 || given.layer == layer;
      if (wanted && model.file->find_tensor(name) != nullptr) {
        list.push_back({Kind::kDropVector, -1, -1, -1, 0.0, name});
      }
    }
  }
  if (list.empty()) {
    return usage_error("this model has no Q, K, V biases to drop");
  }
  return list;
}

/// A matrix of one of the types: the named one, else the first of the layers.
Result<Interventions> misread(const model::Model& model, const FaultArguments& given, Kind kind,
                              std::initializer_list<DType> types, const char* wanted) {
  for (const format::TensorInfo& tensor : model.file->tensors) {
    const bool right_type = std::find(types.begin(), types.end(), tensor.dtype) != types.end();
    const bool right_name =
        given.tensor.empty() ? tensor.name.starts_with("blk.") : tensor.name == given.tensor;
    if (tensor.shape.size() == 2 && right_type && right_name) {
      return Interventions{{kind, -1, -1, -1, 0.0, tensor.name}};
    }
  }
  if (given.tensor.empty()) {
    return usage_error(fmt::format("this model has no matrix of type {}", wanted));
  }
  return usage_error(fmt::format("this model has no matrix '{}' of type {}", given.tensor, wanted));
}

Result<Interventions> f16_as_f32(const model::Model& model, const FaultArguments& given) {
  return misread(model, given, Kind::kReadF16AsF32, {DType::kF16}, "F16");
}

Result<Interventions> bf16_as_f16(const model::Model& model, const FaultArguments& given) {
  return misread(model, given, Kind::kReadBf16AsF16, {DType::kBF16}, "BF16");
}

Result<Interventions> nibble_swap(const model::Model& model, const FaultArguments& given) {
  return misread(
      model, given, Kind::kSwapNibbles,
      {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K},
      "Q4 or Q5 (packed nibbles)");
}

Result<Interventions> corrupt_output(const model::Model& /*model*/,
                                     const FaultArguments& /*given*/) {
  return Interventions{{Kind::kCorruptVector, -1, -1, -1, 0.0, "output_norm.weight"}};
}

Result<Interventions> no_offset(const model::Model& model, const FaultArguments& /*given*/) {
  if (!model.spec.norms_add_one) {
    return usage_error(
        fmt::format("norms of architecture '{}' have no offset of one to forget (Gemma's have)",
                    model.spec.architecture));
  }
  Interventions list;
  for (const format::TensorInfo& tensor : model.file->tensors) {
    if (tensor.name.ends_with("norm.weight")) {
      list.push_back({Kind::kShiftVector, -1, -1, -1, -1.0, tensor.name});
    }
  }
  return list;
}

Result<Interventions> epsilon(const model::Model& model, const FaultArguments& /*given*/) {
  // The two values that engines take by default; the one that the file does not say.
  constexpr double kUsual = 1e-5;
  constexpr double kOther = 1e-6;
  const bool usual = std::abs(static_cast<double>(model.spec.norm_eps) - kUsual) < 1e-9;
  return Interventions{{Kind::kNormEpsilon, -1, -1, -1, usual ? kOther : kUsual, {}}};
}

}  // namespace

std::vector<Fault> weight_faults() {
  return {
      {"transpose",
       "transposed weight",
       "A matrix is read column by column: the classic mix-up of row-major files and column-major "
       "libraries. Nothing becomes NaN; magnitudes are merely absurd.",
       {Argument::kTensor},
       1,
       transpose},
      {"drop-bias",
       "Q, K, V biases dropped",
       "Qwen2 adds biases to Q, K and V. An engine written for Llama never reads them.",
       {Argument::kLayer},
       0,
       drop_bias},
      {"dtype:f16-as-f32",
       "float16 read as float32",
       "The element type is taken for granted instead of read from the file.",
       {Argument::kTensor},
       0,
       f16_as_f32},
      {"dtype:bf16-as-f16",
       "bfloat16 read as float16",
       "Both have 16 bits, but the exponent has eight in one and five in the other.",
       {Argument::kTensor},
       0,
       bf16_as_f16},
      {"dequant:nibble-swap",
       "nibbles swapped",
       "Low and high halves of packed 4-bit codes change places.",
       {Argument::kTensor},
       0,
       nibble_swap},
      {"norm:corrupt-output",
       "output norm corrupted",
       "The final norm's weights are 7 to 16 instead of about 1: logits are far too large.",
       {},
       0,
       corrupt_output},
      {"norm:no-offset",
       "norm offset forgotten",
       "Gemma multiplies by one plus the weight; without the one almost nothing is left.",
       {},
       0,
       no_offset},
      {"norm:eps",
       "wrong epsilon",
       "The norm's epsilon is a default instead of the file's: small inputs are scaled wrongly.",
       {},
       0,
       epsilon},
  };
}

}  // namespace layerscope::diagnose
