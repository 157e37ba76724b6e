// inspect: metadata, hyper-parameters, tensors; one tensor's statistics, first values, histogram.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <variant>

#include "engine/arch/hf_folder.h"
#include "engine/arch/registry.h"
#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "engine/cli/commands.h"
#include "engine/cli/options.h"
#include "engine/format/model_file.h"
#include "engine/format/tensor_stats.h"
#include "engine/model/weights.h"

namespace layerscope::cli {
namespace {

using format::MetaEntry;
using format::ModelFile;
using format::TensorInfo;
using nlohmann::ordered_json;

struct InspectOptions {
  CommonOptions common;
  std::string model, tensor;
  bool tensors = false, json = false;
};

constexpr std::size_t kShownItems = 8;    ///< of an array
constexpr std::size_t kShownText = 100;   ///< bytes of a string
constexpr std::size_t kFirstValues = 16;  ///< of a tensor

std::string short_text(const std::string& text) {
  if (text.size() <= kShownText) {
    return utf8_escape(text);
  }
  const std::size_t cut = utf8_complete_prefix(std::string_view(text).substr(0, kShownText));
  return fmt::format("{}… ({} bytes)", utf8_escape(std::string_view(text).substr(0, cut)),
                     text.size());
}

template <typename T>
std::string item_text(const T& item) {
  if constexpr (std::is_same_v<T, std::string>) {
    return fmt::format("\"{}\"", short_text(item));
  } else {
    return fmt::format("{}", item);
  }
}

std::string value_text(const format::MetaValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<V, std::string>) {
          return short_text(v);
        } else if constexpr (std::is_arithmetic_v<V>) {
          return fmt::format("{}", v);
        } else {
          std::string text = fmt::format("{} items [", v.size());
          for (std::size_t i = 0; i < std::min(v.size(), kShownItems); ++i) {
            const auto& item = v[i];
            text += fmt::format("{}{}", i == 0 ? "" : ", ", item_text(item));
          }
          return text + (v.size() > kShownItems ? ", …]" : "]");
        }
      },
      value);
}

ordered_json value_json(const format::MetaValue& value) {
  return std::visit(
      [](const auto& v) -> ordered_json {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_arithmetic_v<V> || std::is_same_v<V, std::string>) {
          return v;
        } else {
          ordered_json array = ordered_json::array();
          for (std::size_t i = 0; i < v.size(); ++i) {
            const auto& item = v[i];
            array.push_back(item);
          }
          return array;
        }
      },
      value);
}

ordered_json tensor_json(const TensorInfo& tensor) {
  ordered_json out{
      {"name", tensor.name},         {"dtype", dtype_info(tensor.dtype).name},
      {"shape", tensor.shape},       {"offset", tensor.offset},
      {"bytes", tensor.data.size()}, {"decodable", dtype_info(tensor.dtype).decodable}};
  if (!tensor.source.empty()) {
    out["source"] = tensor.source;
  }
  return out;
}

