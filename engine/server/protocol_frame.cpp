// Window protocol: frames, rows, findings.
#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/server/window_protocol.h"

namespace layerscope::server {
namespace {

using capture::HeadStats;
using capture::LogitSummary;
using capture::TapStats;
using capture::TopToken;

constexpr std::int32_t kMostPositions = 1 << 20;
constexpr std::size_t kMostText = std::size_t{64} << 10U;
constexpr std::size_t kMostFindings = 4096;
constexpr std::size_t kMostRelated = 256;
constexpr std::size_t kMostEvidence = 4096;
// Records hold these structures as memory does: all members are 4 bytes wide.
static_assert(sizeof(TapStats) == 24 && sizeof(HeadStats) == 28 && sizeof(TopToken) == 12);

void put(WireWriter& w, const TopToken& token) { w.array(std::span(&token, 1)); }

void put(WireWriter& w, const LogitSummary& s) {
  w.put(static_cast<std::uint32_t>(s.top.size()));
  w.array(std::span(std::as_const(s.top)));
  put(w, s.best_padded);
  for (const float value : {s.min, s.max, s.mean, s.entropy}) {
    w.put(value);
  }
  w.put(s.lse);
  w.put(s.non_finite);
  w.put(s.raw_argmax);
}

bool known_id(std::int32_t id, int rows) { return id >= -1 && id < rows; }

LogitSummary get_summary(WireReader& r, int rows) {
  LogitSummary s;
  s.top.resize(r.count(capture::kTopTokens, sizeof(TopToken)));
  r.array(std::span(s.top));
  r.array(std::span(&s.best_padded, 1));
  for (float* value : {&s.min, &s.max, &s.mean, &s.entropy}) {
    *value = r.get<float>();
  }
  s.lse = r.get<double>();
  s.non_finite = r.get<std::uint32_t>();
  s.raw_argmax = r.get<std::int32_t>();
  const bool top_known = std::all_of(s.top.begin(), s.top.end(),
                                     [&](const TopToken& t) { return known_id(t.id, rows); });
  if (!top_known || !known_id(s.best_padded.id, rows) || !known_id(s.raw_argmax, rows)) {
    r.fail();
  }
  return s;
}

std::shared_ptr<const capture::AttentionRows> get_pooled(WireReader& r, std::int32_t position,
                                                         const session::ModelInfo& model) {
  capture::PooledRows pooled;
  pooled.width = r.within<std::int32_t>(1, kMostPositions);
  pooled.bins = r.within<std::int32_t>(1, 64);
  const bool power = (pooled.width & (pooled.width - 1)) == 0;
  if (!power || pooled.bins != position / pooled.width + 1) {
    r.fail();
    return nullptr;
  }
  const std::size_t n = static_cast<std::size_t>(model.n_layers) *
                        static_cast<std::size_t>(model.n_heads) *
                        static_cast<std::size_t>(pooled.bins);
  if (n > r.left()) {
    r.fail();
    return nullptr;
  }
  pooled.cells.resize(n);
  r.array(std::span(pooled.cells));
  return std::make_shared<const capture::AttentionRows>(nullptr, std::move(pooled));
}

/// The cells up to the frame's own key of what a backend pooled.
capture::PooledRows used_part(const capture::PooledRows& whole, int position) {
  capture::PooledRows used{whole.width, position / whole.width + 1, {}};
  const auto bins = static_cast<std::size_t>(whole.bins);
  for (std::size_t at = 0; at + bins <= whole.cells.size(); at += bins) {
    const auto first = whole.cells.begin() + static_cast<std::ptrdiff_t>(at);
    used.cells.insert(used.cells.end(), first, first + used.bins);
  }
  return used;
}

std::uint8_t pooled_cell(std::span<const float> row) {
  float largest = 0.0F;
  for (const float p : row) {
    if (std::isnan(p)) {
      return capture::PooledRows::kNotANumber;
    }
    largest = std::max(largest, p);
  }
  return static_cast<std::uint8_t>(std::lround(254.0F * std::sqrt(std::min(largest, 1.0F))));
}

}  // namespace

capture::PooledRows pool_rows(const capture::TokenFrame& frame) {
  if (frame.attention == nullptr || frame.n_layers <= 0 || frame.n_heads <= 0) {
    return {};
  }
  if (frame.attention->values().empty()) {
    const capture::PooledRows& whole = frame.attention->pooled();
    return whole.cells.empty() ? capture::PooledRows{} : used_part(whole, frame.position);
  }
  capture::PooledRows pooled;
  pooled.width = capture::pooled_width(frame.position + 1,
                                       capture::pooled_bins(frame.n_layers, frame.n_heads));
  pooled.bins = frame.position / pooled.width + 1;
  const auto width = static_cast<std::size_t>(pooled.width);
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (int head = 0; head < frame.n_heads; ++head) {
      const std::span<const float> row = frame.attention_row(layer, head);
      for (std::size_t begin = 0; begin < row.size(); begin += width) {
        pooled.cells.push_back(
            pooled_cell(row.subspan(begin, std::min(width, row.size() - begin))));
      }
    }
  }
  return pooled;
}

