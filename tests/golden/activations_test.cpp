// Every activation that llama.cpp logged, against what our taps captured for the same prompt.
//
// The log prints four decimals (±5e-5); float32 rounding of values up to about 30 adds about 1e-5
// relative. A wrong bias, angle or epsilon changes values by 0.1 and more (tests/golden/README.md).
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "tests/golden/eval_callback_log.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::Tap;
using Dense = std::vector<double>;

constexpr double kPrinted = 5.1e-5;
constexpr double kRelative = 1e-5;

/// What our engine captured for one prompt, with the layouts that the log shows.
class Captured {
 public:
  Captured(const std::string& model, const std::vector<std::int32_t>& ids, int cache)
      : model_(load(golden(model, "model.gguf"))),
        n_(ids.size()),
        cache_(static_cast<std::size_t>(cache)) {
    session::Generator generator = make_generator(model_, cache);
    generator.capture.tier = capture::Tier::kFull;
    generator.on_pass = [this](const capture::PassCapture& pass, std::span<const float>) {
      for (const FullTensor& tensor : pass.tensors) {
        tensors_[{tensor.tap, tensor.layer}] = tensor;
      }
    };
    const Status status = generator.evaluate(ids, false, {});
    EXPECT_TRUE(status.ok()) << status.error().message;
  }

  [[nodiscard]] const model::DecoderSpec& spec() const { return model_->spec; }
  [[nodiscard]] const model::LayerWeights& layer(int l) const {
    return model_->weights.layers[static_cast<std::size_t>(l)];
  }
  [[nodiscard]] const std::vector<float>& output_norm() const {
    return model_->weights.output_norm;
  }
  [[nodiscard]] std::size_t n() const { return n_; }

  [[nodiscard]] Dense tap(Tap which, int l) const {
    const auto it = tensors_.find({which, l});
    EXPECT_NE(it, tensors_.end()) << capture::tap_name(which) << " of layer " << l;
    return it == tensors_.end() ? Dense{}
                                : Dense(it->second.values.begin(), it->second.values.end());
  }

  /// Rows of a tap divided or reduced by a vector of the row's width.
  [[nodiscard]] Dense per_column(Tap which, int l, const std::vector<float>& vector,
                                 const std::function<double(double, double)>& f) const {
    Dense values = tap(which, l);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] =
          f(values[i], vector.empty() ? 0.0 : static_cast<double>(vector[i % vector.size()]));
    }
    return values;
  }

  /// [a][b][c] → [b][a][c]
  static Dense swap_outer(const Dense& x, std::size_t a, std::size_t b, std::size_t c) {
    Dense out(x.size());
    for (std::size_t i = 0; i < a; ++i) {
      for (std::size_t j = 0; j < b; ++j) {
        for (std::size_t k = 0; k < c; ++k) {
          out[(j * a + i) * c + k] = x[(i * b + j) * c + k];
        }
      }
    }
    return out;
  }

  /// [a][b] → [b][a]
  static Dense transpose(const Dense& x, std::size_t a, std::size_t b) {
    return swap_outer(x, a, b, 1);
  }

  /// Rows after the last one filled with zeros up to the cache's length.
  [[nodiscard]] Dense padded_rows(Dense x, std::size_t width) const {
    x.resize(cache_ * width, 0.0);
    return x;
  }

  /// The reference's whole-cache products q · k before scale and mask, [heads][tokens][cache].
  [[nodiscard]] Dense raw_scores(int l) const {
    const Dense q = tap(Tap::kQRope, l);
    const Dense k = tap(Tap::kKRope, l);
    const auto heads = static_cast<std::size_t>(spec().n_heads);
    const auto kv = static_cast<std::size_t>(spec().n_kv_heads);
    const auto dim = static_cast<std::size_t>(spec().head_dim);
    Dense out(heads * n_ * cache_, 0.0);
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < n_; ++t) {
        for (std::size_t j = 0; j < n_; ++j) {
          double sum = 0.0;
          for (std::size_t d = 0; d < dim; ++d) {
            sum += q[(t * heads + h) * dim + d] * k[(j * kv + h / (heads / kv)) * dim + d];
          }
          out[(h * n_ + t) * cache_ + j] = sum;
        }
      }
    }
    return out;
  }

  /// Attention weights with the keys padded to the cache's length.
  [[nodiscard]] Dense padded_weights(int l) const {
    const Dense w = tap(Tap::kAttnWeights, l);
    const std::size_t rows = w.size() / n_;
    Dense out(rows * cache_, 0.0);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t j = 0; j < n_; ++j) {
        out[r * cache_ + j] = w[r * n_ + j];
      }
    }
    return out;
  }

 private:
  std::shared_ptr<const model::Model> model_;
  std::size_t n_, cache_;
  std::map<std::pair<Tap, int>, FullTensor> tensors_;
};

