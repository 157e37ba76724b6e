#include "engine/session/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>

namespace layerscope::session {
namespace {

using capture::Tap;
using diagnose::Pass;

constexpr int kFullPrefill = 16;  ///< tokens of the first pass whose every tap is kept
constexpr int kFullDecode = 6;    ///< last tokens, evaluated one by one with every tap
constexpr std::size_t kBatch = 64;

diagnose::Sampling plain(const SamplerSettings& s) {
  return {static_cast<double>(s.temperature), s.top_k, static_cast<double>(s.top_p),
          static_cast<double>(s.min_p), static_cast<double>(s.repeat_penalty)};
}

/// Evaluates ids[begin, end) as one pass.
Status forward(backend::Backend& backend, std::span<const std::int32_t> ids, std::size_t begin,
               std::size_t end, const capture::Request& request, const std::stop_token& stop,
               Pass& pass, bool eager = false) {
  backend::ForwardRequest forward_request;
  forward_request.ids = ids.subspan(begin, end - begin);
  forward_request.position = static_cast<int>(begin);
  forward_request.capture = request;
  forward_request.stop = stop;
  forward_request.eager = eager;
  return backend.forward(forward_request, pass.logits, pass.captured);
}

/// Logits after the last of the ids, evaluated in batches from nothing.
Result<std::vector<float>> prefill(backend::Backend& backend, std::span<const std::int32_t> ids,
                                   const std::stop_token& stop) {
  backend.truncate(0);
  Pass pass;
  for (std::size_t begin = 0; begin < ids.size(); begin += kBatch) {
    LS_CHECK(forward(backend, ids, begin, std::min(ids.size(), begin + kBatch), {}, stop, pass));
  }
  return std::move(pass.logits);
}

}  // namespace

Diagnosis::Diagnosis(const Generator& generator, MakeBackend make_backend)
    : generator_(generator), make_backend_(std::move(make_backend)) {
  subject_.model = generator.shared_model();
  take_rounding();
  subject_.context = generator.backend().context();
  diagnose::run_load_checks(subject_, load_report_);
  start(0, {});
}

/// Faults change the path that passes take, and with it how they round.
void Diagnosis::take_rounding() {
  const capture::Rounding rounding = generator_.backend().rounding();
  subject_.unit_roundoff = rounding.operation;
  subject_.product_roundoff = rounding.product;
  subject_.half_cache = rounding.half_cache;
}

void Diagnosis::start(std::size_t n_prompt, std::string fed_text) {
  subject_.n_prompt = n_prompt;
  subject_.text_known = !fed_text.empty();
  subject_.fed_text = std::move(fed_text);
  report_ = load_report_;
  seen_ = 0;
  regroup();
}

void Diagnosis::rewind(std::size_t n_frames) {
  if (n_frames < seen_) {
    const std::vector<diagnose::Finding> before = report_.raw();
    report_ = load_report_;
    seen_ = 0;
    observe();
    keep_unseen(before, n_frames);
    regroup();
  }
}

/// Findings about frames whose statistics were dropped since: looking again cannot find them.
void Diagnosis::keep_unseen(const std::vector<diagnose::Finding>& before, std::size_t n_frames) {
  const auto& frames = generator_.frames();
  const std::size_t n = std::min(n_frames, frames.size());
  for (const diagnose::Finding& finding : before) {
    const auto at = static_cast<std::size_t>(std::max(finding.position, 0));
    if (finding.position < 0 || at >= n || frames[at]->detail >= capture::Detail::kStatistics) {
      continue;
    }
    const bool again = std::any_of(
        report_.raw().begin(), report_.raw().end(), [&finding](const diagnose::Finding& other) {
          return other.check == finding.check && other.cause == finding.cause &&
                 other.position == finding.position && other.layer == finding.layer &&
                 other.head == finding.head;
        });
    if (!again) {
      report_.add(finding);
    }
  }
}

void Diagnosis::regroup() {
  findings_ = report_.grouped();
  ++serial_;
  for (std::size_t i = 0; i < findings_.size(); ++i) {
    findings_[i].serial = (serial_ << 16U) | i;
  }
}

bool Diagnosis::observe() {
  subject_.sampling = plain(generator_.sampler_settings);
  const auto& frames = generator_.frames();
  const std::size_t before = report_.raw().size();
  for (; seen_ < frames.size(); ++seen_) {
    diagnose::run_live_checks({subject_, std::span(frames).first(seen_ + 1)}, report_);
  }
  if (report_.raw().size() == before) {
    return false;
  }
  regroup();
  return true;
}

/// Layers whose tensors fit the budget, from the first on.
int Diagnosis::captured_layers() const {
  const model::DecoderSpec& spec = generator_.model().spec;
  const auto n = static_cast<double>(generator_.ids().size());
  const double kv = 2.0 * spec.kv_width() * n;
  const double taps =
      8.0 * spec.hidden + 3.0 * spec.q_width() + 2.0 * spec.kv_width() + 3.0 * spec.ffn_width();
  const double rows = 2.0 * spec.n_heads * (kFullDecode * n + kFullPrefill * kFullPrefill);
  const double per_layer = 4.0 * (kv + (kFullPrefill + kFullDecode) * taps + rows);
  const double fit = static_cast<double>(replay_bytes) / per_layer;
  return fit >= spec.n_layers ? spec.n_layers : std::max(1, static_cast<int>(fit));
}

/// A first pass of some tokens in full, the rest of the prompt with keys and values only, and the
/// last tokens one by one in full.
Result<std::vector<Pass>> Diagnosis::replay(backend::Backend& shadow,
                                            const std::stop_token& stop) const {
  const std::vector<std::int32_t>& ids = generator_.ids();
  const auto n = static_cast<int>(ids.size());
  const int generated = n - static_cast<int>(subject_.n_prompt);
  const int decode = std::min(n - 1, std::clamp(generated, 2, kFullDecode));
  const auto prefill_end = static_cast<std::size_t>(n - decode);
  capture::Request full;
  full.tier = capture::Tier::kFull;
  full.last_layer = captured_layers() - 1;
  capture::Request keys = full;
  keys.taps = 1U << static_cast<unsigned>(Tap::kKRope) | 1U << static_cast<unsigned>(Tap::kV);
  std::vector<Pass> passes;
  shadow.truncate(0);
  for (std::size_t begin = 0; begin < ids.size();) {
    std::size_t size = 1;
    if (begin < prefill_end) {
      size = std::min(begin == 0 ? std::size_t{kFullPrefill} : kBatch, prefill_end - begin);
    }
    const bool in_full = begin == 0 || begin >= prefill_end;
    Pass& pass = passes.emplace_back();
    LS_CHECK(forward(shadow, ids, begin, begin + size, in_full ? full : keys, stop, pass));
    begin += size;
  }
  return passes;
}

/// Draws from a known staircase of logits at settings where every mistake shows.
std::vector<diagnose::SamplerProbe> Diagnosis::probe_sampler() const {
  constexpr int kDraws = 64;
  constexpr std::size_t kSteps = 12;
  constexpr float kStep = 0.5F;
  const model::Model& model = generator_.model();
  std::vector<float> logits(static_cast<std::size_t>(model.spec.vocab_rows), -20.0F);
  std::size_t step = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool usable = model.tokenizer->is_usable(static_cast<std::int32_t>(i));
    if (usable && step < kSteps) {
      logits[i] = 3.0F - kStep * static_cast<float>(step++);
    } else if (!usable) {
      logits[i] = 3.0F;  // padding as likely as the best token
    }
  }
  std::vector<diagnose::SamplerProbe> probes;
  const auto probe = [&](SamplerSettings settings) {
    diagnose::SamplerProbe& p = probes.emplace_back();
    p.logits = logits;
    p.sampling = plain(settings);
    for (int i = 0; i < kDraws; ++i) {
      settings.seed = static_cast<std::uint64_t>(i);
      const auto id = generator_.draw(logits, {}, settings);
      if (id.ok()) {
        p.drawn.push_back(id.value());
      }
    }
  };
  probe({0.3F, 0, 1.0F, 0.0F, 1.0F, 0, 0});
  probe({1.5F, 0, 0.8F, 0.0F, 1.0F, 0, 0});
  probe({0.0F, 40, 0.95F, 0.05F, 1.0F, 0, 0});
  return probes;
}

