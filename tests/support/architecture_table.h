// The table architecture × type × backend: every architecture's tiny model, rewritten in every
// type, evaluated by a backend and compared with the CPU's float32 evaluation of the very values
// that the type holds. A cell is "ok", "n.a." (the rows are no whole blocks of the type) or what
// went wrong.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "tests/engine/diagnose/rewrite_model.h"
#include "tests/support/architectures.h"
#include "tests/tools/quantize.h"

namespace layerscope::testing {

inline const std::vector<DType>& table_types() {
  static const std::vector<DType> types{DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                                        DType::kQ6_K, DType::kQ5_K, DType::kQ4_K, DType::kQ5_1,
                                        DType::kQ5_0, DType::kQ4_1, DType::kQ4_0};
  return types;
}

/// Models of every architecture: the tiny ones, and the goldens of architectures without one.
inline std::map<std::string, std::string> table_models() {
  std::map<std::string, std::string> models;
  for (const std::string& name : tiny_models()) {
    models[name] = tiny(name, "model.gguf");
  }
  for (const std::string name :
       {"llama", "qwen2", "gemma2", "gpt2", "llama-moe", "phi3", "qwen3"}) {
    if (std::filesystem::exists(any_golden(name, "model.gguf"))) {
      models[name] = any_golden(name, "model.gguf");
    }
  }
  return models;
}

/// Every matrix whose rows are whole blocks as `dtype`; with `expand` the float32 values of that.
/// `changed` counts them.
inline RewrittenModel::Change in_type(DType dtype, bool expand, int& changed) {
  return [dtype, expand, &changed](const format::TensorInfo& tensor, Converted& out) {
    const bool matrix = tensor.shape.size() >= 2 && tensor.name.find("norm") == std::string::npos;
    if (!matrix || tensor.shape.back() % dtype_info(dtype).block != 0) {
      return;
    }
    ++changed;
    const std::vector<std::byte> bytes = quantize(dtype, out.values.data(), out.values.size());
    if (expand) {
      kernels::dequantize_row(dtype, bytes.data(), out.values.size(), out.values.data());
    } else {
      out.dtype = dtype;
      out.raw.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
  };
}

/// As old files hold experts: a tensor for each, whose types may differ.
inline RewrittenModel::Change split_experts() {
  return [](const format::TensorInfo& tensor, Converted& out) {
    const std::size_t at = tensor.name.find("_exps.");
    for (std::uint64_t e = 0; at != std::string::npos && e < tensor.shape.front(); ++e) {
      out.parts.emplace_back(
          fmt::format("{}.{}.{}", tensor.name.substr(0, at), e, tensor.name.substr(at + 6)),
          e % 2 == 0 ? DType::kF16 : DType::kF32);
    }
  };
}

/// An old file's logits are those of the same model with its experts in one tensor.
inline void expect_split_experts_agree(const std::string& backend) {
  const std::string path = tiny("qwen3moe", "model.gguf");
  const RewrittenModel old_file(path, split_experts());
  const TinyReference reference = tiny_reference("qwen3moe");
  const auto logits = [&](const std::string& file) {
    const auto loaded = load(file);
    backend::BackendOptions options{backend, 2, 64};
    options.float32 = true;
    auto made = backend::create_backend(loaded, options);
    EXPECT_TRUE(made.ok()) << made.error().message;
    session::Generator generator(loaded, std::move(made).value());
    EXPECT_TRUE(generator.evaluate(reference.prompt, false, {}).ok());
    EXPECT_TRUE(generator.append(7, capture::Origin::kForced, {}).ok());
    return std::vector<float>(generator.logits().begin(), generator.logits().end());
  };
  EXPECT_EQ(load(old_file.path())->file->find_tensor("blk.0.ffn_gate_exps.weight"), nullptr);
  EXPECT_NE(load(old_file.path())->file->find_tensor("blk.0.ffn_gate.5.weight"), nullptr);
  EXPECT_LE(largest_difference(logits(path), logits(old_file.path())), 2e-5);
}

/// Prints the table of one backend, a row per architecture, and fails where a cell is neither "ok"
/// nor "n.a.". `float32`: BackendOptions::float32. Tolerance: of the logits' range.
inline void print_architecture_table(const std::string& backend, bool float32, double tolerance) {
  const std::vector<std::int32_t> ids{5, 99, 7, 250, 12, 3, 77, 41, 8, 200, 17};
  const auto logits = [&](const std::string& path, const std::string& kind, double& range,
                          std::vector<float>& out) -> std::string {
    auto loaded = model::load_model(path);
    if (!loaded.ok()) {
      return loaded.error().message;
    }
    backend::BackendOptions options{kind, 2, 32};
    options.float32 = float32;
    auto made = backend::create_backend(loaded.value(), options);
    if (!made.ok()) {
      return "refused: " + made.error().message;
    }
    session::Generator generator(loaded.value(), std::move(made).value());
    const std::span all(ids);
    Status status = generator.evaluate(all.first(all.size() - 2), false, {});
    for (const std::int32_t id : all.last(2)) {
      status = status.ok() ? generator.append(id, capture::Origin::kForced, {}) : status;
    }
    if (!status.ok()) {
      return status.error().message;
    }
    out.assign(generator.logits().begin(), generator.logits().end());
    const auto [low, high] = std::minmax_element(out.begin(), out.end());
    range = static_cast<double>(*high - *low);
    return {};
  };
  std::string header = fmt::format("{:18} {:12} {:8}", "model", "architecture", "backend");
  for (const DType dtype : table_types()) {
    header += fmt::format(" {:>5}", dtype_info(dtype).name);
  }
  fmt::print("{}\n", header);
  double worst = 0.0;
  for (const auto& [name, path] : table_models()) {
    std::string line =
        fmt::format("{:18} {:12} {:8}", name, load(path)->spec.architecture, backend);
    for (const DType dtype : table_types()) {
      int changed = 0;
      const RewrittenModel typed(path, in_type(dtype, false, changed));
      if (changed == 0) {
        line += "  n.a.";
        continue;
      }
      const RewrittenModel expanded(path, in_type(dtype, true, changed));
      double range = 0.0;
      std::vector<float> expected;
      std::vector<float> got;
      EXPECT_EQ(logits(expanded.path(), "cpu", range, expected), "");
      double unused = 0.0;
      std::string cell = logits(typed.path(), backend, unused, got);
      if (cell.empty()) {
        const double difference = largest_difference(got, expected) / range;
        worst = std::max(worst, difference);
        cell = difference <= tolerance ? "ok" : fmt::format("DIFFERS by {:.0e}", difference);
      }
      EXPECT_EQ(cell, "ok") << name << " as " << dtype_info(dtype).name << " on " << backend;
      line += fmt::format(" {:>5}", cell);
    }
    fmt::print("{}\n", line);
  }
  fmt::print("{}: largest difference of a logit {:.1e} of their range\n", backend, worst);
}

}  // namespace layerscope::testing
