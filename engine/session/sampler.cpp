#include "engine/session/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "engine/base/uniform.h"

namespace layerscope::session {
namespace {

Status check_range(const char* name, double value, double lo, double hi) {
  if (std::isfinite(value) && value >= lo && value <= hi) {
    return {};
  }
  return usage_error(fmt::format("{} is {}, expected {} to {}", name, value, lo, hi));
}

bool better(const Candidate& a, const Candidate& b) {
  return a.prob != b.prob ? a.prob > b.prob : a.id < b.id;
}

/// Soft-max of the candidates' values (logits in `prob`), in place.
void soft_max(std::vector<Candidate>& list, double temperature) {
  const double top = list.front().prob;
  double sum = 0.0;
  for (Candidate& c : list) {
    c.prob = std::exp((c.prob - top) / temperature);
    sum += c.prob;
  }
  for (Candidate& c : list) {
    c.prob /= sum;
  }
}

/// Keeps the shortest prefix whose probability reaches `top_p`, then those at least min_p of the
/// best.
std::size_t kept_by_probability(const std::vector<Candidate>& probs, float top_p, float min_p) {
  std::size_t keep = probs.size();
  if (top_p < 1.0F) {
    double sum = 0.0;
    for (std::size_t i = 0; i < probs.size(); ++i) {
      sum += probs[i].prob;
      if (sum >= static_cast<double>(top_p)) {
        keep = i + 1;
        break;
      }
    }
  }
  const double floor = static_cast<double>(min_p) * probs.front().prob;
  while (keep > 1 && probs[keep - 1].prob < floor) {
    --keep;
  }
  return keep;
}

}  // namespace

Status validate(const SamplerSettings& s) {
  LS_CHECK(check_range("temperature", static_cast<double>(s.temperature), 0.0, 100.0));
  LS_CHECK(check_range("top-k", s.top_k, 0.0, 1e9));
  LS_CHECK(check_range("top-p", static_cast<double>(s.top_p), 0.0, 1.0));
  LS_CHECK(check_range("min-p", static_cast<double>(s.min_p), 0.0, 1.0));
  LS_CHECK(check_range("repeat-last-n", s.repeat_last_n, 0.0, 1e9));
  return check_range("repeat-penalty", static_cast<double>(s.repeat_penalty), 0.01, 100.0);
}

Sampler::Sampler(std::vector<bool> usable) : usable_(std::move(usable)) {}

std::vector<Candidate> Sampler::distribution(std::span<const float> logits,
                                             std::span<const std::int32_t> history,
                                             const SamplerSettings& settings) const {
  std::vector<Candidate> list;
  list.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size() && i < usable_.size(); ++i) {
    if (usable_[i] && std::isfinite(logits[i])) {
      list.push_back({static_cast<std::int32_t>(i), static_cast<double>(logits[i])});
    }
  }
  if (list.empty()) {
    return list;
  }
  if (settings.repeat_penalty != 1.0F && settings.repeat_last_n > 0) {
    // Keskar et al. 2019: positive logits are divided, negative ones multiplied.
    const std::size_t n =
        std::min(history.size(), static_cast<std::size_t>(settings.repeat_last_n));
    const std::unordered_set<std::int32_t> seen(history.end() - static_cast<std::ptrdiff_t>(n),
                                                history.end());
    const auto penalty = static_cast<double>(settings.repeat_penalty);
    for (Candidate& c : list) {
      if (seen.contains(c.id)) {
        c.prob = c.prob > 0.0 ? c.prob / penalty : c.prob * penalty;
      }
    }
  }
  const bool greedy = settings.temperature <= 0.0F;
  std::size_t k = greedy ? 1 : static_cast<std::size_t>(std::max(0, settings.top_k));
  k = k == 0 ? list.size() : std::min(k, list.size());
  std::partial_sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(k), list.end(),
                    better);
  list.resize(k);
  if (greedy) {
    list.front().prob = 1.0;
    return list;
  }
  std::vector<Candidate> probs = list;
  soft_max(probs, 1.0);
  list.resize(kept_by_probability(probs, settings.top_p, settings.min_p));
  soft_max(list, static_cast<double>(settings.temperature));
  return list;
}