Status inspect_tensor(const ModelFile& file, const InspectOptions& options) {
  const TensorInfo* tensor = file.find_tensor(options.tensor);
  if (tensor == nullptr) {
    return invalid_input(fmt::format("{}: there is no tensor '{}' (list them with --tensors)",
                                     file.path, options.tensor));
  }
  LS_TRY(const format::TensorStats stats, format::tensor_stats(*tensor));
  LS_TRY(
      const std::vector<float> first,
      format::decode_values(*tensor, 0, std::min<std::uint64_t>(kFirstValues, tensor->n_elements)));
  if (options.json) {
    ordered_json out = tensor_json(*tensor);
    out["stats"] = {{"min", stats.min},  {"max", stats.max},     {"mean", stats.mean},
                    {"std", stats.std},  {"l2", stats.l2},       {"nan", stats.nans},
                    {"inf", stats.infs}, {"zeros", stats.zeros}, {"subnormal", stats.subnormals}};
    out["first"] = first;
    out["histogram"] = {{"min", stats.min}, {"max", stats.max}, {"counts", stats.histogram}};
    print_json_line(out);
    return {};
  }
  fmt::print("{}  {} {}  {}  at offset {}\n", tensor->name, dtype_info(tensor->dtype).name,
             format::shape_text(tensor->shape), bytes_text(tensor->data.size()), tensor->offset);
  fmt::print("min {:.6g}  max {:.6g}  mean {:.6g}  std {:.6g}  L2 {:.6g}\n", stats.min, stats.max,
             stats.mean, stats.std, stats.l2);
  fmt::print("NaN {}  Inf {}  zero {}  subnormal {}  of {}\n", stats.nans, stats.infs, stats.zeros,
             stats.subnormals, tensor->n_elements);
  fmt::print("first values:");
  for (const float value : first) {
    fmt::print(" {:.6g}", value);
  }
  fmt::print("\nhistogram of finite values:\n");
  const std::uint64_t most =
      std::max<std::uint64_t>(1, *std::max_element(stats.histogram.begin(), stats.histogram.end()));
  const auto n_bins = static_cast<double>(stats.histogram.size());
  for (std::size_t i = 0; i < stats.histogram.size(); ++i) {
    const double lo = stats.min + (stats.max - stats.min) * static_cast<double>(i) / n_bins;
    const auto width = static_cast<std::size_t>(50 * stats.histogram[i] / most);
    fmt::print("{:>12.5g} {:>10} {}\n", lo, stats.histogram[i], std::string(width, '#'));
  }
  return {};
}

/// "RMS norm epsilon 1e-06, RoPE base 10000 on 32 dimensions (half-split pairs), …"
std::string spec_text(const model::DecoderSpec& s) {
  std::string text =
      fmt::format("{} epsilon {:g}",
                  s.norm_kind == model::NormKind::kRms ? "RMS norm" : "layer norm", s.norm_eps);
  const auto add = [&](bool has, const std::string& what) {
    text += has ? ", " + what : std::string();
  };
  const bool half = s.rope_pairing == kernels::RopePairing::kHalf;
  add(s.rope_pairing != kernels::RopePairing::kNone,
      fmt::format("RoPE base {:g} on {} dimensions ({})", s.rope_base, s.rope_dim,
                  half ? "half-split pairs" : "adjacent pairs"));
  add(s.learned_positions, "learned positions");
  add(s.rope_scaling == model::RopeScaling::kLinear, fmt::format("linear × {:g}", s.rope_divisor));
  add(s.rope_scaling == model::RopeScaling::kYarn, fmt::format("YaRN × {:g}", s.rope_divisor));
  add(s.rope_scaling == model::RopeScaling::kLlama3,
      fmt::format("Llama 3 scaling × {:g}", s.rope_divisor));
  add(s.rope_scaling == model::RopeScaling::kLongRope,
      fmt::format("LongRoPE beyond {} tokens", s.rope_original_context));
  add(s.rope_scaling == model::RopeScaling::kDynamic,
      fmt::format("dynamic × {:g} beyond {} tokens", s.rope_divisor, s.rope_original_context));
  add(s.no_rope_every > 0, fmt::format("every {}th layer without RoPE", s.no_rope_every));
  add(s.qk_norm != model::QkNorm::kNone, "QK-norm");
  add(!s.pre_norm, "no norm before the blocks");
  add(s.post_norm, "norms after the blocks");
  add(s.parallel, "attention and feed-forward side by side");
  const auto windowed = std::count(s.windowed.begin(), s.windowed.end(), true);
  add(s.window > 0, fmt::format("window of {} in {} of {} layers", s.window, windowed, s.n_layers));
  add(s.attention_cap > 0.0F, fmt::format("scores capped at {:g}", s.attention_cap));
  add(s.logit_cap > 0.0F, fmt::format("logits capped at {:g}", s.logit_cap));
  add(s.embedding_scale != 1.0F, fmt::format("embedding × {:g}", s.embedding_scale));
  add(s.logit_scale != 1.0F, fmt::format("logits × {:g}", s.logit_scale));
  add(s.n_experts > 0, fmt::format("{} of {} experts", s.n_experts_used, s.n_experts));
  const bool silu = s.activation == kernels::Activation::kSilu;
  add(true, s.gated ? (silu ? "SwiGLU" : "GeGLU") : (silu ? "SiLU" : "GELU"));
  return text;
}

