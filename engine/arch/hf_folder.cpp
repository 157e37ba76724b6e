#include "engine/arch/hf_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/arch/hf_names.h"
#include "engine/arch/hf_tensors.h"
#include "engine/format/byte_reader.h"

namespace layerscope::arch {
namespace {

using format::MetaValue;
using format::ModelFile;

/// config.json; of a model with several parts, its text part.
class Config {
 public:
  explicit Config(const ModelFile& file) : file_(file) {}

  [[nodiscard]] const MetaValue* find(std::string_view key) const {
    const MetaValue* value = file_.find("config." + std::string(key));
    return value != nullptr ? value : file_.find("config.text_config." + std::string(key));
  }
  [[nodiscard]] std::optional<double> number(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) {
      return std::nullopt;
    }
    if (const auto* v = std::get_if<std::uint64_t>(value)) {
      return static_cast<double>(*v);
    }
    if (const auto* v = std::get_if<std::int64_t>(value)) {
      return static_cast<double>(*v);
    }
    const auto* v = std::get_if<double>(value);
    return v != nullptr ? std::optional(*v) : std::nullopt;
  }
  [[nodiscard]] std::optional<std::vector<double>> numbers(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) {
      return std::nullopt;
    }
    if (const auto* v = std::get_if<std::vector<std::int64_t>>(value)) {
      return std::vector<double>(v->begin(), v->end());
    }
    const auto* v = std::get_if<std::vector<double>>(value);
    return v != nullptr ? std::optional(*v) : std::nullopt;
  }
  [[nodiscard]] std::string text(std::string_view key) const {
    const MetaValue* value = find(key);
    const auto* text = value != nullptr ? std::get_if<std::string>(value) : nullptr;
    return text != nullptr ? *text : "";
  }
  [[nodiscard]] bool flag(std::string_view key, bool otherwise) const {
    const MetaValue* value = find(key);
    const auto* flag = value != nullptr ? std::get_if<bool>(value) : nullptr;
    return flag != nullptr ? *flag : otherwise;
  }
  [[nodiscard]] double first(std::initializer_list<std::string_view> keys, double otherwise) const {
    for (const std::string_view key : keys) {
      if (const auto value = number(key)) {
        return *value;
      }
    }
    return otherwise;
  }

 private:
  const ModelFile& file_;
};

class Keys {
 public:
  Keys(const ModelFile& from, std::string_view architecture, ModelFile& to)
      : config_(from), architecture_(architecture), to_(to) {}

  Status run() {
    add_table();
    add_defaults();
    add_window();
    return add_rope_scaling();
  }

 private:
  void put(const std::string& key, const char* type, MetaValue value) {
    const std::string full = architecture_ + "." + key;
    const bool there = std::any_of(to_.metadata.begin(), to_.metadata.end(),
                                   [&](const auto& entry) { return entry.key == full; });
    if (!there) {
      to_.metadata.push_back({full, type, std::move(value)});
    }
  }
  void put_int(const std::string& key, double value) {
    if (std::isfinite(value) && std::fabs(value) < 1e15) {
      put(key, "integer", static_cast<std::int64_t>(value));
    }
  }
  void put_number(const std::string& key, double value) { put(key, "number", value); }

  [[nodiscard]] double head_dim() const {
    const double heads = config_.first({"num_attention_heads", "n_head"}, 0.0);
    const double own = heads > 0 ? config_.first({"hidden_size", "n_embd"}, 0.0) / heads : 0.0;
    return config_.first({"head_dim"}, own);
  }

  void add_table() {
    for (const HfKey& key : hf_keys()) {
      const MetaValue* value = config_.find(key.hf);
      const auto number = config_.number(key.hf);
      if (value == nullptr) {
        continue;
      }
      if (key.value == HfValue::kAsIs) {
        put(std::string(key.gguf), "", *value);
      } else if (key.value == HfValue::kHeadFraction && number) {
        put_int(std::string(key.gguf), std::floor(*number * head_dim() + 1e-6));
      } else if (key.value == HfValue::kInverseRoot && number && *number > 0.0) {
        put_number(std::string(key.gguf), 1.0 / std::sqrt(*number));
      }
    }
  }

  /// What some configurations leave unsaid, as their model code fills it in.
  void add_defaults() {
    const double hidden = config_.first({"hidden_size", "n_embd"}, 0.0);
    if (architecture_ == "gpt2" || architecture_ == "falcon") {
      put_int("feed_forward_length", 4.0 * hidden);
      put_number("attention.layer_norm_epsilon", 1e-5);
    }
    if (architecture_ == "falcon") {
      put_int("context_length", 2048);
    }
    if (architecture_ == "gptneox" || architecture_ == "stablelm") {
      put_int("rope.dimension_count", std::floor(0.25 * head_dim()));
    }
    if (architecture_ == "gemma") {  // its first configurations trust the class's default
      put_number("attention.layer_norm_rms_epsilon", 1e-6);
    }
    if (architecture_ == "qwen3moe") {
      put("expert_weights_norm", "bool", true);
    }
  }

