#include "gui/view/finding_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string_view>

#include "engine/base/utf8.h"
#include "gui/view/text.h"

namespace layerscope::gui::view {

using diagnose::Finding;
using diagnose::Severity;

namespace {

/// Reads the numbers after "layers ": "1, 2, 5 and 3 more".
void add_numbers(std::string_view text, std::vector<int>& to) {
  std::size_t at = 0;
  while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0) {
    int value = 0;
    const auto [end, failed] = std::from_chars(text.data() + at, text.data() + text.size(), value);
    if (failed != std::errc{}) {
      return;
    }
    to.push_back(value);
    at = static_cast<std::size_t>(end - text.data());
    if (text.substr(at, 2) == ", ") {
      at += 2;
    }
  }
}

void add_if(int value, std::vector<int>& to) {
  if (value >= 0) {
    to.push_back(value);
  }
}

void make_unique_sorted(std::vector<int>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

/// The value is the distance of a captured value from what is expected there, so that the threshold
/// is a bound of that distance.
bool is_distance(const Finding& f) {
  const diagnose::Evidence& e = f.evidence;
  const auto i = static_cast<std::size_t>((e.index >= 0 ? e.index : e.key) - e.first);
  if (i >= e.captured.size() || i >= e.expected.size()) {
    return false;
  }
  const double distance = std::fabs(static_cast<double>(e.captured[i]) - e.expected[i]);
  return distance > 0.0 && std::fabs(f.value - distance) <= 1e-3 * distance;
}

std::string expected_text(const Finding& f) {
  const bool plain = f.value == 0.0 && f.threshold == 0.0;
  if (plain || std::isnan(f.threshold)) {
    return "—";
  }
  if (!std::isfinite(f.value) && f.threshold == 0.0) {
    return "finite";
  }
  return (is_distance(f) ? "≤ " : "") + number_text(f.threshold);
}

template <typename Map, typename Key>
void raise(Map& map, const Key& key, Severity severity, std::size_t finding) {
  const auto [it, fresh] = map.try_emplace(key, Badge{severity, finding, 1});
  if (!fresh) {
    ++it->second.count;
    if (severity > it->second.severity) {
      it->second.severity = severity;
      it->second.finding = finding;
    }
  }
}

}  // namespace

const char* severity_word(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "Note";
    case Severity::kWarning:
      return "Warning";
    case Severity::kError:
      return "Error";
  }
  return "";
}

std::string cause_text(const std::string& cause) {
  // Words that are not written as they are spelt in a name.
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kWords{{
      {"rope", "RoPE"},
      {"kv", "KV"},
      {"bos", "BOS"},
      {"nan", "NaN"},
      {"softmax", "soft-max"},
      {"finite", "finite"},
      {"k", "k"},
  }};
  std::string text;
  std::size_t at = 0;
  while (at <= cause.size() && !cause.empty()) {
    const std::size_t end = std::min(cause.find('-', at), cause.size());
    std::string_view word = std::string_view(cause).substr(at, end - at);
    for (const auto& [name, written] : kWords) {
      word = word == name ? written : word;
    }
    const bool hyphen = text == "non" || text == "off-by" || text == "off";
    text += (text.empty() ? "" : hyphen ? "-" : " ") + std::string(word);
    at = end + 1;
  }
  if (!text.empty()) {
    text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  }
  return text.empty() ? "Unknown" : text;
}

std::string where_text(const Finding& f) {
  std::string text;
  const auto add = [&text](const char* what, int value) {
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
  return text.empty() ? "whole model" : text;
}

std::vector<std::size_t> finding_order(const std::vector<Finding>& findings) {
  std::vector<std::size_t> order(findings.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return findings[a].severity > findings[b].severity;
  });
  return order;
}

FindingRow finding_row(const Finding& f) {
  FindingRow row;
  row.severity = f.severity;
  row.what = utf8_sanitize(f.message);
  row.where = where_text(f);
  row.value = f.value == 0.0 && f.threshold == 0.0 ? "—" : number_text(f.value);
  row.expected = expected_text(f);
  row.cause = cause_text(f.cause);
  row.advice = utf8_sanitize(f.advice);
  row.key = f.check + '\n' + f.cause + '\n' + f.tensor;
  row.related = f.related;
  return row;
}