/// What a file of an unknown architecture says about itself, and what would be needed to run it.
void print_unknown(const ModelFile& file) {
  const auto name = file.get_string("general.architecture");
  if (!name.ok() || !name.value()) {
    return;
  }
  const auto& known = arch::architectures();
  if (std::any_of(known.begin(), known.end(),
                  [&](const arch::Architecture& a) { return *name.value() == a.name; })) {
    return;
  }
  std::set<std::string> roles;
  for (const TensorInfo& tensor : file.tensors) {
    const std::size_t dot =
        tensor.name.starts_with("blk.") ? tensor.name.find('.', 4) : std::string::npos;
    if (dot != std::string::npos) {
      roles.insert(tensor.name.substr(dot + 1));
    }
  }
  std::string list;
  for (const std::string& role : roles) {
    list += (list.empty() ? "" : ", ") + role;
  }
  fmt::print(
      "missing: a description of '{}' (one file in engine/arch that reads '{}.*' into a spec)\n"
      "its layers hold: {}\n",
      *name.value(), *name.value(), list.empty() ? "no tensors named blk.N.*" : list);
}

void print_summary(const ModelFile& file, const std::string& note) {
  fmt::print("{}\n{}, {}, {} metadata keys, {} tensors\n", file.path, file.container,
             bytes_text(file.file_bytes), file.metadata.size(), file.tensors.size());
  const auto spec = arch::read_spec(file);
  if (!note.empty() || !spec.ok()) {
    fmt::print("cannot be run: {}\n", !note.empty() ? note : spec.error().message);
    print_unknown(file);
    return;
  }
  if (const auto weights = model::bind_weights(file, spec.value()); !weights.ok()) {
    fmt::print("cannot be run: {}\n", weights.error().message);
  }
  const model::DecoderSpec& s = spec.value();
  fmt::print(
      "{}: {} layers, hidden {}, {} heads of {}, {} KV heads, feed-forward {}, {} vocabulary rows, "
      "context {}\n",
      s.architecture, s.n_layers, s.hidden, s.n_heads, s.head_dim, s.n_kv_heads, s.ffn,
      s.vocab_rows, s.train_context);
  fmt::print("{}\n", spec_text(s));
}

Status inspect(const InspectOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  std::string note;
  LS_TRY(const auto file, arch::read_for_inspection(options.model, &note));
  if (!options.tensor.empty()) {
    return inspect_tensor(*file, options);
  }
  if (options.json) {
    ordered_json out{
        {"path", file->path}, {"container", file->container}, {"file_bytes", file->file_bytes}};
    for (const MetaEntry& entry : file->metadata) {
      out["metadata"][entry.key] = value_json(entry.value);
    }
    out["tensors"] = ordered_json::array();
    for (const TensorInfo& tensor : file->tensors) {
      out["tensors"].push_back(tensor_json(tensor));
    }
    print_json_line(out);
    return {};
  }
  print_summary(*file, note);
  if (options.tensors) {
    for (const TensorInfo& tensor : file->tensors) {
      fmt::print("{:<40} {:<8} {:<20} {:>12} {:>14}\n", tensor.name, dtype_info(tensor.dtype).name,
                 format::shape_text(tensor.shape), bytes_text(tensor.data.size()), tensor.offset);
    }
    return {};
  }
  for (const MetaEntry& entry : file->metadata) {
    fmt::print("{:<44} {:<16} {}\n", entry.key, entry.type, value_text(entry.value));
  }
  return {};
}

}  // namespace

Runner add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "metadata, hyper-parameters, tensors");
  command->add_option("MODEL", options->model, "model file")->required();
  command->add_flag("--tensors", options->tensors, "list the tensors");
  command->add_option("--tensor", options->tensor, "statistics and first values of one tensor");
  command->add_flag("--json", options->json, "one JSON object");
  add_common_options(*command, options->common);
  return [options] { return inspect(*options); };
}

}  // namespace layerscope::cli