/// A diagonal of heads through the layers, for the newest token.
std::vector<diagnose::RecomputedRow> Diagnosis::recompute_rows() const {
  std::vector<diagnose::RecomputedRow> rows;
  const capture::TokenFrame& frame = *generator_.frames().back();
  if (frame.attention == nullptr || !frame.attention->has_rows()) {
    return rows;
  }
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    diagnose::RecomputedRow row;
    row.layer = layer;
    row.head = layer % frame.n_heads;
    row.position = frame.position;
    row.probabilities.resize(static_cast<std::size_t>(frame.position) + 1);
    row.captured.resize(row.probabilities.size());
    generator_.backend().attention_row(row.layer, row.head, row.position, row.probabilities);
    if (generator_.backend().captured_row(frame, row.layer, row.head, row.captured).ok()) {
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

Status Diagnosis::deepen(const std::stop_token& stop) {
  const std::vector<std::int32_t>& ids = generator_.ids();
  if (ids.empty()) {
    return usage_error("nothing has been evaluated yet, so there is nothing to diagnose");
  }
  observe();
  take_rounding();
  // LongRoPE chooses its divisors by the run's context: the replay must choose the same.
  const bool same = generator_.model().spec.long_rope(subject_.context);
  LS_TRY(auto shadow, make_backend_(same ? subject_.context : static_cast<int>(ids.size()) + 1));
  LS_CHECK(shadow->set_interventions(generator_.interventions()));
  LS_TRY(const std::vector<Pass> passes, replay(*shadow, stop));
  Pass again;
  Pass eager;
  shadow->truncate(static_cast<int>(ids.size()) - 1);
  LS_CHECK(forward(*shadow, ids, ids.size() - 1, ids.size(), {}, stop, again));
  if (shadow->replays_steps()) {
    shadow->truncate(static_cast<int>(ids.size()) - 1);
    LS_CHECK(forward(*shadow, ids, ids.size() - 1, ids.size(), {}, stop, eager, true));
  }
  LS_TRY(const std::vector<float> whole, prefill(*shadow, ids, stop));
  const diagnose::Captures captures(passes);
  const std::vector<diagnose::SamplerProbe> probes = probe_sampler();
  const std::vector<diagnose::RecomputedRow> recomputed = recompute_rows();
  diagnose::DeepInput input{
      subject_,     ids,          captures, probes,     generator_.logits(),
      again.logits, eager.logits, whole,    recomputed, generator_.frames().back()};
  if (passes.back().captured.n_tokens > 1) {
    input.again_logits = {};  // one token in all: nothing was decoded
    input.eager_logits = {};
  }
  diagnose::run_deep_checks(input, report_);
  regroup();
  return {};
}

std::string place_text(const diagnose::Finding& f) {
  std::string text;
  const auto add = [&](const char* what, int value) {
    if (value >= 0) {
      text += fmt::format("{}{} {}", text.empty() ? "" : " · ", what, value);
    }
  };
  add("layer", f.layer);
  add("head", f.head);
  add("position", f.position);
  if (!f.tensor.empty()) {
    text += fmt::format("{}{}", text.empty() ? "" : " · ", f.tensor);
  }
  return text;
}

}  // namespace layerscope::session
