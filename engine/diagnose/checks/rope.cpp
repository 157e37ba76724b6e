// RoPE: Q and K before and after rotation. The rotation of the spec is recomputed; where it does
// not fit, candidates are tried at every captured position and the one that fits all is named.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;
using kernels::RopePairing;

/// A rotation: pairing, times applied, frequencies, and a shift of the position.
struct Rotation {
  RopePairing pairing = RopePairing::kHalf;
  double times = 1.0;
  std::vector<double> inv_freq;
  int shift = 0;
  double factor = 1.0;  ///< of cosines and sines
};

struct Sample {
  int layer, head, position;
  bool is_query;
  std::span<const float> before, after;  ///< one head each
};

void rotate(const Rotation& r, int position, std::span<const float> x, std::vector<double>& out,
            std::vector<double>& magnitude) {
  out.assign(x.begin(), x.end());
  magnitude.assign(x.size(), 0.0);
  if (r.times == 0.0) {
    return;
  }
  const std::size_t n = r.inv_freq.size();
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t a = r.pairing == RopePairing::kHalf ? i : 2 * i;
    const std::size_t b = r.pairing == RopePairing::kHalf ? i + n : 2 * i + 1;
    const double angle = r.times * static_cast<double>(position + r.shift) * r.inv_freq[i];
    const auto va = static_cast<double>(x[a]);
    const auto vb = static_cast<double>(x[b]);
    out[a] = r.factor * (va * std::cos(angle) - vb * std::sin(angle));
    out[b] = r.factor * (va * std::sin(angle) + vb * std::cos(angle));
    magnitude[a] = magnitude[b] = r.factor * (std::fabs(va) + std::fabs(vb));
  }
}

/// Largest error over tolerance and where; below 1 the rotation fits.
struct Fit {
  double ratio = 0.0;
  std::size_t index = 0;
};
Fit fit(const Rotation& r, const Sample& s, double u) {
  std::vector<double> out;
  std::vector<double> magnitude;
  rotate(r, s.position, s.before, out, magnitude);
  Fit worst;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double tolerance = thresholds::rope(u) * magnitude[i] + 1e-30;
    const double e = std::fabs(static_cast<double>(s.after[i]) - out[i]);
    const double ratio = std::isfinite(e) ? e / tolerance : INFINITY;
    if (ratio > worst.ratio) {
      worst = {ratio, i};
    }
  }
  return worst;
}

/// The layer's frequencies were its base another one.
std::vector<double> frequencies(const model::DecoderSpec& spec, int layer, double base) {
  model::DecoderSpec own = spec;
  if (spec.rope_base_windowed > 0.0 && spec.layer_windowed(layer)) {
    own.rope_scaling = model::RopeScaling::kNone;
  }
  return model::rope_frequencies(own, base);
}

double base_of(const model::DecoderSpec& spec, int layer) {
  return spec.rope_base_windowed > 0.0 && spec.layer_windowed(layer) ? spec.rope_base_windowed
                                                                     : spec.rope_base;
}

/// The rotation that the spec asks for in a layer.
Rotation rotation_of(const DeepInput& input, int layer) {
  const model::Model& model = *input.subject.model;
  return {model.spec.rope_pairing, model.spec.layer_rotates(layer) ? 1.0 : 0.0,
          model.weights.frequencies(model.spec, layer, input.subject.context), 0,
          model.spec.rope_factor};
}

struct Candidate {
  const char* cause;
  std::string why;
  const char* advice;
  Rotation rotation;
};

