// The table architecture × type × backend, printed from what runs here.
#include <fmt/format.h>

#include <set>

#include "engine/arch/registry.h"
#include "engine/backend/cuda_support.h"
#include "tests/support/architectures.h"

namespace layerscope::testing {
namespace {

/// "agrees (3e-06)": the logits after the short prompt against the reference's.
std::string cpu_cell(const std::shared_ptr<const model::Model>& model,
                     const std::vector<std::int32_t>& ids, std::span<const float> reference,
                     double tolerance) {
  auto generator = make_generator(model, 16);
  EXPECT_TRUE(generator.evaluate(ids, false, {}).ok());
  const double difference = largest_difference(generator.logits(), reference);
  EXPECT_LE(difference, tolerance) << model->file->path;
  return fmt::format("{} ({:.0e})", difference <= tolerance ? "agrees" : "DIFFERS", difference);
}

std::string cuda_cell(const model::Model& model) {
  const std::string missing = backend::cuda_does_not_run(model);
  return missing.empty() ? "runs" : "not yet: " + missing;
}

TEST(Table, ArchitectureTypeBackend_EveryArchitectureHasARow) {
  std::set<std::string> seen;
  fmt::print("{:12} {:20} {:14} {:18} {}\n", "architecture", "golden", "type", "cpu", "cuda");
  const auto row = [&](const std::string& name, const model::Model& model, const std::string& cpu) {
    seen.insert(model.spec.architecture);
    fmt::print("{:12} {:20} {:14} {:18} {}\n", model.spec.architecture, name, model.quantization(),
               cpu, cuda_cell(model));
  };
  for (const std::string& name : golden_models()) {
    const std::string path = any_golden(name, "model.gguf");
    if (const std::string type = undecodable_type(path); !type.empty()) {
      fmt::print("{:12} {:20} {:14} not yet\n", "", name, type);
      continue;
    }
    const auto model = load(path);
    const bool expanded = std::filesystem::exists(any_golden(name, "logits-short-dequantised.f32"));
    const auto reference = read_floats(
        any_golden(name, expanded ? "logits-short-dequantised.f32" : "logits-short.f32"));
    const auto ids =
        read_json(any_golden(name, "tokens-short.json")).at("ids").get<std::vector<std::int32_t>>();
    const bool gelu = model->spec.activation == kernels::Activation::kGeluTanh;
    row(name, *model, cpu_cell(model, ids, reference, gelu ? 1e-2 : 1e-4));
  }
  for (const std::string& name : tiny_models()) {
    const auto model = load(tiny(name, "model.gguf"));
    const TinyReference reference = tiny_reference(name);
    row(name, *model,
        cpu_cell(model, reference.prompt_short, reference.blocks.at("logits_short"), 2e-4));
  }
  for (const arch::Architecture& architecture : arch::architectures()) {
    const std::string name = architecture.name;
    const bool only_shared = name == "gemma2" || name == "gpt2" || name == "qwen3";
    EXPECT_TRUE(seen.contains(name) || only_shared) << name << " has no golden";
  }
}

/// `auto` takes the CPU for what CUDA does not run and says so; where there is no GPU it says
/// nothing of the kind.
TEST(CudaRefusal, NamesTheFeatures) {
  const auto plain = load(golden("qwen2", "model.gguf"));
  EXPECT_EQ(backend::cuda_does_not_run(*plain), "");
  const auto gemma = load(tiny("gemma3", "model.gguf"));
  const std::string missing = backend::cuda_does_not_run(*gemma);
  for (const char* feature : {"norms after the blocks", "QK-norm", "a sliding window",
                              "two RoPE bases", "the GELU activation", "a scaled embedding"}) {
    EXPECT_NE(missing.find(feature), std::string::npos) << missing;
  }
  EXPECT_NE(backend::cuda_does_not_run(*load(tiny("qwen3moe", "model.gguf"))).find("experts"),
            std::string::npos);
  EXPECT_NE(
      backend::cuda_does_not_run(*load(tiny("llama-linear-bias", "model.gguf"))).find("biases"),
      std::string::npos);
}

}  // namespace
}  // namespace layerscope::testing
