// Head: logits recomputed from final_norm with the file's head, rows that no text uses included.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

/// Which of the compared rows are wrong, and how they look.
struct BadRows {
  std::size_t n = 0, padded = 0, compared_padded = 0;
  std::size_t zero = 0, first = 0, last = 0;
  bool constant = true;  ///< every wrong row holds one value
  bool stale = false;    ///< every wrong row holds its value at all captured positions
};

BadRows bad_rows(const Linear& l, const std::vector<bool>& usable) {
  BadRows bad;
  float value = 0.0F;
  bad.stale = l.positions.size() > 1;
  for (std::size_t i = 0; i < l.expected[l.worst].size(); ++i) {
    const std::size_t r = i * l.stride;
    const bool pad = r >= usable.size() || !usable[r];
    bad.compared_padded += pad ? 1U : 0U;
    const float captured = l.out[l.worst][r];
    if (agrees(captured, l.expected[l.worst][i], l.tolerance[l.worst][i])) {
      continue;
    }
    if (bad.n == 0) {
      bad.first = r;
      value = captured;
    }
    bad.constant = bad.constant && captured == value;
    bad.stale = bad.stale && std::all_of(l.out.begin(), l.out.end(),
                                         [&](const auto& row) { return row[r] == captured; });
    bad.last = r;
    ++bad.n;
    bad.padded += pad ? 1U : 0U;
    bad.zero += captured == 0.0F ? 1U : 0U;
  }
  return bad;
}

/// True when the captured logits are another matrix of the file times final_norm.
bool is_head(const Linear& l, const format::TensorInfo& other) {
  std::vector<double> values;
  std::vector<double> tolerance;
  const std::size_t rows = std::min<std::size_t>(other.shape[0], l.out[l.worst].size());
  for (std::size_t r = 0; r < rows; r += l.stride) {
    const Dot d = dot(tensor_row(other, r), l.in[l.worst]);
    values.push_back(d.sum);
    tolerance.push_back(4.0 * l.bound[l.worst] * d.magnitude + 1e-30);
  }
  l.finish.apply(values, tolerance);
  std::size_t good = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    good += agrees(l.out[l.worst][i * l.stride], values[i], tolerance[i]) ? 1U : 0U;
  }
  return static_cast<double>(good) >= thresholds::kExplained * static_cast<double>(values.size());
}

/// How much two vectors point the same way (−1 … 1), centred.
double correlation(std::span<const float> a, const std::vector<double>& b, std::size_t stride) {
  double sa = 0.0;
  double sb = 0.0;
  const auto n = static_cast<double>(b.size());
  for (std::size_t i = 0; i < b.size(); ++i) {
    sa += static_cast<double>(a[i * stride]);
    sb += b[i];
  }
  double ab = 0.0;
  double aa = 0.0;
  double bb = 0.0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double x = static_cast<double>(a[i * stride]) - sa / n;
    const double y = b[i] - sb / n;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa > 0.0 && bb > 0.0 ? ab / std::sqrt(aa * bb) : 0.0;
}

void explain_head(const model::Model& model, const Linear& l, Finding& f) {
  const std::vector<bool> usable = model.usable_rows();
  const BadRows bad = bad_rows(l, usable);
  const format::TensorInfo* embedding = model.file->find_tensor("token_embd.weight");
  if (bad.padded == bad.n && bad.n > 0) {
    f.cause = "padding-leftover";
    f.severity = Severity::kWarning;  // harmless as long as nobody scans them
    f.symptom = true;
    f.message = fmt::format(
        "the {} wrong rows are all padding (the tokenizer has {} tokens, the head {} rows): they "
        "hold "
        "leftovers, not products",
        bad.n, model.tokenizer->n_tokens(), model.spec.vocab_rows);
    f.advice = "compute every row of the head, or leave the padded ones out of the scan";
    return;
  }
  if (bad.zero == bad.n || (bad.constant && bad.n > 2)) {
    f.cause = "head-rows-unwritten";
    f.message =
        fmt::format("{} rows from {} to {} all hold {:.4g} and are not products of final_norm",
                    bad.n, bad.first, bad.last, l.out[l.worst][bad.first]);
    f.advice = "the grid of the head's product does not cover every row of the vocabulary";
    return;
  }
  if (bad.stale && bad.n > 0) {
    f.cause = "head-rows-stale";
    f.message = fmt::format(
        "{} rows from {} to {} keep their values from token to token, whatever final_norm is",
        bad.n, bad.first, bad.last);
    f.advice = "these rows are left from an earlier pass: compute all of them, every time";
    return;
  }
  if (!model.weights.tied_head && embedding != nullptr && is_head(l, *embedding)) {
    f.cause = "wrong-head";
    f.tensor = "output.weight";
    f.message = "the logits are final_norm times the embedding, but the file has a head of its own";
    f.advice = "use output.weight: this model is not tied";
    return;
  }
  const double r = correlation(l.out[l.worst], l.expected[l.worst], l.stride);
  const Explanation why = explain(l);
  constexpr double kUnrelated = 0.5;
  if (why.cause == "wrong-weights" && r < kUnrelated) {
    f.cause = "wrong-head";
    f.message = fmt::format(
        "the logits have nothing to do with final_norm times {} (correlation {:.3f})", f.tensor, r);
    f.advice = model.weights.tied_head
                   ? "this model is tied: use the embedding as the head, it has no other"
                   : "load output.weight as the head";
    return;
  }
  f.cause = why.cause;
  f.message = fmt::format("logits are not final_norm times {}: {}", f.tensor, why.why);
  f.advice = why.advice;
}

}  // namespace