std::string encode_frame(const capture::TokenFrame& frame) {
  WireWriter w;
  w.put(frame.serial);
  w.put(frame.position);
  w.put(frame.id);
  const capture::Choice& c = frame.choice;
  w.put(c.origin);
  w.put(static_cast<std::uint8_t>(c.known));
  for (const float value : {c.logit, c.prob, c.logprob, c.entropy}) {
    w.put(value);
  }
  w.put(c.rank);
  w.put(frame.eval_ms);
  w.put(frame.detail);
  w.put(static_cast<std::uint32_t>(frame.taps.size()));
  w.array(std::span(frame.taps));
  w.put(static_cast<std::uint32_t>(frame.heads.size()));
  w.array(std::span(frame.heads));
  w.put(static_cast<std::uint8_t>(frame.logits.has_value()));
  if (frame.logits) {
    put(w, *frame.logits);
  }
  const capture::PooledRows pooled = pool_rows(frame);
  w.put(static_cast<std::uint8_t>(!pooled.cells.empty()));
  if (!pooled.cells.empty()) {
    w.put(pooled.width);
    w.put(pooled.bins);
    w.array(std::span(pooled.cells));
  }
  return w.take();
}

std::shared_ptr<capture::TokenFrame> decode_frame(std::string_view bytes,
                                                  const session::ModelInfo& model) {
  WireReader r(bytes);
  auto frame = std::make_shared<capture::TokenFrame>();
  frame->serial = r.get<std::uint64_t>();
  frame->position = r.within<std::int32_t>(0, kMostPositions);
  frame->id = r.within<std::int32_t>(0, std::max(model.vocab_rows, 1) - 1);
  capture::Choice& c = frame->choice;
  c.origin = static_cast<capture::Origin>(
      r.within<std::uint8_t>(0, static_cast<std::uint8_t>(capture::Origin::kForced)));
  c.known = r.flag();
  for (float* value : {&c.logit, &c.prob, &c.logprob, &c.entropy}) {
    *value = r.get<float>();
  }
  c.rank = r.within<std::int32_t>(-1, model.vocab_rows);
  frame->eval_ms = r.get<double>();
  frame->detail = static_cast<capture::Detail>(
      r.within<std::uint8_t>(0, static_cast<std::uint8_t>(capture::Detail::kAll)));
  frame->n_layers = model.n_layers;
  frame->n_heads = model.n_heads;
  const std::size_t n_taps = static_cast<std::size_t>(model.n_layers + 1) * capture::kNumTaps;
  frame->taps.resize(r.count(n_taps, sizeof(TapStats)));
  r.array(std::span(frame->taps));
  const std::size_t n_heads =
      static_cast<std::size_t>(model.n_layers) * static_cast<std::size_t>(model.n_heads);
  frame->heads.resize(r.count(n_heads, sizeof(HeadStats)));
  r.array(std::span(frame->heads));
  const auto all_or_none = [](std::size_t n, std::size_t all) { return n == 0 || n == all; };
  if (!all_or_none(frame->taps.size(), n_taps) || !all_or_none(frame->heads.size(), n_heads)) {
    r.fail();
  }
  for (const HeadStats& head : frame->heads) {
    if (head.argmax < -1 || head.argmax > frame->position) {
      r.fail();
    }
  }
  if (r.flag()) {
    frame->logits = get_summary(r, model.vocab_rows);
  }
  if (r.flag()) {
    frame->attention = get_pooled(r, frame->position, model);
  }
  return r.complete() ? frame : nullptr;
}

