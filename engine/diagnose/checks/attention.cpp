// Attention: scores, soft-max and context of each head recomputed from the captured rotated Q, K
// and V of all positions. Wrong scores are explained in attention_scores.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/attention_scores.h"
#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

/// What the soft-max of the captured scores should be; masked keys give 0.
std::vector<double> soft_max(std::span<const float> scores) {
  double top = -INFINITY;
  for (const float s : scores) {
    top = std::max(top, static_cast<double>(s));
  }
  std::vector<double> p(scores.size());
  double sum = 0.0;
  for (std::size_t j = 0; j < p.size(); ++j) {
    p[j] = std::exp(static_cast<double>(scores[j]) - top);
    sum += p[j];
  }
  for (double& v : p) {
    v /= sum;
  }
  return p;
}

/// Names a row that is not the soft-max of its scores.
void explain_weights(std::span<const float> scores, std::span<const float> weights, Finding& f) {
  double top = -INFINITY;
  for (const float s : scores) {
    top = std::max(top, static_cast<double>(s));
  }
  bool unnormalised = true;
  bool equal = weights.size() > 2;
  double sum = 0.0;
  for (std::size_t j = 0; j < weights.size(); ++j) {
    const double e = std::exp(static_cast<double>(scores[j]) - top);
    unnormalised =
        unnormalised && std::fabs(static_cast<double>(weights[j]) - e) <= 1e-4 * e + 1e-30;
    equal = equal && (scores[j] == -INFINITY || weights[j] == weights[0]);
    sum += static_cast<double>(weights[j]);
  }
  if (unnormalised) {
    f.cause = "softmax-unnormalised";
    f.message =
        fmt::format("the row sums to {:.4g}: the exponentials are not divided by their sum", sum);
    f.advice = "divide by the sum of the exponentials of the row";
  } else if (equal) {
    f.cause = "softmax-uniform";
    f.message = "all keys get the same weight although their scores differ";
    f.advice = "look at what the soft-max reads: perhaps an empty or zero buffer";
  } else {
    f.cause = "softmax-wrong";
    f.message = fmt::format("the row sums to {:.4g} and is not the soft-max of its scores", sum);
    f.advice = "recompute the row by hand from the scores: maximum, exponentials, sum";
  }
}

class AttentionCheck {
 public:
  AttentionCheck(const DeepInput& input, Report& report)
      : input_(input),
        report_(report),
        model_(*input.subject.model),
        u_(input.subject.unit_roundoff) {}

  void layer(int layer) {
    ScoreSamples wrong(input_, layer);
    for (const int position : input_.captures.full_positions()) {
      if (!wrong.has_history(position)) {
        continue;
      }
      for (int head = 0; head < model_.spec.n_heads; ++head) {
        const auto scores = input_.captures.attention(Tap::kAttnScores, layer, head, position);
        const auto weights = input_.captures.attention(Tap::kAttnWeights, layer, head, position);
        if (scores.empty() || weights.empty()) {
          continue;
        }
        mask(layer, head, position, scores);
        const bool right = wrong.compare(head, position, scores);
        softmax(layer, head, position, scores, weights);
        if (right) {
          context(layer, head, position, weights);
        }
      }
    }
    wrong.explain(report_);
  }