std::vector<Candidate> candidates(const DeepInput& input, int layer) {
  const model::DecoderSpec& spec = input.subject.model->spec;
  const Rotation right = rotation_of(input, layer);
  const auto with = [&](auto change) {
    Rotation r = right;
    change(r);
    return r;
  };
  const bool half = spec.rope_pairing == RopePairing::kHalf;
  std::vector<Candidate> list{
      {"rope-off", "the values after RoPE equal those before it",
       "apply the rotation to Q and K of every layer", with([](Rotation& r) { r.times = 0.0; })},
      {"rope-twice", "every pair is turned by twice its angle",
       "apply the rotation once: perhaps both the projection and the cache write rotate",
       with([](Rotation& r) {
         r.times = 2.0;
         r.factor *= r.factor;
       })},
      {"rope-pairing",
       fmt::format("the dimensions are paired {} instead of {}",
                   half ? "(2i, 2i + 1)" : "(i, i + half)",
                   half ? "(i, i + half)" : "(2i, 2i + 1)"),
       "use the architecture's pairing, or permute the weights of Q and K to the other one",
       with([&](Rotation& r) { r.pairing = half ? RopePairing::kAdjacent : RopePairing::kHalf; })},
      {"rope-position", "the angles are those of the position before", "count positions from 0",
       with([](Rotation& r) { r.shift = -1; })},
      {"rope-position", "the angles are those of the position after", "count positions from 0",
       with([](Rotation& r) { r.shift = 1; })},
  };
  if (!spec.layer_rotates(layer)) {
    return {{"rope-unexpected", "this layer is rotated, but the architecture leaves it as it is",
             "leave Q and K of every such layer unrotated (NoPE)",
             with([](Rotation& r) { r.times = 1.0; })}};
  }
  if (spec.rope_factor != 1.0) {
    list.push_back({"rope-factor",
                    fmt::format("cosines and sines are not multiplied by {:.6g}", spec.rope_factor),
                    "apply the scaling's attention factor to cosines and sines",
                    with([](Rotation& r) { r.factor = 1.0; })});
  }
  const double own_base = base_of(spec, layer);
  const std::vector<double> plain = frequencies(spec, layer, own_base);
  if (plain != right.inv_freq) {
    list.push_back({"rope-base", "the frequency divisors of the file are not applied",
                    "divide each frequency by its entry of rope_freqs or rope_factors",
                    with([&](Rotation& r) { r.inv_freq = plain; })});
  }
  if (spec.rope_scaling != model::RopeScaling::kNone) {
    model::DecoderSpec unscaled = spec;
    unscaled.rope_scaling = model::RopeScaling::kNone;
    list.push_back({"rope-scaling", "the scaling for long contexts is not applied",
                    "read rope.scaling from the metadata", with([&](Rotation& r) {
                      r.inv_freq = model::rope_frequencies(unscaled, own_base);
                    })});
  }
  for (const double base : {1e4, 1e5, 5e5, 1e6}) {
    if (base != own_base) {
      list.push_back(
          {"rope-base",
           fmt::format("the angles are those of base {:g}, the file says {:g}", base, own_base),
           "read rope.freq_base from the metadata",
           with([&](Rotation& r) { r.inv_freq = frequencies(spec, layer, base); })});
    }
  }
  return list;
}

std::vector<Sample> samples(const DeepInput& input, int layer, bool is_query) {
  const model::DecoderSpec& spec = input.subject.model->spec;
  const auto width = static_cast<std::size_t>(spec.head_dim);
  const int heads = is_query ? spec.n_heads : spec.n_kv_heads;
  std::vector<Sample> list;
  for (const int position : input.captures.sample_positions()) {
    const auto before = input.captures.row(is_query ? Tap::kQ : Tap::kK, layer, position);
    const auto after = input.captures.row(is_query ? Tap::kQRope : Tap::kKRope, layer, position);
    if (before.empty() || after.empty() || !all_finite(before)) {
      continue;
    }
    for (int h = 0; h < heads; ++h) {
      const std::size_t offset = static_cast<std::size_t>(h) * width;
      list.push_back({layer, h, position, is_query, before.subspan(offset, width),
                      after.subspan(offset, width)});
    }
  }
  return list;
}