  void add_window() {
    const double window = config_.first({"sliding_window"}, 0.0);
    if (window <= 0.0 || !config_.flag("use_sliding_window", true) ||
        (architecture_ == "qwen2" && !config_.flag("use_sliding_window", false)) ||
        (architecture_ == "qwen3" && !config_.flag("use_sliding_window", false))) {
      return;
    }
    put_int("attention.sliding_window", window);
    const MetaValue* types = config_.find("layer_types");
    const auto* names = types != nullptr ? std::get_if<std::vector<std::string>>(types) : nullptr;
    if (names != nullptr) {
      std::vector<bool> windowed;
      for (const std::string& name : *names) {
        windowed.push_back(name == "sliding_attention");
      }
      put("attention.sliding_window_pattern", "array of bool", std::move(windowed));
    }
  }

  Status add_rope_scaling() {
    std::string prefix;
    std::string type;
    for (const char* each :
         {"rope_scaling.", "rope_parameters.", "rope_parameters.full_attention."}) {
      for (const char* key : {"rope_type", "type"}) {
        if (type.empty() || type == "default") {
          prefix = each;
          type = config_.text(prefix + key);
        }
      }
    }
    if (type.empty() || type == "default") {
      return {};
    }
    if (type == "su") {  // its first name
      type = "longrope";
    }
    if (type != "linear" && type != "dynamic" && type != "yarn" && type != "longrope" &&
        type != "llama3") {
      return invalid_input(fmt::format(
          "'{}': config.json asks for RoPE scaling of type {}, which cannot be run from a model "
          "folder (linear, dynamic, yarn, longrope and llama3 can)",
          to_.path, format::quote_name(type)));
    }
    if (type != "longrope" && !config_.number(prefix + "factor")) {
      return invalid_input(
          fmt::format("'{}': config.json asks for RoPE scaling of type {} without a 'factor'",
                      to_.path, format::quote_name(type)));
    }
    put("rope.scaling.type", "string", type);
    put_number("rope.scaling.factor", config_.first({prefix + "factor"}, 1.0));
    const double original = config_.first(
        {prefix + "original_max_position_embeddings", "original_max_position_embeddings"}, 0.0);
    if (original > 0.0 && type != "dynamic") {  // that one looks at the whole context
      put_int("rope.scaling.original_context_length", original);
    }
    for (const auto& [hf, gguf] : {std::pair{"low_freq_factor", "rope.scaling.low_freq_factor"},
                                   {"high_freq_factor", "rope.scaling.high_freq_factor"},
                                   {"beta_fast", "rope.scaling.yarn_beta_fast"},
                                   {"beta_slow", "rope.scaling.yarn_beta_slow"}}) {
      if (const auto value = config_.number(prefix + hf)) {
        put_number(gguf, *value);
      }
    }
    if (type == "yarn") {
      return add_yarn(prefix);
    }
    return type == "longrope" ? add_long_rope(prefix) : Status{};
  }

  /// What multiplies cosines and sines, where it is not the paper's own.
  Status add_yarn(const std::string& prefix) {
    if (!config_.flag(prefix + "truncate", true)) {
      return invalid_input(fmt::format(
          "'{}': config.json asks for YaRN with 'truncate' off, which cannot be run", to_.path));
    }
    const double factor = std::max(1.0, config_.first({prefix + "factor"}, 1.0));
    const auto scale = [&](double m) { return 0.1 * m * std::log(factor) + 1.0; };
    const auto given = config_.number(prefix + "attention_factor");
    const auto m = config_.number(prefix + "mscale");
    const auto all = config_.number(prefix + "mscale_all_dim");
    if (given) {
      put_number("rope.scaling.yarn_attn_factor", *given / scale(1.0));
    } else if (m.value_or(0.0) != 0.0 && all.value_or(0.0) != 0.0) {
      put_number("rope.scaling.yarn_attn_factor", scale(*m) / scale(*all) / scale(1.0));
    }
    return {};
  }

  /// The divisors become the tensors in which GGUF keeps them (Ding et al. 2024; transformers,
  /// `modeling_rope_utils.py`).
  Status add_long_rope(const std::string& prefix) {
    const double whole = config_.first({"max_position_embeddings"}, 0.0);
    const double original = config_.first(
        {prefix + "original_max_position_embeddings", "original_max_position_embeddings"}, whole);
    const double factor =
        config_.first({prefix + "factor"}, original > 0.0 ? whole / original : 1.0);
    const double own = factor > 1.0 && original > 1.0
                           ? std::sqrt(1.0 + std::log(factor) / std::log(original))
                           : 1.0;
    put_number("rope.scaling.attn_factor", config_.first({prefix + "attention_factor"}, own));
    for (const auto& [key, tensor] : {std::pair{"long_factor", "rope_factors_long.weight"},
                                      {"short_factor", "rope_factors_short.weight"}}) {
      const auto divisors = config_.numbers(prefix + key);
      if (!divisors || divisors->empty()) {
        return invalid_input(
            fmt::format("'{}': config.json asks for LongRoPE but its '{}' is no list of numbers",
                        to_.path, prefix + key));
      }
      add_vector(tensor, prefix + key, *divisors);
    }
    return {};
  }

