// Tables of what runs here: every golden with its own type, every architecture in every type.
#include <fmt/format.h>

#include <set>

#include "engine/arch/registry.h"
#include "tests/support/architecture_table.h"

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

TEST(Table, Goldens_EveryArchitectureHasARow) {
  std::set<std::string> seen;
  fmt::print("{:12} {:20} {:14} {}\n", "architecture", "golden", "type", "cpu");
  const auto row = [&](const std::string& name, const model::Model& model, const std::string& cpu) {
    seen.insert(model.spec.architecture);
    fmt::print("{:12} {:20} {:14} {}\n", model.spec.architecture, name, model.quantization(), cpu);
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

TEST(Experts, OneTensorEach_OfTwoTypes_IsTheSameModelOnTheCpu) {
  expect_split_experts_agree("cpu");
}

/// The CPU's part; the CUDA backend's is printed where there is a GPU (tests/gpu).
TEST(Table, EveryArchitecture_InEveryType_OnTheCpu) {
  print_architecture_table("cpu", false, 1e-5);
}

}  // namespace
}  // namespace layerscope::testing
