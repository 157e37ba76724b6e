#include "engine/arch/hparams.h"

#include <fmt/format.h>

#include <cmath>

namespace layerscope::arch {

// Bounds are generous multiples of the largest published models; they exist so that products of
// hyper-parameters cannot overflow and absurd files are refused before anything is allocated.
namespace {
constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxHidden = 131072;
constexpr std::int64_t kMaxHeads = 1024;
constexpr std::int64_t kMaxHeadDim = 1024;
constexpr std::int64_t kMaxFfn = 1048576;
constexpr std::int64_t kMaxContext = 16777216;
constexpr std::int64_t kMaxVocab = 4194304;
}  // namespace

Result<int> HparamReader::require_int(const std::string& key, std::int64_t lo,
                                      std::int64_t hi) const {
  LS_TRY(const auto value, file_.get_int(full(key)));
  if (!value) {
    return invalid_input(
        fmt::format("{}: the hyper-parameter '{}' is missing", file_.path, full(key)));
  }
  if (*value < lo || *value > hi) {
    return invalid_input(fmt::format("{}: the hyper-parameter '{}' is {}, expected {} to {}",
                                     file_.path, full(key), *value, lo, hi));
  }
  return static_cast<int>(*value);
}

Result<int> HparamReader::int_or(const std::string& key, std::int64_t lo, std::int64_t hi,
                                 int fallback) const {
  if (file_.find(full(key)) == nullptr) {
    return fallback;
  }
  return require_int(key, lo, hi);
}

Result<double> HparamReader::require_float(const std::string& key, double lo, double hi) const {
  LS_TRY(const auto value, file_.get_float(full(key)));
  if (!value) {
    return invalid_input(
        fmt::format("{}: the hyper-parameter '{}' is missing", file_.path, full(key)));
  }
  if (!(std::isfinite(*value) && *value > lo && *value < hi)) {
    return invalid_input(
        fmt::format("{}: the hyper-parameter '{}' is {}, expected between {} and {}", file_.path,
                    full(key), *value, lo, hi));
  }
  return *value;
}

Result<double> HparamReader::float_or(const std::string& key, double lo, double hi,
                                      double fallback) const {
  if (file_.find(full(key)) == nullptr) {
    return fallback;
  }
  return require_float(key, lo, hi);
}

namespace {

/// Rope scaling: none and linear are implemented; anything else would silently give wrong angles.
Status read_rope(const HparamReader& reader, model::DecoderSpec& spec) {
  LS_TRY(spec.rope_dim, reader.int_or("rope.dimension_count", 2, spec.head_dim, spec.head_dim));
  if (spec.rope_dim % 2 != 0) {
    return invalid_input(fmt::format("{}: '{}' is {}, but rotated dimensions come in pairs",
                                     reader.file().path, reader.full("rope.dimension_count"),
                                     spec.rope_dim));
  }
  LS_TRY(spec.rope_base, reader.float_or("rope.freq_base", 1.0, 1e12, 10000.0));
  LS_TRY(const auto scaling, reader.file().get_string(reader.full("rope.scaling.type")));
  if (scaling && *scaling != "none" && *scaling != "linear") {
    return invalid_input(
        fmt::format("{}: RoPE scaling of type '{}' is not supported yet (none and "
                    "linear are)",
                    reader.file().path, *scaling));
  }
  if (scaling == "linear") {
    LS_TRY(spec.rope_divisor, reader.require_float("rope.scaling.factor", 0.0, 1e6));
  }
  return {};
}

Status refuse_unsupported(const HparamReader& reader) {
  for (const char* key : {"expert_count", "attention.sliding_window"}) {
    LS_TRY(const auto value, reader.file().get_int(reader.full(key)));
    if (value.value_or(0) != 0) {
      return invalid_input(fmt::format("{}: '{}' is {}, which Layerscope cannot run yet",
                                       reader.file().path, reader.full(key), *value));
    }
  }
  return {};
}

}  // namespace

Result<model::DecoderSpec> read_common_spec(const format::ModelFile& file,
                                            const std::string& architecture) {
  const HparamReader reader(file, architecture);
  LS_CHECK(refuse_unsupported(reader));
  model::DecoderSpec spec;
  spec.architecture = architecture;
  LS_TRY(spec.n_layers, reader.require_int("block_count", 1, kMaxLayers));
  LS_TRY(spec.hidden, reader.require_int("embedding_length", 1, kMaxHidden));
  LS_TRY(spec.n_heads, reader.require_int("attention.head_count", 1, kMaxHeads));
  LS_TRY(spec.n_kv_heads, reader.int_or("attention.head_count_kv", 1, kMaxHeads, spec.n_heads));
  LS_TRY(spec.ffn, reader.require_int("feed_forward_length", 1, kMaxFfn));
  LS_TRY(spec.train_context, reader.require_int("context_length", 1, kMaxContext));
  if (spec.n_heads % spec.n_kv_heads != 0) {
    return invalid_input(fmt::format("{}: {} query heads cannot share {} key/value heads evenly",
                                     file.path, spec.n_heads, spec.n_kv_heads));
  }
  LS_TRY(const int key_length, reader.int_or("attention.key_length", 1, kMaxHeadDim, 0));
  LS_TRY(const int value_length,
         reader.int_or("attention.value_length", 1, kMaxHeadDim, key_length));
  if (key_length == 0 && spec.hidden % spec.n_heads != 0) {
    return invalid_input(fmt::format("{}: hidden size {} is not a multiple of {} heads", file.path,
                                     spec.hidden, spec.n_heads));
  }
  spec.head_dim = key_length != 0 ? key_length : spec.hidden / spec.n_heads;
  if (value_length != key_length) {
    return invalid_input(
        fmt::format("{}: keys of {} and values of {} dimensions differ, which "
                    "Layerscope cannot run yet",
                    file.path, key_length, value_length));
  }
  if (spec.head_dim > kMaxHeadDim) {
    return invalid_input(fmt::format("{}: a head of {} dimensions is beyond the supported {}",
                                     file.path, spec.head_dim, kMaxHeadDim));
  }
  LS_TRY(const double eps, reader.require_float("attention.layer_norm_rms_epsilon", 0.0, 1.0));
  spec.norm_eps = static_cast<float>(eps);
  LS_CHECK(read_rope(reader, spec));
  const format::TensorInfo* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) {
    return invalid_input(fmt::format("{}: tensor 'token_embd.weight' is missing", file.path));
  }
  if (embedding->shape.size() != 2 || embedding->shape[0] > kMaxVocab) {
    return invalid_input(
        fmt::format("{}: tensor 'token_embd.weight' has shape {}, expected "
                    "[vocabulary, {}]",
                    file.path, format::shape_text(embedding->shape), spec.hidden));
  }
  spec.vocab_rows = static_cast<int>(embedding->shape[0]);
  spec.attention_scale = 1.0F / std::sqrt(static_cast<float>(spec.head_dim));
  return spec;
}

}  // namespace layerscope::arch
