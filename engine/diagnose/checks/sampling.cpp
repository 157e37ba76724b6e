// Sampling: the exact distribution, recomputed in float64, against what was drawn.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

struct Candidate {
  std::int32_t id;
  double logit;
  double prob;
};

void soft_max(std::vector<Candidate>& list, double temperature) {
  double sum = 0.0;
  for (Candidate& c : list) {
    c.prob = std::exp((c.logit - list.front().logit) / temperature);
    sum += c.prob;
  }
  for (Candidate& c : list) {
    c.prob /= sum;
  }
}

/// How the top-p filter adds up.
enum class Nucleus { kProbabilities, kLogits };

/// top-k, top-p, min-p, temperature, as the settings say.
std::vector<Candidate> distribution(const model::Model& model, std::span<const float> logits,
                                    const Sampling& s, Nucleus nucleus, bool padded) {
  std::vector<Candidate> list;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    if (std::isfinite(logits[i]) && (padded || model.tokenizer->is_usable(id))) {
      list.push_back({id, static_cast<double>(logits[i]), 0.0});
    }
  }
  std::sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  if (list.empty()) {
    return list;
  }
  if (s.temperature <= 0.0) {
    list.erase(list.begin() + 1, list.end());
    list.front().prob = 1.0;
    return list;
  }
  if (s.top_k > 0) {
    const auto k = std::min(list.size(), static_cast<std::size_t>(s.top_k));
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(k), list.end());
  }
  soft_max(list, 1.0);
  if (s.top_p < 1.0) {
    double sum = 0.0;
    std::size_t keep = 0;
    while (keep < list.size() && (keep == 0 || sum < s.top_p)) {
      sum += nucleus == Nucleus::kProbabilities ? list[keep].prob : list[keep].logit;
      ++keep;
    }
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(keep), list.end());
  }
  while (list.size() > 1 && list.back().prob < s.min_p * list.front().prob) {
    list.pop_back();
  }
  soft_max(list, s.temperature);
  return list;
}

/// Σ log P(drawn); −∞ when something was drawn that cannot be.
double log_likelihood(const std::vector<Candidate>& list, std::span<const std::int32_t> drawn) {
  double sum = 0.0;
  for (const std::int32_t id : drawn) {
    const auto found =
        std::find_if(list.begin(), list.end(), [id](const Candidate& c) { return c.id == id; });
    sum += found != list.end() ? std::log(found->prob) : -INFINITY;
  }
  return sum;
}

struct Hypothesis {
  const char* cause;
  const char* why;
  const char* advice;
  double likelihood;
};

std::vector<Hypothesis> hypotheses(const model::Model& model, const SamplerProbe& probe) {
  std::vector<Hypothesis> list;
  const auto add = [&](const char* cause, const char* why, const char* advice, const Sampling& s,
                       Nucleus nucleus, bool padded) {
    const auto d = distribution(model, probe.logits, s, nucleus, padded);
    list.push_back({cause, why, advice, log_likelihood(d, probe.drawn)});
  };
  Sampling plain = probe.sampling;
  plain.temperature = 1.0;
  add("temperature-ignored", "the draws fit temperature 1", "divide the logits by the temperature",
      plain, Nucleus::kProbabilities, false);
  add("top-p-before-softmax", "the draws fit a top-p that adds up logits instead of probabilities",
      "apply the soft-max before adding up to top-p", probe.sampling, Nucleus::kLogits, false);
  add("padding-scanned", "the draws fit a scan over padded rows of the head",
      "leave rows beyond the tokenizer's tokens out", probe.sampling, Nucleus::kProbabilities,
      true);
  Sampling open = probe.sampling;
  open.top_p = 1.0;
  open.min_p = 0.0;
  open.top_k = 0;
  add("filters-ignored", "the draws fit sampling without top-k, top-p and min-p",
      "apply the filters before drawing", open, Nucleus::kProbabilities, false);
  return list;
}

/// Evidence of one cause against the exact distribution, in nats, over all probes.
struct Verdict {
  const char* cause;
  const char* why;
  const char* advice;
  double nats = 0.0;
  bool possible = true;
};

/// What the run says of its newest distribution against the soft-max of its logits in float64: a
/// sum that is lost in float32 over a large vocabulary shows here.
void check_distribution(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  if (input.run_logits.empty() || input.newest == nullptr || !input.newest->logits ||
      input.newest->logits->non_finite > 0) {
    return;
  }
  Sampling open;
  open.temperature = 1.0;
  const auto exact = distribution(model, input.run_logits, open, Nucleus::kProbabilities, false);
  const std::vector<capture::TopToken>& said = input.newest->logits->top;
  for (std::size_t i = 0; i < std::min(said.size(), exact.size()); ++i) {
    // Probabilities are stored as float32; ids of equal logits may change places.
    constexpr double kRounding = 1e-6;
    const double off = std::fabs(static_cast<double>(said[i].prob) - exact[i].prob);
    if (off <= kRounding && static_cast<double>(said[i].logit) == exact[i].logit) {
      continue;
    }
    Finding f = finding_at(model, "sampler", "distribution-wrong", capture::Tap::kLogits, -1,
                           input.newest->position);
    ++f.stage;
    f.evidence.index = said[i].id;
    f.value = static_cast<double>(said[i].prob);
    f.threshold = exact[i].prob;
    f.message = fmt::format(
        "token {} is given probability {:.6g} as number {} of the ranking, the soft-max of the "
        "logits gives {:.6g} to token {}",
        said[i].id, said[i].prob, i + 1, exact[i].prob, exact[i].id);
    f.advice = "add up exponentials in float64, or in pieces, over the whole vocabulary";
    report.add(std::move(f));
    return;
  }
}

}  // namespace