std::vector<FindingRow> finding_rows(const std::vector<Finding>& findings) {
  std::vector<FindingRow> rows;
  rows.reserve(findings.size());
  for (const std::size_t i : finding_order(findings)) {
    rows.push_back(finding_row(findings[i]));
  }
  return rows;
}

std::string tally_text(const std::vector<Finding>& findings) {
  std::string text;
  const auto add = [&](Severity severity, const char* word) {
    const auto n = std::count_if(findings.begin(), findings.end(),
                                 [severity](const Finding& f) { return f.severity == severity; });
    if (n > 0) {
      text += fmt::format("{}{} {}{}", text.empty() ? "" : " · ", n, word, n == 1 ? "" : "s");
    }
  };
  add(Severity::kError, "error");
  add(Severity::kWarning, "warning");
  add(Severity::kInfo, "note");
  return text;
}

std::string findings_text(const session::Snapshot& s) {
  std::string text = fmt::format(
      "{}: {}\n{} checks ran, deep checks {}\n", s.model != nullptr ? s.model->name : "no model",
      s.findings.empty() ? "no anomaly found" : tally_text(s.findings), s.checks_run,
      s.diagnosed ? "included" : "not run on these tokens");
  for (const FindingRow& row : finding_rows(s.findings)) {
    text += fmt::format("\n{}: {} ({})\n  {}\n  value {}, expected {}\n  what to do: {}\n",
                        severity_word(row.severity), row.cause, row.where, row.what, row.value,
                        row.expected, row.advice);
    for (const std::string& related : row.related) {
      text += fmt::format("  {}\n", related);
    }
  }
  return text;
}

Target target_of(const Finding& f) {
  const diagnose::Evidence& e = f.evidence;
  Target target;
  target.layer = e.layer >= 0 ? e.layer : f.layer;
  target.head = e.head >= 0 ? e.head : f.head;
  target.position = e.position >= 0 ? e.position : f.position;
  target.key = e.key;
  return target;
}

Places places_of(const Finding& f) {
  Places places;
  add_if(f.layer, places.layers);
  add_if(f.head, places.heads);
  add_if(f.position, places.positions);
  if (places.heads.empty()) {
    add_if(f.evidence.head, places.heads);
  }
  for (const std::string& words : f.related) {
    const auto read = [&words](std::string_view prefix, std::vector<int>& to) {
      for (const char* plural : {"s ", " "}) {
        const std::string start = std::string(prefix) + plural;
        if (words.starts_with(start)) {
          add_numbers(std::string_view(words).substr(start.size()), to);
          return;
        }
      }
    };
    read("also in layer", places.layers);
    read("seen in head", places.heads);
    read("also at position", places.positions);
  }
  make_unique_sorted(places.layers);
  make_unique_sorted(places.heads);
  make_unique_sorted(places.positions);
  return places;
}

bool FindingBadges::update(const session::Snapshot& s) {
  if (s.findings_serial == serial_ && s.model.get() == model_) {
    return false;
  }
  serial_ = s.findings_serial;
  model_ = s.model.get();
  layers_.clear();
  heads_.clear();
  tokens_.clear();
  for (std::size_t i = 0; i < s.findings.size(); ++i) {
    const Finding& f = s.findings[i];
    const Places places = places_of(f);
    for (const int layer : places.layers) {
      raise(layers_, layer, f.severity, i);
    }
    // Which heads of the further layers are concerned is not told: only the first layer's are
    // marked.
    const int layer = f.layer >= 0 ? f.layer : f.evidence.layer;
    for (const int head : places.heads) {
      if (layer >= 0) {
        raise(heads_, std::pair(layer, head), f.severity, i);
      }
    }
    for (const int position : places.positions) {
      raise(tokens_, position, f.severity, i);
    }
  }
  return true;
}

const Badge* FindingBadges::layer(int layer) const {
  const auto found = layers_.find(layer);
  return found == layers_.end() ? nullptr : &found->second;
}

const Badge* FindingBadges::head(int layer, int head) const {
  const auto found = heads_.find({layer, head});
  return found == heads_.end() ? nullptr : &found->second;
}

