#include "engine/session/snapshot_difference.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace layerscope::session {
namespace {

using capture::TokenFrame;

/// Serials of made frames: never those of A or B.
constexpr std::uint64_t kMade = std::uint64_t{1} << 56U;

/// Views that compare sessions by serial see another one on every side.
constexpr std::uint64_t kSideShift = 58;

std::uint64_t side_serial(Side side, const Snapshot& a, const Snapshot& b) {
  return (static_cast<std::uint64_t>(side) << kSideShift) ^ (a.session_serial << 20U) ^
         b.session_serial;
}

void set_frames(const std::vector<std::shared_ptr<const TokenFrame>>& frames, Snapshot& s) {
  s.chunks.clear();
  for (std::size_t begin = 0; begin < frames.size(); begin += kChunkFrames) {
    auto chunk = std::make_shared<FrameChunk>();
    const std::size_t end = std::min(frames.size(), begin + kChunkFrames);
    chunk->frames.assign(frames.begin() + static_cast<std::ptrdiff_t>(begin),
                         frames.begin() + static_cast<std::ptrdiff_t>(end));
    s.chunks.push_back(std::move(chunk));
  }
  s.n_frames = static_cast<int>(frames.size());
  s.n_generated = std::max(0, s.n_frames - s.n_prompt());
}

std::vector<capture::TapStats> taps_difference(const TokenFrame& a, const TokenFrame& b,
                                               const std::vector<capture::TapStats>& exact) {
  if (a.taps.size() != b.taps.size()) {
    return exact.size() == a.taps.size() ? exact : std::vector<capture::TapStats>();
  }
  std::vector<capture::TapStats> taps(a.taps.size());
  for (std::size_t i = 0; i < taps.size(); ++i) {
    const capture::TapStats& x = a.taps[i];
    const capture::TapStats& y = b.taps[i];
    if (exact.size() == taps.size() && exact[i].count > 0) {
      taps[i] = exact[i];
    } else if (x.count > 0 && y.count > 0) {
      taps[i] = {std::fabs(x.l2 - y.l2),
                 std::fabs(x.absmax - y.absmax),
                 x.mean - y.mean,
                 x.count,
                 std::max(x.non_finite, y.non_finite),
                 x.zeros > y.zeros ? x.zeros - y.zeros : y.zeros - x.zeros};
    }
  }
  return taps;
}

std::vector<capture::HeadStats> heads_difference(const TokenFrame& a, const TokenFrame& b) {
  if (a.heads.size() != b.heads.size()) {
    return {};
  }
  std::vector<capture::HeadStats> heads(a.heads.size());
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const capture::HeadStats& x = a.heads[i];
    const capture::HeadStats& y = b.heads[i];
    heads[i] = {x.row_sum - y.row_sum, x.entropy - y.entropy, x.max - y.max, x.argmax,
                x.first - y.first,     x.self - y.self,       x.lse - y.lse};
  }
  return heads;
}

std::shared_ptr<const capture::AttentionRows> rows_difference(const TokenFrame& a,
                                                              const TokenFrame& b) {
  if (a.attention == nullptr || b.attention == nullptr || a.n_layers != b.n_layers ||
      a.n_heads != b.n_heads) {
    return nullptr;
  }
  const auto heads = static_cast<std::size_t>(a.n_heads);
  const std::size_t keys = static_cast<std::size_t>(a.position) + 1;
  std::vector<float> values(static_cast<std::size_t>(a.n_layers) * heads * keys, 0.0F);
  std::vector<bool> known(static_cast<std::size_t>(a.n_layers), true);
  for (int layer = 0; layer < a.n_layers; ++layer) {
    for (int head = 0; head < a.n_heads; ++head) {
      const auto x = a.attention_row(layer, head);
      const auto y = b.attention_row(layer, head);
      if (x.size() != keys || y.size() != keys) {
        known[static_cast<std::size_t>(layer)] = false;
        break;
      }
      const std::size_t at =
          (static_cast<std::size_t>(layer) * heads + static_cast<std::size_t>(head)) * keys;
      for (std::size_t k = 0; k < keys; ++k) {
        values[at + k] = std::fabs(x[k] - y[k]);
      }
    }
  }
  if (std::find(known.begin(), known.end(), true) == known.end()) {
    return nullptr;
  }
  return std::make_shared<const capture::AttentionRows>(std::move(values), std::move(known));
}

