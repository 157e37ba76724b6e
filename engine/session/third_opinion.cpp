#include "engine/session/third_opinion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/compare/thresholds.h"
#include "engine/session/splice.h"
#include "engine/session/trace_run.h"

namespace layerscope::session {
namespace {

using compare::Comparison;
using compare::Trace;

/// A trace with the other's tokens where it has none of its own.
const std::vector<std::int32_t>& ids_of(const Trace& a, const Trace& b) {
  return a.ids.empty() ? b.ids : a.ids;
}

/// The layer whose own error is far above the others'.
int standing_out(const std::vector<compare::BlockError>& blocks) {
  std::vector<double> errors;
  int worst = -1;
  double largest = 0.0;
  for (const compare::BlockError& block : blocks) {
    if (!block.own) {
      continue;
    }
    errors.push_back(*block.own);
    if (!(*block.own <= largest)) {
      largest = *block.own;
      worst = block.layer;
    }
  }
  if (errors.size() < 2) {
    return -1;
  }
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2),
                   errors.end());
  const double median = errors[errors.size() / 2];
  return largest > compare::thresholds::kStandsOut * std::max(median, 0x1p-24) ? worst : -1;
}

/// The type whose rounding explains the largest own error; empty: none does.
std::string rounding_of(const std::vector<compare::BlockError>& blocks) {
  double largest = 0.0;
  bool any = false;
  for (const compare::BlockError& block : blocks) {
    any = any || block.own.has_value();
    largest = std::max(largest, block.own.value_or(0.0));
  }
  if (!any || !std::isfinite(largest)) {
    return {};
  }
  if (largest <= compare::thresholds::kFloat32) {
    return "float32";
  }
  if (largest <= compare::thresholds::kFloat16 / 4.0) {
    return "float16";
  }
  return largest <= compare::thresholds::kBfloat16 / 4.0 ? "bfloat16" : "";
}

void word(const Comparison& a, const Comparison& b, const Comparison& between,
          ThirdOpinion& opinion) {
  const auto where = [](const Comparison& c) { return place_text(c.pairs[*c.first]); };
  if (!a.diverges() && !b.diverges()) {
    opinion.verdict = between.diverges() ? Verdict::kRounding : Verdict::kAgree;
    opinion.sentence = between.diverges() ? "both agree with our float32 run within rounding"
                                          : "candidate, reference and our float32 run agree";
  } else if (a.diverges() && !b.diverges()) {
    opinion.verdict = Verdict::kCandidate;
    opinion.sentence = fmt::format(
        "the reference agrees with our float32 run, the candidate leaves it at {}", where(a));
  } else if (!a.diverges()) {
    opinion.verdict = Verdict::kReference;
    opinion.sentence = fmt::format(
        "the candidate agrees with our float32 run, the reference leaves it at {}", where(b));
  } else {
    opinion.verdict = Verdict::kBoth;
    opinion.sentence = fmt::format(
        "neither agrees with our float32 run: the candidate leaves it at {}, the reference at {}; "
        "is "
        "it the same model file?",
        where(a), where(b));
  }
}

}  // namespace

Result<ThirdOpinion> third_opinion(const model::Model& model, backend::Backend& cpu,
                                   const Trace& candidate, const Trace& reference,
                                   Comparison& comparison) {
  TraceRequest request;
  request.ids = ids_of(candidate, reference);
  if (request.ids.empty()) {
    return invalid_input(
        "neither trace says its token ids, so the model cannot give a third opinion");
  }
  request.passes = usable_passes(candidate, request.ids.size());
  LS_TRY(const Trace own, run_trace(model, cpu, request));
  LS_TRY(const Comparison of_candidate, compare::compare_traces(candidate, own));
  LS_TRY(const Comparison of_reference, compare::compare_traces(reference, own));
  ThirdOpinion opinion;
  word(of_candidate, of_reference, comparison, opinion);
  if (comparison.blocks.empty()) {
    comparison.blocks = of_candidate.blocks;
  }
  if (!candidate.ids.empty()) {
    LS_CHECK(own_errors(model, cpu, candidate, comparison.blocks));
  }
  opinion.suspect = standing_out(comparison.blocks);
  const std::string rounding = rounding_of(comparison.blocks);
  if (opinion.suspect >= 0) {
    opinion.sentence +=
        fmt::format("; given its own input, layer {} is the one that goes wrong", opinion.suspect);
  } else if (of_candidate.diverges() && !rounding.empty() && rounding != "float32") {
    opinion.verdict = Verdict::kRounding;
    opinion.sentence += fmt::format(
        "; but every block adds about as much error as the others, and no more than rounding to {} "
        "does: rounding, not a bug",
        rounding);
  }
  return opinion;
}

}  // namespace layerscope::session
