#include "engine/session/foreign_diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/backend/backend.h"
#include "engine/compare/comparison.h"
#include "engine/compare/thresholds.h"
#include "engine/diagnose/captures.h"
#include "engine/diagnose/check.h"
#include "engine/session/trace_run.h"

namespace layerscope::session {
namespace {

using capture::FullTensor;
using capture::Tap;
using compare::Trace;

/// Shape of one row of a tap in this model; empty for attention.
std::vector<std::int64_t> row_shape(Tap tap, const model::DecoderSpec& spec) {
  switch (tap) {
    case Tap::kQ:
    case Tap::kQRope:
    case Tap::kAttnContext:
      return {spec.n_heads, spec.head_dim};
    case Tap::kK:
    case Tap::kKRope:
    case Tap::kV:
      return {spec.n_kv_heads, spec.head_dim};
    case Tap::kFfnGate:
    case Tap::kFfnUp:
    case Tap::kFfnAct:
      return {spec.ffn};
    case Tap::kLogits:
      return {spec.vocab_rows};
    case Tap::kAttnScores:
    case Tap::kAttnWeights:
    case Tap::kMoeRouter:
    case Tap::kMoeTopk:
      return {};
    default:
      return {spec.hidden};
  }
}

bool is_attention(Tap tap) { return tap == Tap::kAttnScores || tap == Tap::kAttnWeights; }
bool is_rotated(Tap tap) {
  return tap == Tap::kQ || tap == Tap::kK || tap == Tap::kQRope || tap == Tap::kKRope;
}

/// Turns a trace into passes as our backends capture them.
class Converter {
 public:
  Converter(const model::Model& model, const Trace& trace, ForeignReport& report)
      : model_(model),
        trace_(trace),
        report_(report),
        dims_(trace_model(model)),
        reading_(compare::read_taps(trace, dims_)) {}

  Result<std::vector<diagnose::Pass>> run() {
    LS_CHECK(check_ids());
    pairs_ = head_order();
    std::vector<diagnose::Pass> passes(trace_.passes.size());
    for (std::size_t p = 0; p < passes.size(); ++p) {
      capture::PassCapture& c = passes[p].captured;
      c.first_position = trace_.passes[p].first_position;
      c.n_tokens = trace_.passes[p].n_tokens;
      c.n_layers = model_.spec.n_layers;
      c.n_heads = model_.spec.n_heads;
    }
    for (const compare::TapTensor& tap : reading_.taps) {
      const auto pass = static_cast<std::size_t>(tap.pass);
      if (pass < passes.size() && tap.layer < model_.spec.n_layers) {
        LS_CHECK(add(tap, passes[pass].captured));
      }
    }
    list_missing();
    return passes;
  }

 private:
  Status check_ids() const {
    if (trace_.ids.empty()) {
      return invalid_input(
          fmt::format("'{}' does not say its token ids; without them neither the embedding nor the "
                      "positions can be checked",
                      trace_.path));
    }
    for (const std::int32_t id : trace_.ids) {
      if (id < 0 || id >= model_.spec.vocab_rows) {
        return invalid_input(
            fmt::format("'{}' has token id {}, but '{}' has rows 0 to {}: it is not this model's",
                        trace_.path, id, model_.name(), model_.spec.vocab_rows - 1));
      }
    }
    if (trace_.n_positions() > static_cast<int>(trace_.ids.size())) {
      return invalid_input(fmt::format("'{}' has {} token ids, but tensors of {} positions",
                                       trace_.path, trace_.ids.size(), trace_.n_positions()));
    }
    return {};
  }

