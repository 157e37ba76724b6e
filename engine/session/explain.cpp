#include "engine/session/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/compare/thresholds.h"
#include "engine/diagnose/fault.h"
#include "engine/session/fault_candidates.h"
#include "engine/session/run_faults.h"
#include "engine/session/trace_run.h"

namespace layerscope::session {
namespace {

using compare::Comparison;
using compare::Pair;
using compare::Trace;

/// The title of a fault's text.
std::string title_of(const std::string& text) {
  for (const diagnose::Fault& fault : diagnose::faults()) {
    const std::string_view name = fault.name;
    const bool named =
        std::string_view(text).starts_with(name) &&
        (text.size() == name.size() || text[name.size()] == ',' || text[name.size()] == ':');
    if (named) {
      return fault.title;
    }
  }
  return {};
}

class Explainer {
 public:
  Explainer(const model::Model& model, backend::Backend& backend, const Trace& candidate,
            const ExplainOptions& options)
      : model_(model), backend_(backend), candidate_(candidate), options_(options) {}

  Result<ExplainReport> run(std::vector<std::int32_t> ids) {
    request_.ids = std::move(ids);
    request_.passes = usable_passes(candidate_, request_.ids.size());
    request_.stop = options_.stop;
    LS_TRY(report_.against_own, against({}));
    if (!report_.against_own.first) {
      report_.healthy = true;
      return std::move(report_);
    }
    distance_ = trace_distance(report_.against_own);
    const std::vector<std::string> texts =
        fault_candidates(model_, report_.against_own.pairs[*report_.against_own.first]);
    const double all = static_cast<double>(texts.size()) + 6.0;
    for (const std::string& text : texts) {
      LS_CHECK(try_faults({text}));
      progress(all);
    }
    sort();
    if (options_.pairs) {
      LS_CHECK(try_pairs(all));
    }
    LS_CHECK(backend_.set_interventions({}));
    return std::move(report_);
  }

 private:
  Result<Comparison> against(const model::Interventions& faults) {
    request_.faults = faults;
    LS_TRY(const Trace own, run_trace(model_, backend_, request_));
    return compare::compare_traces(candidate_, own);
  }

  Status try_faults(const std::vector<std::string>& texts) {
    LS_TRY(const model::Interventions list, diagnose::parse_faults(texts, model_));
    const auto comparison = against(list);
    if (!comparison.ok()) {
      // A backend that does not have this fault, or a pair that excludes itself, is no reason to
      // give up on the others.
      return comparison.error().code == ErrorCode::kUsage ? Status{} : Status(comparison.error());
    }
    ++report_.tried;
    FaultScore score;
    score.faults = texts;
    for (const std::string& text : texts) {
      score.title += (score.title.empty() ? "" : " and ") + title_of(text);
    }
    score.agreement = 1.0 - trace_distance(comparison.value()) / distance_;
    score.interventions = list;
    const Comparison& c = comparison.value();
    score.rest = c.first ? std::optional(c.pairs[*c.first]) : std::nullopt;
    score.rest_index = c.first.value_or(c.pairs.size());
    report_.ranked.push_back(std::move(score));
    return {};
  }

  /// Two bugs at once: the right fault for the first moves the start of what is left furthest; the
  /// second is looked for there.
  Status try_pairs(double all) {
    constexpr double kEnough = 0.98;
    constexpr double kSome = 0.02;
    const auto base = std::max_element(report_.ranked.begin(), report_.ranked.end(),
                                       [](const FaultScore& a, const FaultScore& b) {
                                         return std::make_pair(a.rest_index, a.agreement) <
                                                std::make_pair(b.rest_index, b.agreement);
                                       });
    if (base == report_.ranked.end() || report_.ranked.front().agreement >= kEnough ||
        base->agreement < kSome || !base->rest) {
      return {};
    }
    const std::string first = base->faults.front();
    for (const std::string& second : fault_candidates(model_, *base->rest)) {
      if (second != first) {
        LS_CHECK(try_faults({first, second}));
        progress(all);
      }
    }
    sort();
    return {};
  }

  void sort() {
    std::stable_sort(
        report_.ranked.begin(), report_.ranked.end(),
        [](const FaultScore& a, const FaultScore& b) { return a.agreement > b.agreement; });
  }

  void progress(double all) const {
    if (options_.progress) {
      options_.progress(std::min(1.0, report_.tried / all));
    }
  }

  const model::Model& model_;
  backend::Backend& backend_;
  const Trace& candidate_;
  const ExplainOptions& options_;
  TraceRequest request_;
  ExplainReport report_;
  double distance_ = 1.0;
};

}  // namespace

double trace_distance(const Comparison& comparison) {
  double sum = 0.0;
  for (const Pair& pair : comparison.pairs) {
    const compare::Difference& d = pair.difference;
    if (!d.diverges()) {
      continue;
    }
    double relative = d.error2 / std::max(d.a2 + d.b2, 1e-30);
    if (d.by_sum) {
      const double scale = std::max({std::fabs(d.sum_a), std::fabs(d.sum_b), 1e-30});
      relative = std::max(relative, std::pow((d.sum_a - d.sum_b) / scale, 2.0));
    }
    sum += std::isfinite(relative) ? std::min(1.0, relative) : 1.0;
  }
  return sum;
}

std::vector<FaultScore> ExplainReport::convincing() const {
  std::vector<FaultScore> list;
  for (const FaultScore& score : ranked) {
    if (score.agreement >= compare::thresholds::kExplains) {
      list.push_back(score);
    }
  }
  return list;
}

std::vector<FaultScore> explain_tokens(const model::Model& model,
                                       std::span<const std::int32_t> candidate,
                                       std::span<const std::int32_t> reference) {
  std::vector<FaultScore> list;
  for (const diagnose::Fault& fault : diagnose::faults()) {
    const std::string text = fault.name;
    if (fault.required > 0) {
      continue;
    }
    const auto parsed = diagnose::parse_faults(std::span(&text, 1), model);
    const bool of_prompt =
        parsed.ok() && std::any_of(parsed.value().begin(), parsed.value().end(), [](const auto& i) {
          return model::obeyed_by(i.kind) == model::Obeyed::kPrompt;
        });
    if (!of_prompt) {
      continue;
    }
    const std::vector<std::int32_t> made =
        prompt_with_faults(parsed.value(), {reference.begin(), reference.end()}, *model.tokenizer);
    const std::size_t n = std::min(made.size(), candidate.size());
    if (n > 0 && std::equal(made.begin(), made.begin() + static_cast<std::ptrdiff_t>(n),
                            candidate.begin())) {
      list.push_back({{text}, fault.title, 1.0, parsed.value(), {}, 0});
    }
  }
  return list;
}

Result<ExplainReport> explain_trace(const model::Model& model, backend::Backend& backend,
                                    const Trace& candidate,
                                    std::span<const std::int32_t> reference_ids,
                                    const ExplainOptions& options) {
  std::vector<std::int32_t> ids = candidate.ids;
  if (ids.empty()) {
    ids.assign(reference_ids.begin(), reference_ids.end());
  }
  if (ids.empty()) {
    return invalid_input(fmt::format(
        "neither trace says its token ids, so the model cannot be run on them; put them into the "
        "trace of '{}'",
        candidate.path));
  }
  return Explainer(model, backend, candidate, options).run(std::move(ids));
}

}  // namespace layerscope::session
