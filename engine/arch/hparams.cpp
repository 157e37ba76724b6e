#include "engine/arch/hparams.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <variant>

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
constexpr std::int64_t kMaxExperts = 4096;
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

Result<bool> HparamReader::bool_or(const std::string& key, bool fallback) const {
  LS_TRY(const auto value, file_.get_bool(full(key)));
  return value.value_or(fallback);
}

namespace {

using model::DecoderSpec;
using model::RopeScaling;

/// The scaling's name, factor and what it needs beside them.
Status read_rope_scaling(const HparamReader& reader, DecoderSpec& spec) {
  LS_TRY(const auto name, reader.file().get_string(reader.full("rope.scaling.type")));
  const std::string scaling = name.value_or("none");
  if (scaling == "linear") {
    spec.rope_scaling = RopeScaling::kLinear;
  } else if (scaling == "yarn") {
    spec.rope_scaling = RopeScaling::kYarn;
  } else if (scaling == "longrope") {
    spec.rope_scaling = RopeScaling::kLongRope;
  } else if (scaling == "llama3") {
    spec.rope_scaling = RopeScaling::kLlama3;
  } else if (scaling == "dynamic") {
    spec.rope_scaling = RopeScaling::kDynamic;
  } else if (scaling != "none") {
    return invalid_input(
        fmt::format("{}: RoPE scaling of type '{}' is not supported (none, linear, dynamic, yarn, "
                    "longrope and llama3 are)",
                    reader.file().path, scaling));
  }
  if (spec.rope_scaling == RopeScaling::kNone) {
    return {};
  }
  constexpr double kMaxFactor = 1e6;
  if (spec.rope_scaling != RopeScaling::kLongRope) {
    LS_TRY(spec.rope_divisor, reader.require_float("rope.scaling.factor", 0.0, kMaxFactor));
  }
  if (spec.rope_scaling == RopeScaling::kLinear) {
    return {};
  }
  LS_TRY(spec.rope_original_context,
         reader.int_or("rope.scaling.original_context_length", 1, kMaxContext, spec.train_context));
  LS_TRY(spec.rope_factor, reader.float_or("rope.scaling.attn_factor", 0.0, kMaxFactor, 1.0));
  if (spec.rope_scaling == RopeScaling::kYarn) {
    LS_TRY(spec.yarn_beta_fast,
           reader.float_or("rope.scaling.yarn_beta_fast", 0.0, kMaxFactor, 32.0));
    LS_TRY(spec.yarn_beta_slow,
           reader.float_or("rope.scaling.yarn_beta_slow", 0.0, kMaxFactor, 1.0));
    LS_TRY(const double own,
           reader.float_or("rope.scaling.yarn_attn_factor", 0.0, kMaxFactor, 1.0));
    // Peng et al. 2023, section 3.4: the softmax temperature, applied to cosines and sines.
    spec.rope_factor *= own * (1.0 + 0.1 * std::log(std::max(1.0, spec.rope_divisor)));
  } else if (spec.rope_scaling == RopeScaling::kLlama3) {
    LS_TRY(spec.llama3_low, reader.float_or("rope.scaling.low_freq_factor", 0.0, kMaxFactor, 1.0));
    LS_TRY(spec.llama3_high,
           reader.float_or("rope.scaling.high_freq_factor", 0.0, kMaxFactor, 4.0));
    if (!(spec.llama3_low < spec.llama3_high)) {
      return invalid_input(
          fmt::format("{}: the RoPE scaling's low frequency factor {} is not below the high one {}",
                      reader.file().path, spec.llama3_low, spec.llama3_high));
    }
  }
  return {};
}

Status read_rope(const HparamReader& reader, DecoderSpec& spec) {
  LS_TRY(spec.rope_dim, reader.int_or("rope.dimension_count", 2, spec.head_dim, spec.head_dim));
  if (spec.rope_dim % 2 != 0) {
    return invalid_input(fmt::format("{}: '{}' is {}, but rotated dimensions come in pairs",
                                     reader.file().path, reader.full("rope.dimension_count"),
                                     spec.rope_dim));
  }
  LS_TRY(spec.rope_base, reader.float_or("rope.freq_base", 1.0, 1e12, 10000.0));
  return read_rope_scaling(reader, spec);
}

/// Features that change every number: running without them would be silently wrong.
Status refuse_unsupported(const HparamReader& reader) {
  for (const char* key : {"attention.max_alibi_bias", "attention.clamp_kqv", "residual_scale"}) {
    LS_TRY(const auto value, reader.file().get_float(reader.full(key)));
    if (value.value_or(0.0) != 0.0) {
      return invalid_input(fmt::format("{}: '{}' is {}, which Layerscope cannot run yet",
                                       reader.file().path, reader.full(key), *value));
    }
  }
  for (const char* key : {"expert_shared_count", "leading_dense_block_count"}) {
    LS_TRY(const auto value, reader.file().get_int(reader.full(key)));
    if (value.value_or(0) != 0) {
      return invalid_input(fmt::format("{}: '{}' is {}, which Layerscope cannot run yet",
                                       reader.file().path, reader.full(key), *value));
    }
  }
  return {};
}

Status read_heads(const HparamReader& reader, DecoderSpec& spec) {
  const std::string& path = reader.file().path;
  LS_TRY(spec.n_heads, reader.require_int("attention.head_count", 1, kMaxHeads));
  LS_TRY(spec.n_kv_heads, reader.int_or("attention.head_count_kv", 1, kMaxHeads, spec.n_heads));
  if (spec.n_heads % spec.n_kv_heads != 0) {
    return invalid_input(fmt::format("{}: {} query heads cannot share {} key/value heads evenly",
                                     path, spec.n_heads, spec.n_kv_heads));
  }
  LS_TRY(const int key_length, reader.int_or("attention.key_length", 1, kMaxHeadDim, 0));
  LS_TRY(const int value_length,
         reader.int_or("attention.value_length", 1, kMaxHeadDim, key_length));
  if (key_length == 0 && spec.hidden % spec.n_heads != 0) {
    return invalid_input(fmt::format("{}: hidden size {} is not a multiple of {} heads", path,
                                     spec.hidden, spec.n_heads));
  }
  spec.head_dim = key_length != 0 ? key_length : spec.hidden / spec.n_heads;
  if (value_length != key_length) {
    return invalid_input(
        fmt::format("{}: keys of {} and values of {} dimensions differ, which "
                    "Layerscope cannot run yet",
                    path, key_length, value_length));
  }
  if (spec.head_dim > kMaxHeadDim) {
    return invalid_input(fmt::format("{}: a head of {} dimensions is beyond the supported {}", path,
                                     spec.head_dim, kMaxHeadDim));
  }
  LS_TRY(const double scale, reader.float_or("attention.scale", 0.0, 1e6,
                                             1.0 / std::sqrt(static_cast<double>(spec.head_dim))));
  spec.attention_scale = static_cast<float>(scale);
  return {};
}

Status read_vocabulary(const format::ModelFile& file, DecoderSpec& spec) {
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
  return {};
}

}  // namespace

