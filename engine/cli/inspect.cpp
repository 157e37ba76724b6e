// inspect: metadata, hyper-parameters, tensors; one tensor's statistics, first values, histogram.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <variant>

#include "engine/arch/hf_folder.h"
#include "engine/arch/registry.h"
#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "engine/cli/commands.h"
#include "engine/cli/options.h"
#include "engine/format/model_file.h"
#include "engine/format/tensor_stats.h"

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

void print_summary(const ModelFile& file, const std::string& note) {
  fmt::print("{}\n{}, {}, {} metadata keys, {} tensors\n", file.path, file.container,
             bytes_text(file.file_bytes), file.metadata.size(), file.tensors.size());
  const auto spec = arch::read_spec(file);
  if (!note.empty() || !spec.ok()) {
    fmt::print("cannot be run: {}\n", !note.empty() ? note : spec.error().message);
    return;
  }
  const model::DecoderSpec& s = spec.value();
  fmt::print(
      "{}: {} layers, hidden {}, {} heads of {}, {} KV heads, feed-forward {}, {} vocabulary rows, "
      "context {}\n"
      "RMS norm epsilon {:g}, RoPE base {:g} on {} dimensions ({})\n",
      s.architecture, s.n_layers, s.hidden, s.n_heads, s.head_dim, s.n_kv_heads, s.ffn,
      s.vocab_rows, s.train_context, s.norm_eps, s.rope_base, s.rope_dim,
      s.rope_pairing == kernels::RopePairing::kHalf ? "half-split pairs" : "adjacent pairs");
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