/// The frequency ladder's base as the angles at one small position show it; 0 when they show none.
double measured_base(const model::DecoderSpec& spec, const Sample& s) {
  const auto n = static_cast<std::size_t>(spec.rope_dim / 2);
  const std::size_t i = n / 2;
  if (s.position < 1 || i == 0) {
    return 0.0;
  }
  const std::size_t a = spec.rope_pairing == RopePairing::kHalf ? i : 2 * i;
  const std::size_t b = spec.rope_pairing == RopePairing::kHalf ? i + n : 2 * i + 1;
  const double angle =
      std::atan2(static_cast<double>(s.after[b]), static_cast<double>(s.after[a])) -
      std::atan2(static_cast<double>(s.before[b]), static_cast<double>(s.before[a]));
  const double frequency = std::remainder(angle, 2.0 * 3.14159265358979323846) / s.position;
  return frequency > 0.0 ? std::pow(frequency, -spec.rope_dim / (2.0 * static_cast<double>(i)))
                         : 0.0;
}

void explain_rope(const DeepInput& input, const std::vector<Sample>& bad, Finding& f) {
  const model::Model& model = *input.subject.model;
  for (const Candidate& c : candidates(input, bad.front().layer)) {
    const bool fits = std::all_of(bad.begin(), bad.end(), [&](const Sample& s) {
      return fit(c.rotation, s, input.subject.unit_roundoff).ratio <= 4.0;
    });
    if (fits) {
      f.cause = c.cause;
      f.message = c.why;
      f.advice = c.advice;
      return;
    }
  }
  f.cause = "rope-wrong";
  const double base = measured_base(model.spec, bad.front());
  f.message = base > 0.0
                  ? fmt::format("the angles fit no usual mistake; they suggest base {:.4g}", base)
                  : "the rotation fits no usual mistake";
  f.advice = "compare cosines and sines of one position with the formula";
}

}  // namespace

void check_rope(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  if (model.spec.rope_pairing == RopePairing::kNone) {
    return;
  }
  for (int layer = 0; layer < model.spec.n_layers; ++layer) {
    const Rotation right = rotation_of(input, layer);
    for (const bool is_query : {true, false}) {
      std::vector<Sample> bad;
      Fit first;
      for (const Sample& s : samples(input, layer, is_query)) {
        const Fit result = fit(right, s, input.subject.unit_roundoff);
        if (result.ratio > 1.0) {
          first = bad.empty() ? result : first;
          bad.push_back(s);
        }
      }
      if (bad.empty()) {
        continue;
      }
      const Sample& s = bad.front();
      Finding f =
          finding_at(model, "rope", "", is_query ? Tap::kQRope : Tap::kKRope, layer, s.position);
      const bool all_heads =
          std::any_of(bad.begin(), bad.end(), [&](const Sample& o) { return o.head != s.head; });
      f.head = all_heads ? -1 : s.head;
      f.evidence.head = s.head;
      std::vector<double> expected;
      std::vector<double> magnitude;
      rotate(right, s.position, s.before, expected, magnitude);
      f.value = std::fabs(static_cast<double>(s.after[first.index]) - expected[first.index]);
      f.threshold = thresholds::rope(input.subject.unit_roundoff) * magnitude[first.index];
      explain_rope(input, bad, f);
      f.message = fmt::format("{} of layer {} at position {}: {}", f.evidence.tap, layer,
                              s.position, f.message);
      show_values(f, s.after, expected, first.index);
      report.add(std::move(f));
    }
  }
}

void check_rope_live(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  const model::Model& model = *input.subject.model;
  if (frame.position == 0 || !frame.has_stats() || model.spec.rope_pairing == RopePairing::kNone) {
    return;
  }
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    if (!model.spec.layer_rotates(layer)) {
      continue;
    }
    const capture::TapStats& before = frame.stats(layer, Tap::kQ);
    const capture::TapStats& after = frame.stats(layer, Tap::kQRope);
    if (before.count == 0 || after.count == 0 || before.l2 == 0.0F || before.non_finite > 0) {
      continue;
    }
    if (before.mean == after.mean && before.absmax == after.absmax && before.l2 == after.l2) {
      Finding f = finding_at(model, "rope", "rope-off", Tap::kQRope, layer, frame.position);
      f.value = 0.0;
      f.message = fmt::format(
          "q_rope of layer {} at position {}: norm, mean and largest value are those before RoPE",
          layer, frame.position);
      f.advice = "apply the rotation to Q and K of every layer";
      report.add(std::move(f));
    }
  }
}

}  // namespace layerscope::diagnose