const Badge* FindingBadges::token(int position) const {
  const auto found = tokens_.find(position);
  return found == tokens_.end() ? nullptr : &found->second;
}

std::string badge_text(const Badge& badge, const std::vector<Finding>& findings) {
  if (badge.finding >= findings.size()) {
    return {};
  }
  const Finding& f = findings[badge.finding];
  std::string text = fmt::format("{}: {} — {}", severity_word(f.severity), cause_text(f.cause),
                                 cut_text(utf8_sanitize(f.message), 240));
  if (badge.count > 1) {
    text += fmt::format(" (and {} more)", badge.count - 1);
  }
  return text;
}

EvidenceView evidence_view(const Finding& f) {
  const diagnose::Evidence& e = f.evidence;
  EvidenceView view;
  view.title = e.tap;
  const auto add = [&view](const char* what, int value) {
    if (value >= 0) {
      view.title += fmt::format("{}{} {}", view.title.empty() ? "" : " · ", what, value);
    }
  };
  add("layer", e.layer);
  add("head", e.head);
  add("position", e.position);
  add("key", e.key);
  add("channel", e.index);
  const bool compared = e.expected.size() == e.captured.size() && !e.captured.empty();
  const int about = e.index >= 0 ? e.index : e.key;
  float most = 0.0F;
  for (std::size_t i = 0; i < e.captured.size(); ++i) {
    EvidenceView::Line line;
    line.index = e.first + static_cast<int>(i);
    line.captured = e.captured[i];
    line.has_expected = compared;
    line.expected = compared ? e.expected[i] : 0.0F;
    line.worst = line.index == about;
    const float scale = std::max(std::fabs(line.captured), std::fabs(line.expected));
    // For the eye only: the finding itself has the exact tolerance.
    line.off = !std::isfinite(line.captured) ||
               (compared && std::fabs(line.captured - line.expected) > 1e-3F * scale);
    view.lines.push_back(line);
    for (const float v : {line.captured, line.expected}) {
      most = std::isfinite(v) ? std::max(most, std::fabs(v)) : most;
    }
  }
  view.cells = e.captured;
  if (compared) {
    view.cells.insert(view.cells.end(), e.expected.begin(), e.expected.end());
  }
  view.rows = e.captured.empty() ? 0 : compared ? 2 : 1;
  view.hi = most > 0.0F ? most : 1.0F;
  view.lo = -view.hi;
  return view;
}

EvidenceStats evidence_stats(const EvidenceView& view) {
  EvidenceStats stats;
  stats.n = static_cast<int>(view.lines.size());
  stats.compared = view.rows > 1;
  double sum = 0.0;
  double squares = 0.0;
  double e_sum = 0.0;
  double e_squares = 0.0;
  double products = 0.0;
  double difference = 0.0;
  int used = 0;
  for (const EvidenceView::Line& line : view.lines) {
    stats.off += line.off ? 1 : 0;
    if (!std::isfinite(line.captured) || !std::isfinite(line.expected)) {
      stats.non_finite += std::isfinite(line.captured) ? 0 : 1;
      continue;
    }
    const double x = double{line.captured};
    const double e = double{line.expected};
    stats.min = used == 0 ? x : std::min(stats.min, x);
    stats.max = used == 0 ? x : std::max(stats.max, x);
    ++used;
    sum += x;
    squares += x * x;
    e_sum += e;
    e_squares += e * e;
    products += x * e;
    difference += (x - e) * (x - e);
    stats.max_abs = std::max(stats.max_abs, std::fabs(x - e));
  }
  if (used == 0) {
    return stats;
  }
  const auto deviation = [used](double total, double total_squares) {
    const double mean = total / used;
    return std::sqrt(std::max(0.0, total_squares / used - mean * mean));
  };
  stats.mean = sum / used;
  stats.deviation = deviation(sum, squares);
  stats.expected_mean = e_sum / used;
  stats.expected_deviation = deviation(e_sum, e_squares);
  stats.rel_l2 = e_squares > 0.0 ? std::sqrt(difference / e_squares) : std::sqrt(difference);
  stats.cosine = squares > 0.0 && e_squares > 0.0 ? products / std::sqrt(squares * e_squares) : 0.0;
  return stats;
}

}  // namespace layerscope::gui::view