  void add_vector(const char* name, const std::string& source, const std::vector<double>& values) {
    auto bytes = std::make_shared<std::vector<std::byte>>(values.size() * sizeof(float));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto value = static_cast<float>(values[i]);
      std::memcpy(bytes->data() + i * sizeof value, &value, sizeof value);
    }
    format::TensorInfo tensor;
    tensor.name = name;
    tensor.source = "config.json: " + source;
    tensor.shape = {values.size()};
    tensor.n_elements = values.size();
    tensor.data = *bytes;
    to_.made.push_back(std::move(bytes));
    to_.tensors.push_back(std::move(tensor));
  }

  Config config_;
  std::string architecture_;
  ModelFile& to_;
};

std::string supported() {
  std::string list;
  for (const HfArchitecture& each : hf_architectures()) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", each.model_type);
  }
  return list;
}

HfSizes sizes_of(const Config& config) {
  HfSizes sizes;
  const double heads = config.first({"num_attention_heads", "n_head"}, 0.0);
  const bool one =
      config.flag("multi_query", false) && !config.flag("new_decoder_architecture", false);
  const double kv = one ? 1.0 : config.first({"num_key_value_heads", "num_kv_heads"}, heads);
  const auto count = [](double v) {
    return v >= 1.0 && v <= 65536.0 ? static_cast<std::uint64_t>(v) : 0U;
  };
  sizes.heads = count(heads);
  sizes.kv_heads = count(kv);
  return sizes;
}

}  // namespace

Result<std::shared_ptr<const ModelFile>> translate_hf(std::shared_ptr<const ModelFile> file) {
  if (file->folder.empty()) {
    return file;
  }
  const Config config(*file);
  const std::string type = config.text("model_type");
  const HfArchitecture* architecture = find_hf_architecture(type);
  if (architecture == nullptr) {
    return invalid_input(
        type.empty()
            ? fmt::format("'{}': config.json does not say the 'model_type'", file->folder)
            : fmt::format("'{}': model type {} cannot be run from a folder (these can: {})",
                          file->folder, format::quote_name(type), supported()));
  }
  const std::string method = config.text("quantization_config.quant_method");
  if (!method.empty()) {
    return invalid_input(fmt::format(
        "'{}': the weights are quantised by {}, which cannot be read; use the original weights or "
        "a GGUF",
        file->folder, format::quote_name(method)));
  }
  auto to = std::make_shared<ModelFile>();
  to->path = file->path;
  to->folder = file->folder;
  to->container = file->container;
  to->file_bytes = file->file_bytes;
  to->header_bytes = file->header_bytes;
  to->keeps = {file};
  const std::string name =
      std::filesystem::path(file->folder).lexically_normal().filename().string();
  to->metadata = {{"general.architecture", "string", std::string(architecture->architecture)},
                  {"general.name", "string", name}};
  if (architecture->half_pairing) {
    to->metadata.push_back({kHalfPairing, "bool", true});
  }
  const HfSizes sizes = sizes_of(config);
  if (sizes.kv_heads != 0) {
    to->metadata.push_back({std::string(architecture->architecture) + ".attention.head_count_kv",
                            "integer", std::uint64_t{sizes.kv_heads}});
  }
  LS_CHECK(Keys(*file, architecture->architecture, *to).run());
  to->metadata.insert(to->metadata.end(), file->metadata.begin(), file->metadata.end());
  const bool tied = config.flag("tie_word_embeddings", false);
  LS_CHECK(translate_tensors(*file, *architecture, sizes, tied, *to));
  to->index();
  return std::shared_ptr<const ModelFile>(std::move(to));
}

Result<std::shared_ptr<const ModelFile>> read_for_inspection(const std::string& path,
                                                             std::string* note) {
  LS_TRY(const std::shared_ptr<const ModelFile> file, format::read_model_file(path));
  auto translated = translate_hf(file);
  if (translated.ok()) {
    return translated;
  }
  if (note != nullptr) {
    *note = translated.error().message;
  }
  return file;
}

void apply_storage(const ModelFile& file, model::DecoderSpec& spec) {
  const auto half = file.get_bool(kHalfPairing);
  if (half.ok() && half.value().value_or(false)) {
    spec.rope_pairing = kernels::RopePairing::kHalf;
  }
}

}  // namespace layerscope::arch
