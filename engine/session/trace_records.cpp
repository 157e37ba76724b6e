#include "engine/session/trace_records.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace layerscope::session {
namespace {

using capture::TokenFrame;

constexpr std::size_t kTapWidth = 6, kHeadWidth = 7, kChoiceWidth = 8, kLogitWidth = 12,
                      kTopWidth = 3;

float number(std::int64_t value) { return static_cast<float>(value); }

/// The number as an id or count; `other` where it is none.
std::int32_t integer(float value, std::int32_t other = -1) {
  return std::isfinite(value) && std::fabs(value) <= 0x1p24F ? static_cast<std::int32_t>(value)
                                                             : other;
}

std::uint32_t count(float value) {
  return static_cast<std::uint32_t>(std::max(0, integer(value, 0)));
}

void put_choice(const TokenFrame& frame, std::vector<float>& out) {
  const capture::Choice& c = frame.choice;
  out.insert(out.end(), {c.known ? 1.0F : 0.0F, number(static_cast<int>(c.origin)), c.logit, c.prob,
                         c.logprob, number(c.rank), c.entropy, static_cast<float>(frame.eval_ms)});
}

void put_logits(const TokenFrame& frame, std::vector<float>& stats, std::vector<float>& top) {
  const bool known = frame.logits.has_value();
  const capture::LogitSummary s = frame.logits.value_or(capture::LogitSummary{});
  const auto coarse = static_cast<float>(s.lse);
  stats.insert(stats.end(), {known ? 1.0F : 0.0F, s.min, s.max, s.mean, s.entropy, coarse,
                             static_cast<float>(s.lse - static_cast<double>(coarse)),
                             number(s.non_finite), number(s.raw_argmax), number(s.best_padded.id),
                             s.best_padded.logit, s.best_padded.prob});
  for (std::size_t i = 0; i < capture::kTopTokens; ++i) {
    const capture::TopToken token = i < s.top.size() ? s.top[i] : capture::TopToken{};
    top.insert(top.end(), {number(token.id), token.logit, token.prob});
  }
}

/// The values of a record of exactly that shape.
std::optional<std::vector<float>> find_record(const compare::Trace& trace, int pass,
                                              const char* name,
                                              const std::vector<std::int64_t>& shape) {
  const std::string wanted = fmt::format("p{}.{}", pass, name);
  const auto found = std::find_if(trace.tensors.begin(), trace.tensors.end(),
                                  [&](const compare::TraceTensor& t) { return t.name == wanted; });
  if (found == trace.tensors.end() || found->shape != shape) {
    return std::nullopt;
  }
  auto values = compare::known_values(*found);
  if (!values.ok() || values.value().size() != found->n_elements()) {
    return std::nullopt;
  }
  return std::move(values).value();
}

void take_taps(std::span<const float> v, TokenFrame& frame) {
  frame.taps.resize(v.size() / kTapWidth);
  for (std::size_t i = 0; i < frame.taps.size(); ++i) {
    const auto s = v.subspan(i * kTapWidth, kTapWidth);
    frame.taps[i] = {s[0], s[1], s[2], count(s[3]), count(s[4]), count(s[5])};
  }
}

void take_heads(std::span<const float> v, TokenFrame& frame) {
  frame.heads.resize(v.size() / kHeadWidth);
  for (std::size_t i = 0; i < frame.heads.size(); ++i) {
    const auto s = v.subspan(i * kHeadWidth, kHeadWidth);
    frame.heads[i] = {s[0], s[1], s[2], integer(s[3]), s[4], s[5], s[6]};
  }
}

void take_choice(std::span<const float> v, TokenFrame& frame) {
  const std::int32_t origin = std::clamp(integer(v[1], 0), 0, 2);
  frame.choice = {
      static_cast<capture::Origin>(origin), v[0] > 0.0F, v[2], v[3], v[4], integer(v[5]), v[6]};
  frame.eval_ms = static_cast<double>(v[7]);
}

void take_logits(std::span<const float> v, std::span<const float> top, TokenFrame& frame) {
  if (!(v[0] > 0.0F)) {
    return;
  }
  capture::LogitSummary s;
  s.min = v[1];
  s.max = v[2];
  s.mean = v[3];
  s.entropy = v[4];
  s.lse = static_cast<double>(v[5]) + static_cast<double>(v[6]);
  s.non_finite = count(v[7]);
  s.raw_argmax = integer(v[8]);
  s.best_padded = {integer(v[9]), v[10], v[11]};
  for (std::size_t i = 0; i + kTopWidth <= top.size(); i += kTopWidth) {
    if (const std::int32_t id = integer(top[i]); id >= 0) {
      s.top.push_back({id, top[i + 1], top[i + 2]});
    }
  }
  frame.logits = std::move(s);
}

}  // namespace