Result<DecoderSpec> read_common_spec(const format::ModelFile& file, const std::string& architecture,
                                     model::NormKind norm) {
  const HparamReader reader(file, architecture);
  LS_CHECK(refuse_unsupported(reader));
  DecoderSpec spec;
  spec.architecture = architecture;
  spec.norm_kind = norm;
  LS_TRY(spec.n_layers, reader.require_int("block_count", 1, kMaxLayers));
  LS_TRY(spec.hidden, reader.require_int("embedding_length", 1, kMaxHidden));
  LS_TRY(const int expert_ffn, reader.int_or("expert_feed_forward_length", 0, kMaxFfn, 0));
  LS_TRY(spec.ffn, expert_ffn > 0 ? Result<int>(expert_ffn)
                                  : reader.require_int("feed_forward_length", 1, kMaxFfn));
  LS_TRY(spec.train_context, reader.require_int("context_length", 1, kMaxContext));
  LS_CHECK(read_heads(reader, spec));
  const char* eps_key = norm == model::NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                      : "attention.layer_norm_epsilon";
  LS_TRY(const double eps, reader.require_float(eps_key, 0.0, 1.0));
  spec.norm_eps = static_cast<float>(eps);
  LS_CHECK(read_rope(reader, spec));
  LS_CHECK(read_vocabulary(file, spec));
  spec.fused_qkv = file.find_tensor("blk.0.attn_qkv.weight") != nullptr;
  return spec;
}

Status read_window(const format::ModelFile& file, DecoderSpec& spec,
                   const std::function<bool(int)>& windowed) {
  const HparamReader reader(file, spec.architecture);
  LS_TRY(spec.window, reader.int_or("attention.sliding_window", 0, kMaxContext, 0));
  if (spec.window == 0) {
    return {};
  }
  const std::string key = reader.full("attention.sliding_window_pattern");
  const format::MetaValue* pattern = file.find(key);
  const auto* flags = pattern != nullptr ? std::get_if<std::vector<bool>>(pattern) : nullptr;
  int period = 0;
  if (pattern != nullptr && flags == nullptr) {
    LS_TRY(period, reader.require_int("attention.sliding_window_pattern", 1, kMaxLayers));
  }
  if (flags != nullptr && flags->size() != static_cast<std::size_t>(spec.n_layers)) {
    return invalid_input(fmt::format("{}: '{}' has {} entries for {} layers", file.path, key,
                                     flags->size(), spec.n_layers));
  }
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    spec.windowed.push_back(flags != nullptr ? (*flags)[static_cast<std::size_t>(layer)]
                            : period > 0     ? (layer + 1) % period != 0
                                             : windowed(layer));
  }
  return {};
}

Status read_experts(const format::ModelFile& file, DecoderSpec& spec) {
  const HparamReader reader(file, spec.architecture);
  LS_TRY(spec.n_experts, reader.int_or("expert_count", 0, kMaxExperts, 0));
  if (spec.n_experts == 0) {
    return {};
  }
  LS_TRY(spec.n_experts_used, reader.require_int("expert_used_count", 1, spec.n_experts));
  constexpr std::int64_t kMaxExpertRows = 1 << 30;
  if (static_cast<std::int64_t>(spec.n_experts) * spec.ffn > kMaxExpertRows) {
    return invalid_input(fmt::format("{}: {} experts of width {} are beyond what can be addressed",
                                     file.path, spec.n_experts, spec.ffn));
  }
  LS_TRY(spec.expert_weights_norm, reader.bool_or("expert_weights_norm", true));
  // 1 is the soft-max; sigmoid and others rank and weigh experts in another way.
  LS_TRY(const int gating, reader.int_or("expert_gating_func", 0, 1, 1));
  static_cast<void>(gating);
  return {};
}

Status read_soft_caps(const format::ModelFile& file, DecoderSpec& spec) {
  const HparamReader reader(file, spec.architecture);
  constexpr double kLargest = 1e6;
  LS_TRY(const double scores, reader.float_or("attn_logit_softcapping", -1.0, kLargest, 0.0));
  LS_TRY(const double logits, reader.float_or("final_logit_softcapping", -1.0, kLargest, 0.0));
  spec.attention_cap = static_cast<float>(scores);
  spec.logit_cap = static_cast<float>(logits);
  return {};
}

}  // namespace layerscope::arch
