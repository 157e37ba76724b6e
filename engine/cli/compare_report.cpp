// compare's report as text and JSON; the HTML page is in compare_html.cpp.
#include "engine/cli/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/compare/verdict.h"
#include "engine/diagnose/fault.h"

namespace layerscope::cli {
namespace {

using compare::Comparison;
using compare::Difference;
using compare::Pair;
using compare::Unread;
using nlohmann::ordered_json;

/// JSON has no NaN: such numbers become their names.
ordered_json number(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value > 0.0 ? "inf" : "-inf";
  }
  return value;
}

ordered_json place(int value) { return value >= 0 ? ordered_json(value) : ordered_json(nullptr); }

ordered_json pair_json(const Pair& pair) {
  const Difference& d = pair.difference;
  return {{"tap", capture::tap_name(pair.tap)},
          {"layer", place(pair.layer)},
          {"pass", pair.pass},
          {"position", place(d.position)},
          {"head", place(d.head)},
          {"channel", place(d.channel)},
          {"max_abs", number(d.max_abs)},
          {"rel_l2", number(d.rel_l2)},
          {"cosine", number(d.cosine)},
          {"worst_channel", place(d.worst_channel)},
          {"worst_channel_rel", number(d.channel_error)},
          {"excess", number(d.excess)},
          {"diverges", d.diverges()},
          {"by_sum", d.by_sum},
          {"partial", d.partial},
          {"compared", d.n_compared},
          {"candidate", pair.name_a},
          {"reference", pair.name_b}};
}

ordered_json unmatched_json(const Comparison& c) {
  ordered_json list = ordered_json::array();
  for (const auto& [side, unread] :
       {std::pair("candidate", &c.unmatched_a), std::pair("reference", &c.unmatched_b)}) {
    for (const Unread& one : *unread) {
      list.push_back({{"trace", side}, {"name", one.name}, {"why", one.why}});
    }
  }
  return list;
}

ordered_json blocks_json(const Comparison& c) {
  ordered_json list = ordered_json::array();
  for (const compare::BlockError& b : c.blocks) {
    ordered_json entry{{"layer", b.layer},
                       {"inherited", number(b.inherited)},
                       {"added", number(b.added)},
                       {"total", number(b.total)},
                       {"own", b.own ? number(*b.own) : ordered_json(nullptr)}};
    list.push_back(std::move(entry));
  }
  return list;
}

std::string blocks_text(const Comparison& c) {
  if (c.blocks.empty()) {
    return {};
  }
  std::string text =
      "error of the residual stream, relative:\n  layer  inherited      added      own\n";
  for (const compare::BlockError& b : c.blocks) {
    text += fmt::format("  {:5}  {:9.2e}  {:9.2e}  {}\n", b.layer, b.inherited, b.added,
                        b.own ? fmt::format("{:7.1e}", *b.own) : "      -");
  }
  return text;
}

std::string splices_text(const CompareReport& r) {
  std::string text;
  for (const session::SpliceResult& s : r.splices) {
    text += fmt::format(
        "with the reference's input of layer {} our engine ends {:.2e} away: the rest is {}\n",
        s.layer, s.logit_error, s.right ? "right" : "wrong");
  }
  if (r.bisected) {
    text += fmt::format("bisection: layer {} is the last wrong one\n", *r.bisected);
  }
  return text;
}

}  // namespace

std::pair<std::string, std::string> split_fault(const std::string& text) {
  for (const diagnose::Fault& fault : diagnose::faults()) {
    const std::string name = fault.name;
    if (text == name) {
      return {name, ""};
    }
    if (text.starts_with(name) && (text[name.size()] == ',' || text[name.size()] == ':')) {
      return {name, text.substr(name.size() + 1)};
    }
  }
  return {text, ""};
}

std::string unmatched_text(const char* side, const std::vector<Unread>& list) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const Unread& one : list) {
    by_reason[one.why].push_back(one.name);
  }
  std::string text;
  for (const auto& [why, names] : by_reason) {
    text += fmt::format("  {} · {} ({}): {}\n", side, why, names.size(), fmt::join(names, "; "));
  }
  return text;
}