  /// Whether the trace's heads are stored for the other RoPE pairing than the file's: Q of layer 0
  /// recomputed from the file tells.
  [[nodiscard]] compare::Pairs head_order() const {
    const auto q = tensor_of(Tap::kQ);
    const auto x = tensor_of(Tap::kAttnNorm);
    const format::TensorInfo* w = model_.file->find_tensor("blk.0.attn_q.weight");
    if (!q || !x || w == nullptr || w->shape.size() != 2 || w->shape[1] != row_width(*x) ||
        w->shape[0] != row_width(*q) || model_.spec.head_dim < 2) {
      return compare::Pairs::kSame;
    }
    const std::vector<float> bias = bias_of("blk.0.attn_q.bias", w->shape[0]);
    compare::TapValues expected = *q;
    expected.n_rows = 1;
    expected.values.assign(w->shape[0], 0.0F);
    for (std::size_t r = 0; r < expected.values.size(); ++r) {
      const auto row = format::decode_values(*w, r * w->shape[1], w->shape[1]);
      double sum = bias.empty() ? 0.0 : static_cast<double>(bias[r]);
      for (std::size_t c = 0; row.ok() && c < row.value().size(); ++c) {
        sum += static_cast<double>(row.value()[c]) * static_cast<double>(x->values[c]);
      }
      expected.values[r] = static_cast<float>(sum);
    }
    for (const compare::Pairs pairs :
         {compare::Pairs::kSame, compare::Pairs::kHalvesAgainstInterleaved,
          compare::Pairs::kInterleavedAgainstHalves}) {
      compare::DifferenceOptions options;
      options.tolerance = compare::thresholds::kFloat16;
      options.head_dim = model_.spec.head_dim;
      options.pairs = pairs;
      if (!difference(*q, std::span(&expected, 1), options).diverges()) {
        return pairs;
      }
    }
    return compare::Pairs::kSame;
  }

  [[nodiscard]] std::vector<float> bias_of(const char* name, std::uint64_t n) const {
    const format::TensorInfo* tensor = model_.file->find_tensor(name);
    if (tensor == nullptr || tensor->n_elements != n) {
      return {};
    }
    auto values = format::decode_values(*tensor, 0, n);
    return values.ok() ? std::move(values).value() : std::vector<float>{};
  }

  [[nodiscard]] std::optional<compare::TapValues> tensor_of(Tap tap) const {
    for (const compare::TapTensor& one : reading_.taps) {
      const bool first = one.tap == tap && one.layer == 0 && one.pass == 0;
      if (first) {
        auto values = compare::tap_values(trace_, one, dims_);
        if (values.ok() && values.value().known.empty()) {
          return std::move(values).value();
        }
      }
    }
    return std::nullopt;
  }
  static std::uint64_t row_width(const compare::TapValues& v) {
    return static_cast<std::uint64_t>(v.width);
  }

  Status add(const compare::TapTensor& which, capture::PassCapture& pass) {
    auto values = compare::tap_values(trace_, which, dims_);
    if (!values.ok()) {
      return invalid_input(fmt::format("'{}': {}", trace_.path, values.error().message));
    }
    compare::TapValues& v = values.value();
    const std::string& name = trace_.tensors[which.tensor].name;
    // Printed digits are too few to recompute an operation to the last bits.
    if (!v.known.empty() || which.unmasked || v.printed > 0.0) {
      partial_.insert(fmt::format("{} (only in part or as text)", capture::tap_name(which.tap)));
      return {};
    }
    FullTensor out;
    out.tap = which.tap;
    out.layer = which.layer;
    if (is_attention(which.tap)) {
      LS_CHECK(attention_shape(v, pass, name, out));
    } else {
      LS_CHECK(rows_shape(v, pass, name, out));
    }
    if (out.shape.empty()) {
      return {};
    }
    if (is_rotated(which.tap) && pairs_ != compare::Pairs::kSame) {
      reorder(v);
    }
    out.values = std::move(v.values);
    have_.insert(which.tap);
    ++report_.operations;
    pass.tensors.push_back(std::move(out));
    return {};
  }

  Status rows_shape(const compare::TapValues& v, const capture::PassCapture& pass,
                    const std::string& name, FullTensor& out) const {
    const std::vector<std::int64_t> row = row_shape(out.tap, model_.spec);
    std::int64_t width = 1;
    for (const std::int64_t d : row) {
      width *= d;
    }
    if (row.empty()) {
      return {};
    }
    if (v.width != width) {
      return invalid_input(fmt::format(
          "'{}': tensor '{}' has rows of {} values where '{}' has {} ({}); is it this "
          "model's trace?",
          trace_.path, name, v.width, model_.name(), width, capture::tap_name(out.tap)));
    }
    // Inside a layer every token has a row, except after the last attention.
    const bool whole = v.n_rows == pass.n_tokens;
    if (!whole && out.tap != Tap::kFinalNorm && out.tap != Tap::kLogits) {
      return {};
    }
    out.shape = {v.n_rows};
    out.shape.insert(out.shape.end(), row.begin(), row.end());
    return {};
  }