void check_sampler(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  check_distribution(input, report);
  std::vector<Verdict> verdicts;
  double impossible = 0.0;
  for (const SamplerProbe& probe : input.probes) {
    const auto exact =
        distribution(model, probe.logits, probe.sampling, Nucleus::kProbabilities, false);
    // A draw outside the exact set counts as much as the threshold; it is proof by itself.
    const double own =
        std::max(log_likelihood(exact, probe.drawn), -1e4 * thresholds::kSamplerNats);
    impossible += own <= -1e4 * thresholds::kSamplerNats ? 1.0 : 0.0;
    const auto list = hypotheses(model, probe);
    if (verdicts.empty()) {
      for (const Hypothesis& h : list) {
        verdicts.push_back({h.cause, h.why, h.advice});
      }
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
      verdicts[i].possible = verdicts[i].possible && std::isfinite(list[i].likelihood);
      verdicts[i].nats += std::isfinite(list[i].likelihood) ? list[i].likelihood - own : 0.0;
    }
  }
  if (verdicts.empty()) {
    return;
  }
  std::sort(verdicts.begin(), verdicts.end(), [](const Verdict& a, const Verdict& b) {
    return a.possible != b.possible ? a.possible : a.nats > b.nats;
  });
  const Verdict& best = verdicts.front();
  const bool named = best.possible && best.nats > thresholds::kSamplerNats;
  if (!named && impossible == 0.0) {
    return;
  }
  Finding f = finding_at(model, "sampler", named ? best.cause : "outside-distribution",
                         capture::Tap::kLogits, -1, -1);
  ++f.stage;  // after the logits
  f.value = best.nats;
  f.threshold = thresholds::kSamplerNats;
  f.message = fmt::format(
      "draws from known logits: {} (evidence {:.3g} nats against the exact distribution)",
      named ? best.why : "tokens that the filters exclude were drawn", best.nats);
  f.advice = named ? best.advice : "recompute the candidate list step by step";
  report.add(std::move(f));
}

namespace {

/// Probability of everything more likely than a token, among the top-k: when that already reaches
/// top-p the token is outside. 0 where the summary does not reach far enough to tell.
double mass_ahead(const capture::LogitSummary& before, std::size_t rank, int top_k) {
  const std::size_t known = before.top.size();
  const auto k = static_cast<std::size_t>(std::max(0, top_k));
  if (k > known) {
    return 0.0;
  }
  double ahead = 0.0;
  double all = k == 0 ? 1.0 : 0.0;
  for (std::size_t i = 0; i < known; ++i) {
    const auto p = static_cast<double>(before.top[i].prob);
    ahead += i < rank ? p : 0.0;
    all += i < k ? p : 0.0;
  }
  return ahead / std::max(all, 1e-30);
}

}  // namespace

void check_sampling(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  const Sampling& s = input.subject.sampling;
  const model::Model& model = *input.subject.model;
  if (frame.choice.origin != capture::Origin::kSampled || !frame.choice.known ||
      s.repeat_penalty != 1.0 || input.frames.size() < 2 || !model.tokenizer->is_usable(frame.id)) {
    return;
  }
  const auto& before = input.frames[input.frames.size() - 2]->logits;
  if (!before || before->top.empty()) {
    return;
  }
  Finding f = finding_at(model, "sampling", "", capture::Tap::kLogits, -1, frame.position - 1);
  ++f.stage;
  f.evidence.index = frame.id;
  f.value = frame.choice.rank;
  const auto rank = static_cast<std::size_t>(std::max(0, frame.choice.rank));
  if (s.temperature <= 0.0 && rank > 0) {
    f.cause = "temperature-ignored";
    f.threshold = 0;
    f.message = fmt::format(
        "token {} was taken at temperature 0 although {} tokens are more likely (it has {:.3g})",
        frame.id, rank, frame.choice.prob);
    f.advice = "temperature 0 means the most likely token; divide the logits by the temperature";
    report.add(std::move(f));
    return;
  }
  if (s.top_k > 0 && rank >= static_cast<std::size_t>(s.top_k)) {
    f.cause = "outside-top-k";
    f.threshold = s.top_k;
    f.message = fmt::format("token {} has rank {}, outside top-k {}", frame.id, rank, s.top_k);
    f.advice = "look at the order of the filters";
    report.add(std::move(f));
    return;
  }
  if (s.temperature <= 0.0) {
    return;
  }
  constexpr double kRounding = 1e-4;  // probabilities are stored as float32
  const double ahead = mass_ahead(*before, rank, s.top_k);
  if (ahead > s.top_p + kRounding) {
    f.cause = "outside-top-p";
    f.value = ahead;
    f.threshold = s.top_p;
    f.message = fmt::format("token {} was drawn although more likely tokens already have {:.4g}",
                            frame.id, ahead);
    f.advice = "top-p adds up probabilities, after the soft-max";
    report.add(std::move(f));
    return;
  }
  // The ratio of two probabilities needs no sum: it is exp of the logits' distance.
  const double ratio =
      std::exp(static_cast<double>(frame.choice.logit) - static_cast<double>(before->max));
  if (ratio < s.min_p - kRounding) {
    f.cause = "outside-min-p";
    f.value = ratio;
    f.threshold = s.min_p;
    f.message =
        fmt::format("token {} was drawn although it is only {:.4g} times as likely as the first",
                    frame.id, ratio);
    f.advice = "min-p drops tokens below that part of the largest probability";
    report.add(std::move(f));
  }
}

}  // namespace layerscope::diagnose