Result<std::int32_t> Sampler::sample(std::span<const float> logits,
                                     std::span<const std::int32_t> history,
                                     const SamplerSettings& settings) const {
  const std::vector<Candidate> list = distribution(logits, history, settings);
  if (list.empty()) {
    return internal_error("no token has a finite logit, so none can be sampled");
  }
  return pick(list, settings.seed, history.size());
}

std::int32_t Sampler::pick(std::span<const Candidate> list, std::uint64_t seed,
                           std::size_t position) {
  double left = uniform_at(seed, position);
  for (const Candidate& c : list) {
    left -= c.prob;
    if (left < 0.0) {
      return c.id;
    }
  }
  return list.back().id;
}

capture::LogitSummary Sampler::summarize(std::span<const float> logits) const {
  capture::LogitSummary out;
  out.min = std::numeric_limits<float>::infinity();
  out.max = -std::numeric_limits<float>::infinity();
  float raw_best = -std::numeric_limits<float>::infinity();
  std::size_t n_usable = 0;
  double total = 0.0;
  std::vector<capture::TopToken> order;
  order.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float logit = logits[i];
    const auto id = static_cast<std::int32_t>(i);
    if (!std::isfinite(logit)) {
      ++out.non_finite;
      continue;
    }
    if (logit > raw_best) {
      raw_best = logit;
      out.raw_argmax = id;
    }
    if (i >= usable_.size() || !usable_[i]) {
      if (out.best_padded.id < 0 || logit > out.best_padded.logit) {
        out.best_padded = {id, logit, 0.0F};
      }
      continue;
    }
    out.min = std::min(out.min, logit);
    out.max = std::max(out.max, logit);
    total += static_cast<double>(logit);
    ++n_usable;
    order.push_back({id, logit, 0.0F});
  }
  if (n_usable == 0) {
    out.min = out.max = 0.0F;
    return out;
  }
  out.mean = static_cast<float>(total / static_cast<double>(n_usable));
  double sum = 0.0;
  double weighted = 0.0;  // Σ e^(l − max) · (l − max)
  for (const capture::TopToken& token : order) {
    const double shifted = static_cast<double>(token.logit) - static_cast<double>(out.max);
    const double e = std::exp(shifted);
    sum += e;
    weighted += e * shifted;
  }
  out.lse = static_cast<double>(out.max) + std::log(sum);
  out.entropy = static_cast<float>((std::log(sum) - weighted / sum) / std::log(2.0));
  const std::size_t keep = std::min(capture::kTopTokens, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep), order.end(),
                    [](const capture::TopToken& a, const capture::TopToken& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
  order.resize(keep);
  for (capture::TopToken& token : order) {
    token.prob = static_cast<float>(std::exp(static_cast<double>(token.logit) - out.lse));
  }
  out.top = std::move(order);
  return out;
}

capture::Choice Sampler::describe(std::span<const float> logits, std::int32_t id,
                                  capture::Origin origin,
                                  const capture::LogitSummary& summary) const {
  capture::Choice choice;
  choice.origin = origin;
  const auto row = static_cast<std::size_t>(id);
  if (id < 0 || row >= logits.size() || !std::isfinite(logits[row])) {
    return choice;
  }
  choice.known = true;
  choice.logit = logits[row];
  choice.entropy = summary.entropy;
  choice.rank = 0;
  for (std::size_t i = 0; i < logits.size() && i < usable_.size(); ++i) {
    const bool ahead = logits[i] > choice.logit || (logits[i] == choice.logit && i < row);
    choice.rank += usable_[i] && ahead ? 1 : 0;
  }
  if (row < usable_.size() && usable_[row]) {
    const double logprob = static_cast<double>(choice.logit) - summary.lse;
    choice.logprob = static_cast<float>(logprob);
    choice.prob = static_cast<float>(std::exp(logprob));
  } else {
    choice.logprob = -std::numeric_limits<float>::infinity();
  }
  return choice;
}

}  // namespace layerscope::session