/// Our value of a logged tensor, dense in the log's order; empty when the name is not known.
Dense expected(const Captured& ours, const LoggedTensor& logged, int layer) {
  const auto heads = static_cast<std::size_t>(ours.spec().n_heads);
  const auto kv = static_cast<std::size_t>(ours.spec().n_kv_heads);
  const auto dim = static_cast<std::size_t>(ours.spec().head_dim);
  const auto cache = static_cast<std::size_t>(256);
  const std::size_t n = ours.n();
  std::string key = logged.name;
  const std::string number = std::to_string(layer);
  for (const std::string& suffix : {"-" + number, "_l" + number}) {
    if (const auto at = key.find(suffix); layer >= 0 && at != std::string::npos) {
      key.replace(at, suffix.size(), suffix[0] == '_' ? "_l" : "");
    }
  }
  const auto divide = [](double x, double w) { return x / w; };
  const auto subtract = [](double x, double b) { return x - b; };
  if (key == "embd") return ours.tap(Tap::kEmbedding, -1);
  if (key == "norm" && layer >= 0) {
    const bool attention = logged.source0.find("ffn_inp") == std::string::npos;
    return attention ? ours.per_column(Tap::kAttnNorm, layer, ours.layer(layer).attn_norm, divide)
                     : ours.per_column(Tap::kFfnNorm, layer, ours.layer(layer).ffn_norm, divide);
  }
  if (key == "attn_norm") return ours.tap(Tap::kAttnNorm, layer);
  const model::LayerWeights* w = layer >= 0 ? &ours.layer(layer) : nullptr;
  const auto projected = [&](Tap tap, Tap rotated, const std::vector<float>& bias) {
    if (logged.op == "MUL_MAT") return ours.per_column(tap, layer, bias, subtract);
    return logged.op == "ROPE" ? ours.tap(rotated, layer) : ours.tap(tap, layer);
  };
  if (key == "Qcur") return projected(Tap::kQ, Tap::kQRope, w->q_bias);
  if (key == "Kcur") return projected(Tap::kK, Tap::kKRope, w->k_bias);
  if (key == "Vcur") return projected(Tap::kV, Tap::kV, w->v_bias);
  if (key == "Kcur (view)") return ours.tap(Tap::kKRope, layer);
  if (key == "Vcur (reshaped)" || key == "Vcur (reshaped) (reshaped)")
    return ours.tap(Tap::kV, layer);
  const auto k_cache = [&] { return ours.padded_rows(ours.tap(Tap::kKRope, layer), kv * dim); };
  const auto v_cache = [&] {  // [kv_heads · head_dim][slots]
    return Captured::transpose(ours.padded_rows(ours.tap(Tap::kV, layer), kv * dim), cache,
                               kv * dim);
  };
  if (key == "cache_k_l (view)") return k_cache();
  if (key == "cache_k_l (view) (permuted)") return Captured::swap_outer(k_cache(), cache, kv, dim);
  if (key == "cache_v_l (reshaped)") return Dense(cache * kv * dim, 0.0);  // before the write
  if (key == "cache_v_l (reshaped) (view)") return v_cache();
  // [kv][dim][slot] is how it lies; the view shows head between slot and dimension.
  if (key == "cache_v_l (view)") return Captured::swap_outer(v_cache(), kv, dim, cache);
  if (key == "cache_v_l (view) (permuted)") return v_cache();
  if (key == "Qcur (view)") return ours.tap(Tap::kQRope, layer);
  if (key == "Qcur (view) (permuted)") {
    return Captured::swap_outer(ours.tap(Tap::kQRope, layer), n, heads, dim);
  }
  if (key == "kq") return ours.raw_scores(layer);
  if (key == "kq_soft_max") return ours.padded_weights(layer);
  if (key == "kqv") return Captured::swap_outer(ours.tap(Tap::kAttnContext, layer), n, heads, dim);
  if (key == "kqv (permuted)" || key == "kqv_out") return ours.tap(Tap::kAttnContext, layer);
  if (key == "attn_out") return ours.tap(Tap::kAttnOut, layer);
  if (key == "ffn_inp") return ours.tap(Tap::kResidMid, layer);
  if (key == "ffn_norm") return ours.tap(Tap::kFfnNorm, layer);
  if (key == "ffn_gate") return ours.tap(Tap::kFfnGate, layer);
  if (key == "ffn_up") return ours.tap(Tap::kFfnUp, layer);
  if (key == "ffn_swiglu") return ours.tap(Tap::kFfnAct, layer);
  if (key == "ffn_out") return ours.tap(Tap::kFfnOut, layer);
  if (key == "l_out") return ours.tap(Tap::kResidOut, layer);
  // Unnamed nodes are told apart by what they are made of.
  if (key.starts_with("node_") && logged.op == "MUL_MAT") {
    return ours.tap(Tap::kAttnOut, std::stoi(logged.source0.substr(4)));
  }
  if (key.starts_with("node_") && logged.op == "GET_ROWS") {
    const int last = ours.spec().n_layers - 1;
    if (logged.source0.starts_with("l_out")) return ours.tap(Tap::kResidOut, last - 1);
    return ours.tap(Tap::kAttnOut, last);
  }
  return {};
}