  Status attention_shape(compare::TapValues& v, const capture::PassCapture& pass,
                         const std::string& name, FullTensor& out) const {
    const int keys = pass.first_position + pass.n_tokens;
    if (v.n_heads != model_.spec.n_heads || v.n_rows != pass.n_tokens || v.width < keys) {
      return invalid_input(fmt::format(
          "'{}': tensor '{}' is [{}, {}, {}] where [{} heads, {} tokens, at least {} keys] are "
          "expected",
          trace_.path, name, v.n_heads, v.n_rows, v.width, model_.spec.n_heads, pass.n_tokens,
          keys));
    }
    if (v.width > keys) {  // padded
      std::vector<float> cut;
      for (int h = 0; h < v.n_heads; ++h) {
        for (int r = 0; r < v.n_rows; ++r) {
          const auto begin = v.values.begin() + static_cast<std::ptrdiff_t>(v.index(h, r, 0));
          cut.insert(cut.end(), begin, begin + keys);
        }
      }
      v.values = std::move(cut);
      v.width = keys;
    }
    hide_masked(v, out.tap);
    out.shape = {v.n_heads, v.n_rows, v.width};
    return {};
  }

  /// Engines mask with −∞ or with a large negative number; ours is −∞.
  static void hide_masked(compare::TapValues& v, Tap tap) {
    constexpr float kMasked = -1e9F;
    if (tap != Tap::kAttnScores) {
      return;
    }
    for (float& x : v.values) {
      x = x <= kMasked ? -INFINITY : x;
    }
  }

  void reorder(compare::TapValues& v) const {
    const compare::TapValues before = v;
    for (int row = 0; row < v.n_rows; ++row) {
      for (int c = 0; c < v.width; ++c) {
        const int head = c / model_.spec.head_dim;
        const int from =
            head * model_.spec.head_dim +
            compare::paired_column(pairs_, c % model_.spec.head_dim, model_.spec.head_dim);
        v.values[v.index(0, row, c)] = before.values[before.index(0, row, from)];
      }
    }
  }

  void list_missing() {
    for (std::size_t i = 0; i < capture::kNumTaps; ++i) {
      const Tap tap = static_cast<Tap>(i);
      const bool mixture = tap == Tap::kMoeRouter || tap == Tap::kMoeTopk;
      if (!have_.contains(tap) && !mixture) {
        const std::string name(capture::tap_name(tap));
        const std::string in_part = name + " (only in part or as text)";
        report_.missing.push_back(partial_.contains(in_part) ? in_part : name);
      }
    }
    if (pairs_ != compare::Pairs::kSame) {
      report_.notes.emplace_back(
          "the trace stores the heads of Q and K for the other RoPE pairing than the file; they "
          "were "
          "put in the file's order");
    }
    report_.unused = reading_.unread;
  }

  const model::Model& model_;
  const Trace& trace_;
  ForeignReport& report_;
  compare::TraceModel dims_;
  compare::Reading reading_;
  compare::Pairs pairs_ = compare::Pairs::kSame;
  std::set<Tap> have_;
  std::set<std::string> partial_;
};

/// Rounding of one operation of the engine behind a trace.
double roundoff_of(const Trace& trace) {
  if (trace.unit_roundoff > 0.0) {
    return trace.unit_roundoff;
  }
  const std::string precision = compare::tolerance_of(trace, trace).precision;
  constexpr double kF16 = 0x1p-11;
  constexpr double kBf16 = 0x1p-8;
  // An unknown engine may use faster exponentials and other orders of summation than ours.
  constexpr double kUnknownF32 = 0x1p-22;
  return precision == "bfloat16" ? kBf16 : precision == "float16" ? kF16 : kUnknownF32;
}

}  // namespace

Result<ForeignReport> diagnose_trace(const std::shared_ptr<const model::Model>& model,
                                     const Trace& trace) {
  ForeignReport report;
  LS_TRY(const std::vector<diagnose::Pass> passes, Converter(*model, trace, report).run());
  diagnose::Subject subject;
  subject.model = model;
  subject.unit_roundoff = roundoff_of(trace);
  subject.product_roundoff = subject.unit_roundoff;
  subject.n_prompt = trace.n_prompt > 0 ? trace.n_prompt : trace.ids.size();
  diagnose::Report found;
  diagnose::run_load_checks(subject, found);
  if (report.operations > 0) {
    const diagnose::Captures captures(passes);
    diagnose::DeepInput input{subject, trace.ids, captures, {}, {}, {}, {}, {}, {}, nullptr};
    diagnose::run_deep_checks(input, found);
  }
  report.findings = found.grouped();
  report.checks_run = found.checks_run();
  for (const std::string& note : trace.notes) {
    report.notes.push_back(note);
  }
  return report;
}

}  // namespace layerscope::session