void check_head(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const char* name = model.weights.tied_head ? "token_embd.weight" : "output.weight";
  const format::TensorInfo* tensor = model.file->find_tensor(name);
  if (tensor == nullptr || tensor->shape.size() != 2) {
    return;
  }
  Finish finish;
  finish.scale = static_cast<double>(model.spec.logit_scale);
  finish.cap = static_cast<double>(model.spec.logit_cap);
  finish.u = input.subject.unit_roundoff;
  const auto linear = recompute(input, whole_tensor(*tensor), tensor_values(model, "output.bias"),
                                {Tap::kFinalNorm, -1}, {Tap::kLogits, -1}, finish);
  if (!linear || linear->n_bad == 0) {
    return;
  }
  const Linear& l = *linear;
  Finding f = finding_at(model, "head", "", Tap::kLogits, -1, l.positions[l.worst]);
  f.tensor = name;
  const std::size_t i = l.worst_row / l.stride;
  f.value = std::fabs(static_cast<double>(l.out[l.worst][l.worst_row]) - l.expected[l.worst][i]);
  f.threshold = l.tolerance[l.worst][i];
  explain_head(model, l, f);
  show_values(f, l.out[l.worst], l.stride == 1 ? l.expected[l.worst] : std::vector<double>{},
              l.worst_row);
  report.add(std::move(f));
}

void check_logits(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  const model::Model& model = *input.subject.model;
  const bool sampled = frame.choice.origin == capture::Origin::kSampled;
  if (sampled && !model.tokenizer->is_usable(frame.id)) {
    Finding f =
        finding_at(model, "logits", "padding-scanned", Tap::kLogits, -1, frame.position - 1);
    f.value = frame.id;
    const std::vector<bool> usable = model.usable_rows();
    const auto n_usable = std::count(usable.begin(), usable.end(), true);
    f.threshold = static_cast<double>(n_usable);
    f.evidence.index = frame.id;
    f.message =
        fmt::format("row {} of the head was sampled, which is padding: text uses {} of its {} rows",
                    frame.id, n_usable, model.spec.vocab_rows);
    f.advice = "scan only the tokenizer's tokens for the next one";
    report.add(std::move(f));
  }
  if (!frame.logits || frame.logits->non_finite > 0) {
    return;
  }
  const capture::LogitSummary& l = *frame.logits;
  const auto spread = static_cast<double>(l.max) - static_cast<double>(l.min);
  const double limit =
      thresholds::kUniformLogits * std::max(std::fabs(static_cast<double>(l.max)), 1e-30);
  if (spread <= limit && model.tokenizer->n_tokens() > 1) {
    Finding f = finding_at(model, "logits", "logits-uniform", Tap::kLogits, -1, frame.position);
    f.value = spread;
    f.threshold = limit;
    f.symptom = true;
    f.message = fmt::format("all logits are {:.4g}: every token is equally likely", l.max);
    f.advice = "look for a zero hidden state or a head that is not computed";
    report.add(std::move(f));
  }
}

}  // namespace layerscope::diagnose