std::vector<RecordTensor> statistics_records(std::span<const capture::TapStats> taps,
                                             std::span<const capture::HeadStats> heads,
                                             int n_tokens, int n_layers, int n_heads) {
  if (taps.empty()) {
    return {};
  }
  RecordTensor t{"tap_stats",
                 {n_tokens, n_layers + 1, static_cast<std::int64_t>(capture::kNumTaps), kTapWidth},
                 {}};
  t.values.reserve(taps.size() * kTapWidth);
  for (const capture::TapStats& s : taps) {
    t.values.insert(t.values.end(), {s.l2, s.absmax, s.mean, number(s.count), number(s.non_finite),
                                     number(s.zeros)});
  }
  RecordTensor h{"head_stats", {n_tokens, n_layers, n_heads, kHeadWidth}, {}};
  h.values.reserve(heads.size() * kHeadWidth);
  for (const capture::HeadStats& s : heads) {
    h.values.insert(h.values.end(),
                    {s.row_sum, s.entropy, s.max, number(s.argmax), s.first, s.self, s.lse});
  }
  std::vector<RecordTensor> records;
  records.push_back(std::move(t));
  records.push_back(std::move(h));
  return records;
}

std::vector<RecordTensor> choice_records(FrameSpan frames) {
  const auto n = static_cast<std::int64_t>(frames.size());
  RecordTensor choice{"choice", {n, kChoiceWidth}, {}};
  RecordTensor stats{"logit_stats", {n, kLogitWidth}, {}};
  RecordTensor top{"logit_top", {n, capture::kTopTokens, kTopWidth}, {}};
  for (const auto& frame : frames) {
    put_choice(*frame, choice.values);
    put_logits(*frame, stats.values, top.values);
  }
  std::vector<RecordTensor> records;
  records.push_back(std::move(choice));
  records.push_back(std::move(stats));
  records.push_back(std::move(top));
  return records;
}

void read_records(const compare::Trace& trace, int pass,
                  std::span<const std::shared_ptr<TokenFrame>> frames) {
  if (frames.empty()) {
    return;
  }
  const auto n = static_cast<std::int64_t>(frames.size());
  const std::int64_t n_layers = frames.front()->n_layers;
  const std::int64_t n_heads = frames.front()->n_heads;
  const auto n_taps = static_cast<std::int64_t>(capture::kNumTaps);
  const auto each = [&](const std::optional<std::vector<float>>& values, const auto& take) {
    if (!values) {
      return;
    }
    const std::size_t width = values->size() / frames.size();
    for (std::size_t i = 0; i < frames.size(); ++i) {
      take(std::span(*values).subspan(i * width, width), i);
    }
  };
  each(find_record(trace, pass, "tap_stats", {n, n_layers + 1, n_taps, kTapWidth}),
       [&](std::span<const float> v, std::size_t i) { take_taps(v, *frames[i]); });
  each(find_record(trace, pass, "head_stats", {n, n_layers, n_heads, kHeadWidth}),
       [&](std::span<const float> v, std::size_t i) { take_heads(v, *frames[i]); });
  each(find_record(trace, pass, "choice", {n, kChoiceWidth}),
       [&](std::span<const float> v, std::size_t i) { take_choice(v, *frames[i]); });
  const auto top = find_record(trace, pass, "logit_top", {n, capture::kTopTokens, kTopWidth});
  each(find_record(trace, pass, "logit_stats", {n, kLogitWidth}),
       [&](std::span<const float> v, std::size_t i) {
         constexpr std::size_t kRow = capture::kTopTokens * kTopWidth;
         take_logits(v, top ? std::span(*top).subspan(i * kRow, kRow) : std::span<const float>(),
                     *frames[i]);
       });
}

}  // namespace layerscope::session
