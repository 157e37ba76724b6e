// Consistency: the same tokens evaluated in another way must give the same logits, and the
// instrument must agree with itself.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

/// Largest difference relative to the spread of the reference; NaN compares as itself.
double relative_difference(std::span<const float> a, std::span<const float> b) {
  double worst = 0.0;
  double low = INFINITY;
  double high = -INFINITY;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) {
      continue;
    }
    const double e = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(e <= worst)) {
      worst = std::isnan(e) ? INFINITY : e;
    }
    low = std::min(low, static_cast<double>(b[i]));
    high = std::max(high, static_cast<double>(b[i]));
  }
  return worst / std::max(high - low, 1e-30);
}

/// Rounding of a whole forward pass relative to the logits' spread: each of the layers' operations
/// adds its own; measured below 40 u per layer on the healthy set. Where products round their
/// inputs, or keys fall to another side of a float16 step, most of that is lost in the sums:
/// measured on a GPU, 0.36 · 2⁻¹¹ per layer with F16 and Q8_0 products (2 · 2⁻¹¹ allowed), 0.013 ·
/// 2⁻¹¹ with float32 ones and a float16 cache (1 · 2⁻¹¹ allowed).
double pass_tolerance(const DeepInput& input) {
  constexpr double kHalf = 0x1p-11;
  const Subject& s = input.subject;
  const double coarse = std::max(s.product_roundoff > s.unit_roundoff ? s.product_roundoff : 0.0,
                                 s.half_cache ? kHalf : 0.0);
  return (200.0 * s.unit_roundoff + coarse) * (s.model->spec.n_layers + 1);
}

void compare(const DeepInput& input, std::span<const float> a, std::span<const float> b,
             double tolerance, const char* cause, const char* what, const char* advice,
             Report& report) {
  if (a.empty() || a.size() != b.size()) {
    return;
  }
  const double difference = relative_difference(a, b);
  if (difference <= tolerance) {
    return;
  }
  Finding f = finding_at(*input.subject.model, "consistency", cause, Tap::kLogits, -1,
                         static_cast<int>(input.ids.size()) - 1);
  f.value = difference;
  f.threshold = tolerance;
  f.symptom = true;
  f.message = fmt::format("{}: the logits differ by {:.3g} of their range", what, difference);
  f.advice = advice;
  const std::vector<double> expected(b.begin(), b.end());
  const auto top = static_cast<std::size_t>(std::max_element(b.begin(), b.end()) - b.begin());
  show_values(f, a, expected, top);
  report.add(std::move(f));
}

}  // namespace

void check_consistency(const DeepInput& input, Report& report) {
  const std::span<const float> replay =
      input.captures.passes().empty()
          ? std::span<const float>{}
          : std::span<const float>(input.captures.passes().back().logits);
  compare(input, replay, input.prefill_logits, pass_tolerance(input), "decode-differs-from-prefill",
          "decoding token by token and evaluating all tokens at once disagree",
          "look at what only decoding uses: the KV cache's slots, positions, the one-token kernels",
          report);
  compare(input, input.run_logits, replay, pass_tolerance(input), "not-repeatable",
          "the run and its replay disagree", "look for races, stale graphs and uninitialised reads",
          report);
  compare(input, input.again_logits, replay, 0.0, "not-repeatable",
          "the same pass run twice gives different bits",
          "look for races, stale graphs and uninitialised reads", report);
  compare(input, input.again_logits, input.eager_logits, 0.0, "stale-graph",
          "the recorded step and the same kernels launched one by one give different bits",
          "the recording holds what should be read anew: record it again, or keep position, length "
          "and token in device memory",
          report);
}

/// All layers' statistics the same: the probe reads one buffer for all of them.
void check_instrument(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  if (!frame.has_stats() || frame.n_layers < 3) {
    return;
  }
  for (const Tap tap : {Tap::kQ, Tap::kResidMid, Tap::kFfnOut}) {
    const capture::TapStats& first = frame.stats(0, tap);
    bool same = first.count > 0 && first.l2 > 0.0F && first.non_finite == 0;
    for (int layer = 1; layer < frame.n_layers && same; ++layer) {
      const capture::TapStats& other = frame.stats(layer, tap);
      same = other.l2 == first.l2 && other.absmax == first.absmax && other.mean == first.mean;
    }
    if (!same) {
      continue;
    }
    Finding f = finding_at(*input.subject.model, "instrument", "same-dump-everywhere", tap, 0,
                           frame.position);
    f.severity = Severity::kWarning;
    f.value = static_cast<double>(first.l2);
    f.message =
        fmt::format("{} looks exactly the same in every layer: the capture reads one buffer",
                    capture::tap_name(tap));
    f.advice =
        "this is the instrument's fault, not the model's: capture before the buffer is reused";
    report.add(std::move(f));
  }
}

