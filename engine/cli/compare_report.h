// What `compare` found, as text, JSON and a self-contained HTML page.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/compare/comparison.h"
#include "engine/session/explain.h"
#include "engine/session/splice.h"
#include "engine/session/third_opinion.h"

namespace layerscope::cli {

struct CompareReport {
  const compare::Trace& candidate;
  const compare::Trace& reference;
  compare::Comparison comparison;
  std::optional<session::ThirdOpinion> third;
  bool explained = false;  ///< --explain was asked for
  bool healthy = false;    ///< the candidate agrees with our run: nothing to explain
  int tried = 0;           ///< faults that were tried
  std::vector<session::FaultScore> explanations;  ///< convincing ones, best first
  std::vector<session::SpliceResult> splices;
  std::optional<int> bisected;
};

/// "transpose" and "blk.0.attn_q.weight" of "transpose:blk.0.attn_q.weight".
std::pair<std::string, std::string> split_fault(const std::string& text);

nlohmann::ordered_json compare_json(const CompareReport& report);
std::string compare_text(const CompareReport& report);
std::string compare_html(const CompareReport& report);

/// Names by reason, a line for each: "reference · an earlier step of q (2): …".
std::string unmatched_text(const char* side, const std::vector<compare::Unread>& list);

/// One sentence: no divergence with figures, or where and how much.
std::string verdict_sentence(const CompareReport& report);

/// What --explain gives, one line each.
std::vector<std::string> explanation_lines(const CompareReport& report);

}  // namespace layerscope::cli
