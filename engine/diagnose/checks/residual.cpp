// Residual stream: what each block leaves is what it found plus what the block gave.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

struct Addition {
  Tap before, block, after;
};

/// What is added is the block's output, normalised where the architecture does so.
std::array<Addition, 2> additions(const model::DecoderSpec& spec) {
  return {{{Tap::kResidOut, spec.post_norm ? Tap::kAttnPostNorm : Tap::kAttnOut, Tap::kResidMid},
           {Tap::kResidMid, spec.post_norm ? Tap::kFfnPostNorm : Tap::kFfnOut, Tap::kResidOut}}};
}

/// True when after = before · a + block · b everywhere.
bool fits(std::span<const float> before, std::span<const float> block, std::span<const float> after,
          double a, double b, double u) {
  for (std::size_t i = 0; i < after.size(); ++i) {
    const double x = a * static_cast<double>(before[i]);
    const double y = b * static_cast<double>(block[i]);
    if (!agrees(after[i], x + y,
                2.0 * thresholds::add(u) * (std::fabs(x) + std::fabs(y)) + 1e-30)) {
      return false;
    }
  }
  return true;
}

struct Candidate {
  double before, block;
  const char* cause;
  const char* why;
};

constexpr Candidate kCandidates[] = {
    {1.0, 0.0, "residual-skipped", "the block's output is not added"},
    {1.0, 2.0, "residual-doubled", "the block's output is added twice"},
    {0.0, 1.0, "residual-lost", "only the block's output is left, the stream before it is gone"},
    {1.0, -1.0, "residual-sign", "the block's output is subtracted"},
};

/// The stream before the attention block of a layer comes from the layer before.
Tap before_tap(const Addition& add, int layer) {
  return add.before == Tap::kResidOut && layer == 0 ? Tap::kEmbedding : add.before;
}
int before_layer(const Addition& add, int layer) {
  return add.before == Tap::kResidOut ? layer - 1 : layer;
}

void check_addition(const DeepInput& input, const Addition& add, int layer, Report& report) {
  const model::Model& model = *input.subject.model;
  const double u = input.subject.unit_roundoff;
  for (const int position : input.captures.sample_positions()) {
    const auto before =
        input.captures.row(before_tap(add, layer), before_layer(add, layer), position);
    const auto block = input.captures.row(add.block, layer, position);
    const auto after = input.captures.row(add.after, layer, position);
    if (before.empty() || block.empty() || after.empty() || !all_finite(before) ||
        !all_finite(block) || fits(before, block, after, 1.0, 1.0, u)) {
      continue;
    }
    const auto found = std::find_if(
        std::begin(kCandidates), std::end(kCandidates),
        [&](const Candidate& c) { return fits(before, block, after, c.before, c.block, u); });
    const bool known = found != std::end(kCandidates);
    Finding f = finding_at(model, "residual", known ? found->cause : "residual-wrong", add.after,
                           layer, position);
    f.message =
        fmt::format("{} of layer {} is not {} + {}: {}", capture::tap_name(add.after), layer,
                    capture::tap_name(before_tap(add, layer)), capture::tap_name(add.block),
                    known ? found->why : "no usual mistake explains it");
    f.advice = "look at the addition after this block: its operands, order and buffer";
    std::vector<double> expected;
    std::size_t worst = 0;
    for (std::size_t i = 0; i < after.size(); ++i) {
      expected.push_back(static_cast<double>(before[i]) + static_cast<double>(block[i]));
      const double e = std::fabs(static_cast<double>(after[i]) - expected[i]);
      if (!(e <= f.value)) {
        f.value = e;
        worst = i;
      }
    }
    f.threshold = thresholds::add(u) * std::fabs(expected[worst]);
    show_values(f, after, expected, worst);
    report.add(std::move(f));
    return;
  }
}

}  // namespace

void check_residual(const DeepInput& input, Report& report) {
  for (int layer = 0; layer < input.subject.model->spec.n_layers; ++layer) {
    for (const Addition& add : additions(input.subject.model->spec)) {
      check_addition(input, add, layer, report);
    }
  }
}

/// A block that changes nothing although it gave something, by statistics alone.
void check_residual_live(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  if (!frame.has_stats()) {
    return;
  }
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (const Addition& add : additions(input.subject.model->spec)) {
      const capture::TapStats& before =
          frame.stats(before_layer(add, layer), before_tap(add, layer));
      const capture::TapStats& block = frame.stats(layer, add.block);
      const capture::TapStats& after = frame.stats(layer, add.after);
      const double u = input.subject.unit_roundoff;
      // A block too small for the stream's precision may honestly change nothing.
      const bool matters = static_cast<double>(block.l2) > 1e3 * u * static_cast<double>(before.l2);
      if (before.count == 0 || block.count == 0 || !matters || after.non_finite > 0 ||
          before.l2 != after.l2 || before.mean != after.mean || before.absmax != after.absmax) {
        continue;
      }
      Finding f = finding_at(*input.subject.model, "residual", "residual-skipped", add.after, layer,
                             frame.position);
      f.value = static_cast<double>(after.l2) - static_cast<double>(before.l2);
      f.threshold = static_cast<double>(block.l2);
      f.message = fmt::format(
          "{} of layer {} has norm, mean and largest value of the stream before it, although {} "
          "has norm {:.4g}: the block's output is not added",
          capture::tap_name(add.after), layer, capture::tap_name(add.block), block.l2);
      f.advice = "look at the addition after this block: its operands, order and buffer";
      report.add(std::move(f));
    }
  }
}

}  // namespace layerscope::diagnose