/// Tokens that both lists have, largest change of probability first.
capture::LogitSummary logits_difference(const capture::LogitSummary& a,
                                        const capture::LogitSummary& b) {
  std::map<std::int32_t, capture::TopToken> others;
  for (const capture::TopToken& token : b.top) {
    others.emplace(token.id, token);
  }
  capture::LogitSummary d;
  for (const capture::TopToken& token : a.top) {
    if (const auto other = others.find(token.id); other != others.end()) {
      d.top.push_back({token.id, token.logit - other->second.logit,
                       std::fabs(token.prob - other->second.prob)});
    }
  }
  std::stable_sort(d.top.begin(), d.top.end(),
                   [](const auto& x, const auto& y) { return x.prob > y.prob; });
  d.min = a.min - b.min;
  d.max = a.max - b.max;
  d.mean = a.mean - b.mean;
  d.entropy = std::fabs(a.entropy - b.entropy);
  d.lse = a.lse - b.lse;
  d.non_finite = std::max(a.non_finite, b.non_finite);
  d.raw_argmax = a.raw_argmax;
  return d;
}

capture::Choice choice_difference(const capture::Choice& a, const capture::Choice& b) {
  capture::Choice d;
  d.origin = a.origin;
  d.known = a.known && b.known;
  if (d.known) {
    d.logit = a.logit - b.logit;
    d.prob = std::fabs(a.prob - b.prob);
    d.logprob = a.logprob - b.logprob;
    d.rank = std::abs(a.rank - b.rank);
    d.entropy = std::fabs(a.entropy - b.entropy);
  }
  return d;
}

bool same_finding(const diagnose::Finding& x, const diagnose::Finding& y) {
  return x.check == y.check && x.cause == y.cause && x.layer == y.layer && x.head == y.head &&
         x.position == y.position;
}

std::shared_ptr<const HeadMap> map_difference(const std::shared_ptr<const HeadMap>& a,
                                              const std::shared_ptr<const HeadMap>& b) {
  if (a == nullptr || b == nullptr || a->layer != b->layer || a->head != b->head ||
      a->n_tokens != b->n_tokens) {
    return nullptr;
  }
  auto d = std::make_shared<HeadMap>(*a);
  d->last_serial |= kMade;
  for (std::size_t i = 0; i < d->probabilities.size(); ++i) {
    d->probabilities[i] = std::fabs(a->probabilities[i] - b->probabilities[i]);
  }
  return d;
}

}  // namespace

const char* side_name(Side side) {
  switch (side) {
    case Side::kA:
      return "A";
    case Side::kB:
      return "B";
    case Side::kDifference:
      return "A − B";
  }
  return "";
}

Snapshot reference_side(const Snapshot& a, const Snapshot& b) {
  Snapshot s = a;
  s.draws = false;  // the engine's pictures show A
  std::vector<std::shared_ptr<const TokenFrame>> frames;
  const int n = std::min(a.n_frames, b.n_frames);
  for (int p = 0; p < n; ++p) {
    const auto at = static_cast<std::size_t>(p);
    frames.push_back(b.chunks[at / kChunkFrames]->frames[at % kChunkFrames]);
  }
  set_frames(frames, s);
  s.session_serial = side_serial(Side::kB, a, b);
  s.head_map = b.head_map;
  s.token_detail = b.token_detail;
  s.cache_view = b.cache_view;
  s.findings = b.findings;
  s.findings_serial = a.findings_serial + b.findings_serial;
  s.recording = b.recording;
  s.trace = b.trace;
  s.faults = b.faults;
  s.branches.clear();
  return s;
}