std::string encode(const Row& row) {
  WireWriter w;
  w.put(row.layer);
  w.put(row.head);
  w.put(row.position);
  w.put(row.serial);
  w.array(std::span(row.values));
  return w.take();
}

std::optional<Row> decode_row(std::string_view bytes, const session::ModelInfo& model) {
  WireReader r(bytes);
  Row row;
  row.layer = r.within<std::int32_t>(0, std::max(model.n_layers, 1) - 1);
  row.head = r.within<std::int32_t>(0, std::max(model.n_heads, 1) - 1);
  row.position = r.within<std::int32_t>(0, kMostPositions);
  row.serial = r.get<std::uint64_t>();
  const std::size_t n = static_cast<std::size_t>(row.position) + 1;
  if (!r.ok() || r.left() != n * sizeof(float)) {
    return std::nullopt;
  }
  row.values.resize(n);
  r.array(std::span(row.values));
  return row;
}

std::string encode_findings(const std::vector<diagnose::Finding>& findings, std::uint64_t serial) {
  WireWriter w;
  w.put(serial);
  const std::size_t n = std::min(findings.size(), kMostFindings);
  w.put(static_cast<std::uint32_t>(n));
  for (const diagnose::Finding& f : std::span(findings).first(n)) {
    const auto text = [&w](const std::string& t) {
      w.text(std::string_view(t).substr(0, kMostText));
    };
    const diagnose::Evidence& e = f.evidence;
    for (const std::string* t : {&f.check, &f.cause, &f.tensor, &f.message, &f.advice, &e.tap}) {
      text(*t);
    }
    w.put(f.severity);
    w.put(static_cast<std::uint8_t>(f.symptom));
    for (const std::int32_t value : {f.layer, f.head, f.position, f.stage, e.layer, e.head,
                                     e.position, e.key, e.index, e.first}) {
      w.put(value);
    }
    w.put(f.value);
    w.put(f.threshold);
    w.put(f.serial);
    for (const std::vector<float>* list : {&e.captured, &e.expected}) {
      const auto some = std::span(*list).first(std::min(list->size(), kMostEvidence));
      w.put(static_cast<std::uint32_t>(some.size()));
      w.array(some);
    }
    const auto related = std::span(f.related).first(std::min(f.related.size(), kMostRelated));
    w.put(static_cast<std::uint32_t>(related.size()));
    for (const std::string& line : related) {
      text(line);
    }
  }
  return w.take();
}

bool decode_findings(std::string_view bytes, session::Snapshot& into) {
  WireReader r(bytes);
  const auto serial = r.get<std::uint64_t>();
  constexpr std::size_t kLeast = 100;
  std::vector<diagnose::Finding> findings(r.count(kMostFindings, kLeast));
  for (diagnose::Finding& f : findings) {
    diagnose::Evidence& e = f.evidence;
    for (std::string* t : {&f.check, &f.cause, &f.tensor, &f.message, &f.advice, &e.tap}) {
      *t = r.text(kMostText);
    }
    f.severity = static_cast<diagnose::Severity>(
        r.within<std::uint8_t>(0, static_cast<std::uint8_t>(diagnose::Severity::kError)));
    f.symptom = r.flag();
    for (int* value : {&f.layer, &f.head, &f.position, &f.stage, &e.layer, &e.head, &e.position,
                       &e.key, &e.index, &e.first}) {
      *value = r.within<std::int32_t>(-1, 1 << 30);
    }
    f.value = r.get<double>();
    f.threshold = r.get<double>();
    f.serial = r.get<std::uint64_t>();
    for (std::vector<float>* list : {&e.captured, &e.expected}) {
      list->resize(r.count(kMostEvidence, sizeof(float)));
      r.array(std::span(*list));
    }
    f.related.resize(r.count(kMostRelated, sizeof(std::uint32_t)));
    for (std::string& line : f.related) {
      line = r.text(kMostText);
    }
    if (!r.ok()) {
      return false;
    }
  }
  if (!r.complete()) {
    return false;
  }
  into.findings = std::move(findings);
  into.findings_serial = serial;
  return true;
}

}  // namespace layerscope::server
