// Stages that llama.cpp's logs name without ambiguity, for the goldens of LS_SHARED_DIR: routing of
// experts, norms after blocks, QK-norm, GELU, windows and caps in the attention weights.
//
// The log prints four decimals; where GELU goes through float16 the reference is off by up to 6e-3
// at the values it feeds.
#include <map>

#include "tests/golden/eval_callback_log.h"
#include "tests/support/architectures.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::Tap;

struct Named {
  const char* name;
  const char* op;  ///< empty: any; the last entry of that name counts
  Tap tap;
};

constexpr Named kNamed[] = {
    {"attn_norm", "", Tap::kAttnNorm},    {"Qcur_normed", "", Tap::kQ},
    {"Kcur_normed", "", Tap::kK},         {"Qcur", "ROPE", Tap::kQRope},
    {"Kcur", "ROPE", Tap::kKRope},        {"kq_soft_max", "", Tap::kAttnWeights},
    {"kqv_out", "", Tap::kAttnContext},   {"attn_post_norm", "", Tap::kAttnPostNorm},
    {"sa_out", "", Tap::kResidMid},       {"ffn_inp", "", Tap::kResidMid},
    {"ffn_norm", "", Tap::kFfnNorm},      {"ffn_moe_logits", "", Tap::kMoeRouter},
    {"ffn_moe_topk", "", Tap::kMoeTopk},  {"ffn_moe_weights_norm", "DIV", Tap::kMoeWeights},
    {"ffn_moe_gate", "", Tap::kFfnGate},  {"ffn_moe_up", "", Tap::kFfnUp},
    {"ffn_moe_swiglu", "", Tap::kFfnAct}, {"ffn_moe_out", "", Tap::kFfnOut},
    {"ffn_gate", "", Tap::kFfnGate},      {"ffn_swiglu", "", Tap::kFfnAct},
    {"ffn_geglu", "", Tap::kFfnAct},      {"ffn_gelu", "", Tap::kFfnAct},
    {"ffn_out", "", Tap::kFfnOut},        {"l_out", "", Tap::kResidOut},
};

struct Case {
  const char* model;
  double tolerance;
  std::size_t at_least;  ///< stages that must be found
};

class NamedTaps : public ::testing::TestWithParam<Case> {
 protected:
  /// Our tensor in the log's order and length: attention padded to the cache, the last rows only
  /// where the reference keeps those.
  [[nodiscard]] std::vector<float> ours(const LoggedTensor& logged,
                                        const FullTensor& tensor) const {
    std::vector<float> values = tensor.values;
    const auto total =
        static_cast<std::size_t>(logged.ne[0] * logged.ne[1] * logged.ne[2] * logged.ne[3]);
    if (tensor.tap == Tap::kAttnWeights) {
      const auto keys = static_cast<std::size_t>(tensor.shape[2]);
      const auto cache = static_cast<std::size_t>(logged.ne[0]);
      std::vector<float> padded(values.size() / keys * cache, 0.0F);
      for (std::size_t i = 0; i < values.size(); ++i) {
        padded[i / keys * cache + i % keys] = values[i];
      }
      values = std::move(padded);
    }
    if (total < values.size()) {
      values.erase(values.begin(), values.end() - static_cast<std::ptrdiff_t>(total));
    }
    return values;
  }
};

TEST_P(NamedTaps, EvalCallbackLog_Agrees) {
  const Case& c = GetParam();
  const std::string path = any_golden(c.model, "model.gguf");
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no golden " << c.model << " here; set LS_SHARED_DIR";
  }
  auto generator = make_generator(load(path), 256);
  generator.capture.tier = capture::Tier::kFull;
  std::map<std::pair<Tap, int>, FullTensor> taps;
  generator.on_pass = [&](const capture::PassCapture& pass, std::span<const float>) {
    for (const FullTensor& tensor : pass.tensors) {
      taps[{tensor.tap, tensor.layer}] = tensor;
    }
  };
  const auto ids = read_json(any_golden(c.model, "tokens-short.json"))
                       .at("ids")
                       .get<std::vector<std::int32_t>>();
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  std::map<std::string, LoggedTensor> last;
  for (const LoggedTensor& logged :
       read_eval_callback_log(any_golden(c.model, "eval-callback.log"))) {
    last[logged.name + (logged.op == "ROPE" || logged.op == "DIV" ? " " + logged.op : "")] = logged;
  }
  std::size_t found = 0;
  double worst = 0.0;
  for (int layer = 0; layer < generator.model().spec.n_layers; ++layer) {
    for (const Named& named : kNamed) {
      std::string key = named.name + ("-" + std::to_string(layer));
      key += *named.op != '\0' ? std::string(" ") + named.op : "";
      const auto logged = last.find(key);
      if (logged == last.end()) {
        continue;
      }
      SCOPED_TRACE(key);
      const auto tensor = taps.find({named.tap, layer});
      ASSERT_NE(tensor, taps.end());
      const std::vector<float> values = ours(logged->second, tensor->second);
      const auto indices = printed_indices(logged->second.ne);
      ASSERT_EQ(indices.size(), logged->second.values.size());
      for (std::size_t i = 0; i < indices.size(); ++i) {
        ASSERT_LT(indices[i], values.size());
        const auto mine = static_cast<double>(values[indices[i]]);
        const double difference = std::fabs(mine - logged->second.values[i]);
        worst = std::max(worst, difference);
        ASSERT_LE(difference, c.tolerance * (1.0 + std::fabs(mine))) << "value " << indices[i];
      }
      ++found;
    }
  }
  std::printf("%s: %zu stages, largest difference of a printed value %.1e\n", c.model, found,
              worst);
  EXPECT_GE(found, c.at_least);
}

INSTANTIATE_TEST_SUITE_P(Golden, NamedTaps,
                         ::testing::Values(Case{"llama-moe", 1e-4, 36}, Case{"qwen3", 1e-4, 30},
                                           Case{"gemma2", 1e-2, 24}, Case{"gpt2", 1e-2, 18},
                                           Case{"phi3", 1e-4, 18}));

}  // namespace
}  // namespace layerscope::testing