std::shared_ptr<const TokenFrame> frame_difference(const TokenFrame& a, const TokenFrame& b,
                                                   const std::vector<capture::TapStats>& exact) {
  auto d = std::make_shared<TokenFrame>();
  d->serial = a.serial | kMade;
  d->position = a.position;
  d->id = a.id;
  d->choice = choice_difference(a.choice, b.choice);
  d->n_layers = a.n_layers;
  d->n_heads = a.n_heads;
  d->eval_ms = a.eval_ms - b.eval_ms;
  if (a.n_layers == b.n_layers && a.n_heads == b.n_heads) {
    d->taps = taps_difference(a, b, exact);
    d->heads = heads_difference(a, b);
    d->attention = rows_difference(a, b);
  }
  if (a.logits && b.logits) {
    d->logits = logits_difference(*a.logits, *b.logits);
  }
  return d;
}

std::shared_ptr<const TokenDetail> detail_difference(const std::shared_ptr<const TokenDetail>& a,
                                                     const std::shared_ptr<const TokenDetail>& b) {
  if (a == nullptr || b == nullptr || a->position != b->position) {
    return nullptr;
  }
  auto d = std::make_shared<TokenDetail>();
  d->position = a->position;
  d->id = a->id;
  d->serial = a->serial | kMade;
  d->eval_ms = a->eval_ms;
  d->lens_error = "The logit lens has no difference: look at A and B.";
  if (!a->error.empty() || !b->error.empty()) {
    d->error = a->error.empty() ? "B: " + b->error : "A: " + a->error;
    return d;
  }
  d->pass = a->pass;
  d->pass.tensors.clear();
  for (const capture::FullTensor& x : a->pass.tensors) {
    const auto y = std::find_if(
        b->pass.tensors.begin(), b->pass.tensors.end(), [&x](const capture::FullTensor& t) {
          return t.tap == x.tap && t.layer == x.layer && t.values.size() == x.values.size();
        });
    if (y == b->pass.tensors.end()) {
      continue;
    }
    capture::FullTensor t = x;
    for (std::size_t i = 0; i < t.values.size(); ++i) {
      // Masked scores are −∞ on both sides: no difference, not a NaN.
      t.values[i] = x.values[i] == y->values[i] ? 0.0F : x.values[i] - y->values[i];
    }
    d->pass.tensors.push_back(std::move(t));
  }
  if (d->pass.tensors.empty()) {
    d->error = "A and B have no whole tensor in common at this position.";
  }
  return d;
}

Snapshot SnapshotDifference::make(const Snapshot& a, const Snapshot& b,
                                  const std::shared_ptr<const compare::TapDifferences>& exact) {
  Snapshot s = a;
  s.draws = false;  // the engine's pictures show A
  if (exact != exact_) {
    made_.clear();
    exact_ = exact;
  }
  const int n = std::min(a.n_frames, b.n_frames);
  made_.resize(std::min(made_.size(), static_cast<std::size_t>(n)));
  std::vector<std::shared_ptr<const TokenFrame>> frames;
  const std::vector<capture::TapStats> unknown;
  for (int p = 0; p < n; ++p) {
    const auto at = static_cast<std::size_t>(p);
    const TokenFrame& x = *a.frame(p);
    const TokenFrame& y = *b.frame(p);
    if (at >= made_.size()) {
      made_.emplace_back();
    }
    Made& made = made_[at];
    if (made.frame == nullptr || made.serial_a != x.serial || made.serial_b != y.serial) {
      const bool known = exact != nullptr && at < exact->by_position.size();
      made = {x.serial, y.serial, frame_difference(x, y, known ? exact->by_position[at] : unknown)};
    }
    frames.push_back(made.frame);
  }
  set_frames(frames, s);
  s.session_serial = side_serial(Side::kDifference, a, b);
  s.head_map = map_difference(a.head_map, b.head_map);
  s.token_detail = detail_difference(a.token_detail, b.token_detail);
  s.cache_view = nullptr;
  s.findings.clear();
  std::copy_if(a.findings.begin(), a.findings.end(), std::back_inserter(s.findings),
               [&b](const diagnose::Finding& f) {
                 return std::none_of(
                     b.findings.begin(), b.findings.end(),
                     [&f](const diagnose::Finding& other) { return same_finding(f, other); });
               });
  s.findings_serial = (a.findings_serial + b.findings_serial) | kMade;
  s.branches.clear();
  return s;
}

}  // namespace layerscope::session
