// For every fault of the registry: a trace made with it against the healthy reference gives the
// right first divergence, and --explain ranks that fault first. Both tables are printed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/engine/compare/compare_run.h"

namespace layerscope::testing {
namespace {

/// A fault and the tap where its trace must part from the healthy one.
struct Row {
  const char* fault;
  const char* tap;
  int layer = -1;
  bool decode = false;  ///< shows only in decoded tokens: the reference is our own healthy run
};

const std::vector<Row>& rows() {
  static const std::vector<Row> list{
      {"transpose:blk.0.attn_q.weight", "q", 0},
      {"transpose:blk.1.attn_output.weight", "attn_out", 1},
      {"transpose:token_embd.weight", "embedding", -1},
      {"drop-bias", "q", 0},
      {"drop-bias:1", "q", 1},
      {"dtype:f16-as-f32", "q", 0},
      {"dtype:bf16-as-f16", "q", 0},
      {"dequant:nibble-swap", "q", 0},
      {"norm:corrupt-output", "final_norm", -1},
      {"norm:no-offset", "attn_norm", 0},
      {"norm:eps", "attn_norm", 0},
      {"rope:off", "q_rope", 0},
      {"rope:off,1", "q_rope", 1},
      {"rope:off,1,2", "q_rope", 1},
      {"rope:twice", "q_rope", 0},
      {"rope:twice,2", "q_rope", 2},
      {"rope:pairing", "q_rope", 0},
      {"rope:base", "q_rope", 0},
      {"qk-norm:off", "q", 0},
      {"kv:stuck", "attn_scores", 0, true},
      {"kv:stuck,1", "attn_scores", 1, true},
      {"kv:stale", "attn_scores", 0, true},
      {"kv:zero", "attn_scores", 0},
      {"kv:zero,2,1", "attn_scores", 1},
      {"kv:off-by-one", "attn_scores", 0},
      {"scale:none", "attn_scores", 0},
      {"scale:none,1,3", "attn_scores", 1},
      {"scale:double", "attn_scores", 0},
      {"softmax:unnormalised", "attn_weights", 0},
      {"softmax:unnormalised,1,1", "attn_weights", 1},
      {"mask:off", "attn_weights", 0},
      {"gqa:modulo", "attn_scores", 0},
      {"gqa:modulo,1", "attn_scores", 1},
      {"gqa:first", "attn_scores", 0},
      {"score-f16", "attn_scores", 0},
      {"embedding:zero", "embedding", -1},
      {"embedding:shift", "embedding", -1},
      {"embedding:unscaled", "embedding", -1},
      {"residual:skip", "resid_mid", 0},
      {"residual:skip,1", "resid_mid", 1},
      {"nan:1", "ffn_out", 1},
      {"channel:1,5", "ffn_out", 1},
      {"ablate:head,1,2", "attn_context", 1},
      {"ablate:layer,1", "attn_out", 1},
      {"ablate:ffn,1", "ffn_out", 1},
      {"head:unwritten-rows", "logits", -1},
      {"head:padded", "logits", -1},
      {"head:untied", "logits", -1},
      {"soft-cap:scores", "attn_scores", 0},
      {"soft-cap:logits", "logits", -1},
      {"window:off", "attn_weights", 0},
      {"moe:unnormalised", "ffn_out", 0},
      {"moe:wrong-experts", "ffn_out", 0},
  };
  return list;
}

struct Outcome {
  std::string place = "n/a", ranked = "n/a";
  bool applicable = false, place_right = false, ranked_first = false;
};

/// The interventions of a text that the forward pass or the model obeys.
model::Interventions effect(const std::string& text, const model::Model& model) {
  model::Interventions kept;
  const auto parsed = diagnose::parse_faults(std::span(&text, 1), model);
  for (const model::Intervention& one : parsed.ok() ? parsed.value() : model::Interventions{}) {
    const model::Obeyed by = model::obeyed_by(one.kind);
    if (by == model::Obeyed::kModel || by == model::Obeyed::kForward) {
      kept.push_back(one);
    }
  }
  return kept;
}

Outcome outcome(const Row& row, const std::shared_ptr<const model::Model>& model,
                const std::vector<std::int32_t>& ids, const compare::Trace& log,
                const compare::Trace& healthy) {
  constexpr int kDecoded = 3;
  Outcome o;
  const auto made = own_trace(model, ids, row.decode ? kDecoded : 0, {row.fault});
  if (!made.ok()) {
    EXPECT_EQ(made.error().code, ErrorCode::kUsage) << made.error().message;
    return o;
  }
  o.applicable = true;
  const compare::Comparison c = compared(made.value(), row.decode ? healthy : log);
  o.place = first_place(c);
  o.place_right = c.first && c.pairs[*c.first].layer == row.layer &&
                  capture::tap_name(c.pairs[*c.first].tap) == row.tap;
  const auto backend = cpu_backend(model);
  const auto report = session::explain_trace(*model, *backend, made.value(), {}, {});
  EXPECT_TRUE(report.ok()) << report.error().message;
  if (!report.ok() || report.value().ranked.empty()) {
    o.ranked = "nothing";
    return o;
  }
  const session::FaultScore& best = report.value().ranked.front();
  o.ranked = fmt::format("{} {:.1f} %", fmt::join(best.faults, " + "), 100.0 * best.agreement);
  o.ranked_first =
      effect(best.faults.front(), *model) == effect(row.fault, *model) && best.faults.size() == 1;
  return o;
}

TEST(Explain, EveryFault_DivergesAtItsPlaceAndIsRankedFirst) {
  int applicable = 0;
  int places = 0;
  int first = 0;
  for (const char* name : {"qwen2", "llama"}) {
    const auto model = load(golden(name, "model.gguf"));
    const auto ids = short_ids(name);
    compare::Trace log = imported(golden(name, "eval-callback.log"));
    const compare::Trace healthy = own_trace(model, ids, 3).value();
    compare::borrow_tokens(log, healthy);
    fmt::print("{:36} {:40} {}\n", name, "first divergence", "--explain ranks first");
    for (const Row& row : rows()) {
      const Outcome o = outcome(row, model, ids, log, healthy);
      fmt::print("{:36} {:40} {}{}\n", row.fault, o.place, o.ranked,
                 !o.applicable || (o.place_right && o.ranked_first) ? "" : "   <-");
      applicable += o.applicable ? 1 : 0;
      places += o.place_right ? 1 : 0;
      first += o.ranked_first ? 1 : 0;
    }
  }
  fmt::print("{} applicable: first divergence right {}, ranked first {} ({:.0f} %)\n", applicable,
             places, first, 100.0 * first / applicable);
  EXPECT_EQ(places, applicable);
  EXPECT_GE(first * 100, applicable * 90);
}

/// Every fault of the registry that changes what a trace of given tokens holds has a row.
TEST(Explain, Rows_CoverTheRegistry) {
  for (const diagnose::Fault& fault : diagnose::faults()) {
    const std::string name = fault.name;
    if (name.starts_with("sampling:") || name.starts_with("bos:")) {
      continue;  // change the tokens, not what is computed from them
    }
    const bool found = std::any_of(rows().begin(), rows().end(), [&](const Row& row) {
      const std::string text = row.fault;
      return text.starts_with(name) &&
             (text.size() == name.size() || text[name.size()] == ',' || text[name.size()] == ':');
    });
    EXPECT_TRUE(found) << name;
  }
}

TEST(Explain, HealthyTrace_HasNothingToExplain) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto backend = cpu_backend(model);
  compare::Trace log = imported(golden("qwen2", "eval-callback.log"));
  const auto ids = short_ids("qwen2");
  const auto report = session::explain_trace(*model, *backend, log, ids, {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report.value().healthy);
  EXPECT_EQ(report.value().tried, 0);
}

TEST(Explain, TwoBugsAtOnce_AreFoundAsAPair) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto backend = cpu_backend(model);
  const auto made = own_trace(model, short_ids("qwen2"), 0, {"drop-bias", "rope:pairing"});
  ASSERT_TRUE(made.ok());
  const auto report = session::explain_trace(*model, *backend, made.value(), {}, {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  const session::FaultScore& best = report.value().ranked.front();
  EXPECT_EQ(std::set<std::string>(best.faults.begin(), best.faults.end()),
            (std::set<std::string>{"drop-bias", "rope:pairing"}));
  EXPECT_GT(best.agreement, 0.99);
}

/// Noise in one tensor is none of the known bugs, and is not passed off as one.
TEST(Explain, UnknownBug_IsNotExplained) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto backend = cpu_backend(model);
  auto made = own_trace(model, short_ids("qwen2"));
  ASSERT_TRUE(made.ok());
  std::uint32_t state = 1;
  for (compare::TraceTensor& tensor : made.value().tensors) {
    if (tensor.name.ends_with(".ffn_act") || tensor.name.ends_with(".ffn_out")) {
      for (float& v : tensor.values) {
        state = state * 1664525U + 1013904223U;
        v += static_cast<float>(state >> 8U) / static_cast<float>(1U << 24U) - 0.5F;
      }
    }
  }
  const auto report = session::explain_trace(*model, *backend, made.value(), {}, {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_FALSE(report.value().healthy);
  EXPECT_GT(report.value().tried, 20);
  EXPECT_TRUE(report.value().convincing().empty()) << report.value().ranked.front().faults.front();
}

TEST(Explain, TokensThatDiffer_NameTheBos) {
  const auto model = load(golden("llama", "model.gguf"));
  const auto ids = short_ids("llama");
  const std::vector<std::int32_t> without(ids.begin() + 1, ids.end());
  const auto missing = session::explain_tokens(*model, without, ids);
  ASSERT_EQ(missing.size(), 1U);
  EXPECT_EQ(missing.front().faults.front(), "bos:missing");
  std::vector<std::int32_t> twice = ids;
  twice.insert(twice.begin(), ids.front());
  const auto doubled = session::explain_tokens(*model, twice, ids);
  ASSERT_EQ(doubled.size(), 1U);
  EXPECT_EQ(doubled.front().faults.front(), "bos:double");
  EXPECT_TRUE(session::explain_tokens(*model, std::vector<std::int32_t>{5, 6, 7}, ids).empty());
}

}  // namespace
}  // namespace layerscope::testing