/// Keeps the rows that the last layer of the reference keeps: those whose logits are wanted.
Dense last_rows(const Dense& values, std::size_t wanted) {
  return wanted < values.size()
             ? Dense(values.end() - static_cast<std::ptrdiff_t>(wanted), values.end())
             : values;
}

int layer_of(const std::string& name) {
  const std::size_t cache = name.find("_l");
  if (name.starts_with("cache_") && cache != std::string::npos) {
    return std::stoi(name.substr(cache + 2));
  }
  const std::size_t dash = name.find('-');
  return dash == std::string::npos ? -1 : std::stoi(name.substr(dash + 1));
}

class Activations : public ::testing::TestWithParam<const char*> {};

TEST_P(Activations, EvalCallbackLog_EveryTensor_Agrees) {
  const std::string model = GetParam();
  const auto ids =
      read_json(golden(model, "tokens-short.json")).at("ids").get<std::vector<std::int32_t>>();
  const Captured ours(model, ids, 256);
  const auto logged = read_eval_callback_log(golden(model, "eval-callback.log"));
  ASSERT_GT(logged.size(), 100U);
  double worst = 0.0;
  for (const LoggedTensor& tensor : logged) {
    SCOPED_TRACE(tensor.name + " = " + tensor.op);
    Dense values;
    if (tensor.name == "norm") {
      values = ours.per_column(Tap::kFinalNorm, -1, ours.output_norm(),
                               [](double x, double w) { return x / w; });
    } else if (tensor.name == "result_norm") {
      values = ours.tap(Tap::kFinalNorm, -1);
    } else if (tensor.name == "result_output") {
      values = ours.tap(Tap::kLogits, -1);
    } else {
      values = expected(ours, tensor, layer_of(tensor.name));
    }
    ASSERT_FALSE(values.empty()) << "no tap of ours stands for it";
    const auto total =
        static_cast<std::size_t>(tensor.ne[0] * tensor.ne[1] * tensor.ne[2] * tensor.ne[3]);
    values = last_rows(values, total);
    ASSERT_EQ(values.size(), total);
    const auto indices = printed_indices(tensor.ne);
    ASSERT_EQ(indices.size(), tensor.values.size());
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const double mine = values[indices[i]];
      const double difference = std::fabs(mine - tensor.values[i]);
      worst = std::max(worst, difference);
      ASSERT_LE(difference, kPrinted + kRelative * (1.0 + std::fabs(mine)))
          << "value " << indices[i];
    }
    double sum = 0.0;
    double magnitude = 0.0;
    for (const double v : values) {
      sum += v;
      magnitude += std::fabs(v);
    }
    // The reference adds one float32 after another: rounding of about √n · 2⁻²⁴ of the magnitude.
    ASSERT_NEAR(tensor.sum, sum, 1e-4 + kRelative * magnitude);
  }
  std::printf("%s: %zu tensors, largest difference of a printed value %.2e\n", model.c_str(),
              logged.size(), worst);
}

INSTANTIATE_TEST_SUITE_P(Golden, Activations, ::testing::Values("qwen2", "llama"));

}  // namespace
}  // namespace layerscope::testing