namespace {

/// Rows recomputed from the caches against those captured when the token was evaluated. Where
/// attention itself is wrong they must differ, so this is only a symptom.
void check_recomputed(const DeepInput& input, Report& report) {
  for (const RecomputedRow& row : input.recomputed) {
    const std::span<const float> live = row.captured;
    const float lse = input.newest->head(row.layer, row.head).lse;
    for (std::size_t j = 0; j < live.size(); ++j) {
      const auto a = static_cast<double>(live[j]);
      const auto b = static_cast<double>(row.probabilities[j]);
      const double distance = std::log(std::max({a, b, 1e-30}) / std::max(std::min(a, b), 1e-30));
      // Both rows are rounded; ln p is the distance from the top score at most.
      const double limit =
          2.0 * thresholds::probability(std::log(std::max(b, 1e-30)), static_cast<double>(lse),
                                        input.subject.unit_roundoff) +
          2.0 * thresholds::row_sum(live.size(), input.subject.unit_roundoff);
      if (distance <= limit || std::isnan(a) || std::max(a, b) < 1e-20) {
        continue;
      }
      Finding f = finding_at(*input.subject.model, "instrument", "recomputed-rows-disagree",
                             Tap::kAttnWeights, row.layer, row.position);
      f.severity = Severity::kWarning;
      f.symptom = true;
      f.head = row.head;
      f.evidence.head = row.head;
      f.evidence.key = static_cast<int>(j);
      f.value = a;
      f.threshold = b;
      f.message = fmt::format(
          "layer {} head {} position {}: the captured row has {:.4g} where the caches give {:.4g}",
          row.layer, row.head, row.position, a, b);
      f.advice = "if no other finding explains it, this is the instrument's fault, not the model's";
      const std::vector<double> expected(row.probabilities.begin(), row.probabilities.end());
      show_values(f, live, expected, j);
      report.add(std::move(f));
      return;
    }
  }
}

}  // namespace

/// Whole tensors against the statistics and rows that the cheaper tiers took of the same pass.
void check_instrument_rows(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  check_recomputed(input, report);
  for (const int position : input.captures.sample_positions()) {
    const capture::PassCapture& pass = input.captures.pass(position).captured;
    const auto t = static_cast<std::size_t>(position - pass.first_position);
    if (t >= pass.attention.size()) {
      continue;
    }
    for (int layer = 0; layer < model.spec.n_layers; ++layer) {
      for (int head = 0; head < model.spec.n_heads; ++head) {
        const auto whole = input.captures.attention(Tap::kAttnWeights, layer, head, position);
        const std::size_t n = static_cast<std::size_t>(position) + 1;
        const std::size_t at =
            (static_cast<std::size_t>(layer) * static_cast<std::size_t>(model.spec.n_heads) +
             static_cast<std::size_t>(head)) *
            n;
        if (whole.empty() || at + n > pass.attention[t].size()) {
          continue;
        }
        const auto row = std::span(pass.attention[t]).subspan(at, n);
        const auto bad = std::mismatch(row.begin(), row.end(), whole.begin(), [](float a, float b) {
          return a == b || (std::isnan(a) && std::isnan(b));
        });
        if (bad.first == row.end()) {
          continue;
        }
        Finding f = finding_at(model, "instrument", "captured-rows-disagree", Tap::kAttnWeights,
                               layer, position);
        f.severity = Severity::kWarning;
        f.head = head;
        f.evidence.key = static_cast<int>(bad.first - row.begin());
        f.value = static_cast<double>(*bad.first);
        f.threshold = static_cast<double>(*bad.second);
        f.message = fmt::format(
            "layer {} head {} position {}: the live attention row and the whole tensor differ",
            layer, head, position);
        f.advice = "this is the instrument's fault, not the model's";
        report.add(std::move(f));
        return;
      }
    }
  }
}

}  // namespace layerscope::diagnose