 private:
  void mask(int layer, int head, int position, std::span<const float> scores) {
    const auto first = static_cast<std::size_t>(model_.spec.first_key(layer, position));
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const bool outside = j < first;
      const bool later = j > static_cast<std::size_t>(position);
      if (scores[j] == -INFINITY || !(outside || later)) {
        continue;
      }
      Finding f = finding_at(model_, "attention", later ? "mask-missing" : "window-missing",
                             Tap::kAttnScores, layer, position);
      f.head = head;
      f.evidence.head = head;
      f.evidence.key = static_cast<int>(j);
      f.value = static_cast<double>(scores[j]);
      f.threshold = -INFINITY;
      f.message = fmt::format(
          "layer {} head {}: the token at position {} sees position {}, {}", layer, head, position,
          j,
          later ? std::string("which comes after it")
                : fmt::format("which is outside this layer's window of {}", model_.spec.window));
      f.advice =
          later
              ? "set scores above the diagonal to minus infinity before the soft-max (causal mask)"
              : "mask keys older than the window in the layers that have one";
      show_values(f, scores, {}, j);
      report_.add(std::move(f));
      return;
    }
  }

  void softmax(int layer, int head, int position, std::span<const float> scores,
               std::span<const float> weights) {
    if (std::any_of(scores.begin(), scores.end(),
                    [](float s) { return std::isnan(s) || s == INFINITY; })) {
      return;
    }
    const std::vector<double> expected = soft_max(scores);
    const float top = *std::max_element(scores.begin(), scores.end());
    for (std::size_t j = 0; j < expected.size(); ++j) {
      const double distance = std::isfinite(scores[j])
                                  ? static_cast<double>(top) - static_cast<double>(scores[j])
                                  : 0.0;
      const double tolerance =
          thresholds::probability(distance, static_cast<double>(top), u_) * expected[j] +
          thresholds::dot(expected.size(), u_) * expected[j] + 1e-30;
      if (agrees(weights[j], expected[j], tolerance)) {
        continue;
      }
      Finding f = finding_at(model_, "attention", "", Tap::kAttnWeights, layer, position);
      f.head = head;
      f.evidence.head = head;
      f.evidence.key = static_cast<int>(j);
      f.value = std::fabs(static_cast<double>(weights[j]) - expected[j]);
      f.threshold = tolerance;
      explain_weights(scores, weights, f);
      f.message = fmt::format("layer {} head {} position {}: {}", layer, head, position, f.message);
      show_values(f, weights, expected, j);
      report_.add(std::move(f));
      return;
    }
  }

  void context(int layer, int head, int position, std::span<const float> weights) {
    const auto width = static_cast<std::size_t>(model_.spec.head_dim);
    const auto whole = input_.captures.row(Tap::kAttnContext, layer, position);
    const auto kv = static_cast<std::size_t>(head / model_.spec.heads_per_kv());
    if (whole.empty() || !all_finite(weights)) {
      return;
    }
    const auto captured = whole.subspan(static_cast<std::size_t>(head) * width, width);
    std::vector<double> expected(width, 0.0);
    std::vector<double> magnitude(width, 0.0);
    for (std::size_t j = 0; j < weights.size(); ++j) {
      const auto v = input_.captures.row(Tap::kV, layer, static_cast<int>(j));
      if (weights[j] == 0.0F) {
        continue;
      }
      if (v.empty() || !all_finite(v)) {
        return;
      }
      const auto own = v.subspan(kv * width, width);
      const std::vector<float> half =
          input_.subject.half_cache ? as_half(own) : std::vector<float>{};
      const std::span<const float> cached = half.empty() ? own : std::span<const float>(half);
      for (std::size_t d = 0; d < width; ++d) {
        const double product = static_cast<double>(weights[j]) * static_cast<double>(cached[d]);
        expected[d] += product;
        magnitude[d] += std::fabs(product);
      }
    }
    for (std::size_t d = 0; d < width; ++d) {
      const double tolerance = thresholds::dot(weights.size(), u_) * magnitude[d] + 1e-30;
      if (!agrees(captured[d], expected[d], tolerance)) {
        report_context(layer, head, position, captured, expected, d, tolerance);
        return;
      }
    }
  }

  void report_context(int layer, int head, int position, std::span<const float> captured,
                      std::span<const double> expected, std::size_t d, double tolerance) {
    const bool zero =
        std::all_of(captured.begin(), captured.end(), [](float v) { return v == 0.0F; });
    Finding f = finding_at(model_, "attention", zero ? "head-zero" : "context-wrong",
                           Tap::kAttnContext, layer, position);
    f.head = head;
    f.evidence.head = head;
    f.value = std::fabs(static_cast<double>(captured[d]) - expected[d]);
    f.threshold = tolerance;
    f.message =
        zero ? fmt::format("layer {} head {} gives zero although its weights and values do not",
                           layer, head)
             : fmt::format(
                   "layer {} head {}: the weighted sum of the values is {:.4g} where {:.4g} is "
                   "expected",
                   layer, head, captured[d], expected[d]);
    f.advice = zero ? "the head is switched off, or its output is overwritten"
                    : "look at which value slots and which KV head are read";
    show_values(f, captured, expected, d);
    report_.add(std::move(f));
  }

  const DeepInput& input_;
  Report& report_;
  const model::Model& model_;
  double u_;
};

}  // namespace

void check_attention(const DeepInput& input, Report& report) {
  AttentionCheck check(input, report);
  for (int layer = 0; layer < input.subject.model->spec.n_layers; ++layer) {
    check.layer(layer);
  }
}

void check_row_sums(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  if (frame.heads.empty()) {
    return;
  }
  const double u = input.subject.unit_roundoff;
  const double rounding = thresholds::row_sum(static_cast<std::size_t>(frame.position) + 1, u);
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (int head = 0; head < frame.n_heads; ++head) {
      const capture::HeadStats& stats = frame.head(layer, head);
      const double limit = rounding + u * std::fabs(static_cast<double>(stats.lse));
      const double off = std::fabs(static_cast<double>(stats.row_sum) - 1.0);
      if (off <= limit || !std::isfinite(stats.row_sum)) {
        continue;
      }
      // exp(0) = 1 is the largest of the undivided exponentials.
      const bool unnormalised = stats.row_sum > 1.0F && stats.max == 1.0F;
      Finding f = finding_at(*input.subject.model, "row-sum",
                             unnormalised ? "softmax-unnormalised" : "row-sum", Tap::kAttnWeights,
                             layer, frame.position);
      f.head = head;
      f.evidence.head = head;
      f.value = static_cast<double>(stats.row_sum);
      f.threshold = limit;
      f.symptom = !unnormalised;
      f.message = fmt::format("layer {} head {} position {}: attention weights sum to {:.6g}{}",
                              layer, head, frame.position, stats.row_sum,
                              unnormalised ? " and the largest is exactly 1: they were not divided "
                                             "by their sum"
                                           : "");
      f.advice = unnormalised ? "divide by the sum of the exponentials of the row"
                              : "look at the soft-max and at the mask of this layer";
      report.add(std::move(f));
    }
  }
}

}  // namespace layerscope::diagnose