std::string verdict_sentence(const CompareReport& r) {
  return compare::verdict_sentence(r.comparison);
}

std::vector<std::string> explanation_lines(const CompareReport& r) {
  std::vector<std::string> lines;
  if (!r.explained) {
    return lines;
  }
  if (r.healthy) {
    lines.emplace_back(
        "the candidate agrees with our run of the model: there is nothing to explain");
    return lines;
  }
  for (const session::FaultScore& s : r.explanations) {
    lines.push_back(fmt::format("{} ({}) explains {:.1f} % of the difference", s.title,
                                fmt::join(s.faults, " and "), 100.0 * s.agreement));
  }
  if (lines.empty()) {
    lines.push_back(
        fmt::format("none of the {} known faults that were tried explains it", r.tried));
  }
  return lines;
}

ordered_json compare_json(const CompareReport& r) {
  const Comparison& c = r.comparison;
  ordered_json taps = ordered_json::array();
  for (const Pair& pair : c.pairs) {
    taps.push_back(pair_json(pair));
  }
  ordered_json explanations = ordered_json::array();
  for (const session::FaultScore& s : r.explanations) {
    const auto [fault, arg] = split_fault(s.faults.front());
    ordered_json entry{{"fault", fault}, {"arg", arg}, {"agreement", s.agreement}};
    if (s.faults.size() > 1) {
      entry["with"] = std::vector<std::string>(s.faults.begin() + 1, s.faults.end());
    }
    explanations.push_back(std::move(entry));
  }
  ordered_json first = nullptr;
  if (c.tokens) {
    first = {{"tap", "tokens"},
             {"layer", nullptr},
             {"position", c.tokens->position},
             {"candidate", c.tokens->a},
             {"reference", c.tokens->b}};
  } else if (c.first) {
    first = pair_json(c.pairs[*c.first]);
  }
  ordered_json splices = ordered_json::array();
  for (const session::SpliceResult& s : r.splices) {
    splices.push_back({{"layer", s.layer}, {"error", number(s.logit_error)}, {"right", s.right}});
  }
  return {{"first_divergence", first},
          {"verdict", verdict_sentence(r)},
          {"third_opinion", r.third ? ordered_json(r.third->sentence) : ordered_json(nullptr)},
          {"tolerance", c.tolerance},
          {"precision", c.precision},
          {"taps", taps},
          {"blocks", blocks_json(c)},
          {"unmatched", unmatched_json(c)},
          {"explanations", explanations},
          {"splices", splices},
          {"bisected_layer", r.bisected ? ordered_json(*r.bisected) : ordered_json(nullptr)},
          {"notes", c.notes}};
}

std::string compare_text(const CompareReport& r) {
  const Comparison& c = r.comparison;
  std::string text = fmt::format("candidate  {} ({}, {} tensors)\nreference  {} ({}, {} tensors)\n",
                                 r.candidate.path, r.candidate.format, r.candidate.tensors.size(),
                                 r.reference.path, r.reference.format, r.reference.tensors.size());
  for (const std::string& note : c.notes) {
    text += fmt::format("note: {}\n", note);
  }
  text += verdict_sentence(r) + "\n";
  if (c.first && c.pairs[*c.first].difference.channel >= 0) {
    text += fmt::format("only channel {} differs there, by {:.3g} of its size\n",
                        c.pairs[*c.first].difference.channel,
                        c.pairs[*c.first].difference.channel_error);
  }
  if (r.third) {
    text += r.third->sentence + "\n";
  }
  for (const std::string& line : explanation_lines(r)) {
    text += line + "\n";
  }
  text += splices_text(r);
  text += blocks_text(c);
  const std::string unmatched =
      unmatched_text("candidate", c.unmatched_a) + unmatched_text("reference", c.unmatched_b);
  return unmatched.empty() ? text : text + "not compared:\n" + unmatched;
}

}  // namespace layerscope::cli
