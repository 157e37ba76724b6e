#include "gui/view/compare_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "gui/view/text.h"

namespace layerscope::gui::view {
namespace {

/// A channel that is so many times worse than the tensor as a whole is named.
constexpr double kOutlier = 8.0;
constexpr std::size_t kMostNames = 12;

float known(double value) { return std::isfinite(value) ? static_cast<float>(value) : NAN; }

std::string tap_text(const compare::Pair& pair) {
  const auto tap = capture::tap_name(pair.tap);
  return pair.layer < 0 ? std::string(tap) : fmt::format("layer {} · {}", pair.layer, tap);
}

std::string where_text(const compare::Difference& d) {
  std::string text;
  const auto add = [&text](const char* what, int value) {
    if (value >= 0) {
      text += fmt::format("{}{} {}", text.empty() ? "" : " · ", what, value);
    }
  };
  add("head", d.head);
  add("channel", d.channel);
  add("position", d.position);
  return d.by_sum ? "the sum alone" : text;
}

void add_unmatched(const char* side, const std::vector<compare::Unread>& list,
                   std::vector<std::string>& lines) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const compare::Unread& one : list) {
    by_reason[one.why].push_back(one.name);
  }
  for (auto& [why, names] : by_reason) {
    const std::size_t n = names.size();
    names.resize(std::min(n, kMostNames));
    lines.push_back(fmt::format("{} · {} ({}): {}{}", side, why, n, fmt::join(names, "; "),
                                n > kMostNames ? "; …" : ""));
  }
}

}  // namespace

HeatmapData ErrorMap::data(std::uint64_t version) const {
  HeatmapData data;
  data.width = positions;
  data.height = layers;
  data.values = values;
  data.version = version;
  data.log_scale = true;
  data.lo = lo > 0.0F ? lo : 1e-8F;
  data.hi = std::max(hi, data.lo * 1.001F);
  data.color_map = ColorMap::kMagma;
  return data;
}

ErrorMap error_map(const compare::Comparison& comparison) {
  ErrorMap map;
  map.layers = static_cast<int>(comparison.blocks.size());
  for (const compare::BlockError& block : comparison.blocks) {
    map.positions = std::max(map.positions, static_cast<int>(block.added_by_position.size()));
  }
  const auto width = static_cast<std::size_t>(map.positions);
  map.values.assign(width * comparison.blocks.size(), HeatmapData::kHole);
  for (std::size_t row = 0; row < comparison.blocks.size(); ++row) {
    const compare::BlockError& block = comparison.blocks[row];
    map.layer_of.push_back(block.layer);
    for (std::size_t p = 0; p < block.added_by_position.size(); ++p) {
      const double e = block.added_by_position[p];
      if (std::isnan(e)) {
        continue;  // not known on both sides
      }
      map.values[row * width + p] = static_cast<float>(e);
      if (std::isfinite(e) && e > 0.0) {
        const auto v = static_cast<float>(e);
        map.lo = map.hi <= 0.0F ? v : std::min(map.lo, v);
        map.hi = std::max(map.hi, v);
      }
    }
  }
  return map;
}

BlockLines block_lines(const compare::Comparison& comparison) {
  BlockLines lines;
  for (const compare::BlockError& block : comparison.blocks) {
    lines.layers.push_back(block.layer);
    lines.inherited.push_back(known(block.inherited));
    lines.added.push_back(known(block.added));
    lines.own.push_back(block.own ? known(*block.own) : NAN);
    lines.any_own = lines.any_own || block.own.has_value();
  }
  return lines;
}

std::vector<PairRow> pair_rows(const compare::Comparison& comparison, bool only_diverging,
                               std::string_view search) {
  std::vector<PairRow> rows;
  for (std::size_t i = 0; i < comparison.pairs.size(); ++i) {
    const compare::Pair& pair = comparison.pairs[i];
    const compare::Difference& d = pair.difference;
    if (only_diverging && !d.diverges()) {
      continue;
    }
    PairRow row;
    row.index = i;
    row.name = tap_text(pair);
    if (!contains_ci(row.name, search) && !contains_ci(pair.name_b, search)) {
      continue;
    }
    row.place = d.diverges() ? where_text(d) : std::string();
    row.error = std::isfinite(d.rel_l2) ? fmt::format("{:.1e}", d.rel_l2) : number_text(d.rel_l2);
    if (d.diverges() && d.worst_channel >= 0 && d.channel_error > kOutlier * d.rel_l2) {
      row.outlier = fmt::format("channel {}: {}", d.worst_channel, percent_text(d.channel_error));
    }
    row.excess = d.excess;
    row.diverges = d.diverges();
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<std::string> unmatched_lines(const compare::Comparison& comparison) {
  std::vector<std::string> lines;
  add_unmatched("A", comparison.unmatched_a, lines);
  add_unmatched("B", comparison.unmatched_b, lines);
  return lines;
}

std::vector<std::string> explanation_lines(const session::ComparisonResult& result) {
  std::vector<std::string> lines;
  if (result.third) {
    lines.push_back(result.third->sentence);
  }
  if (!result.explained) {
    return lines;
  }
  if (result.healthy) {
    lines.emplace_back("A agrees with our run of the model: there is nothing to explain.");
    return lines;
  }
  for (const session::FaultScore& score : result.explanations) {
    lines.push_back(fmt::format("{} ({}) explains {:.1f} % of the difference", score.title,
                                fmt::join(score.faults, " and "), 100.0 * score.agreement));
  }
  if (result.explanations.empty()) {
    lines.push_back(
        fmt::format("None of the {} known faults that were tried explains it.", result.tried));
  }
  return lines;
}

std::vector<std::string> splice_lines(const session::ComparisonResult& result) {
  std::vector<std::string> lines;
  if (!result.bisected) {
    return lines;
  }
  if (!result.bisection_error.empty()) {
    lines.push_back(result.bisection_error);
    return lines;
  }
  for (const session::SpliceResult& splice : result.bisection.tried) {
    lines.push_back(fmt::format("B's input of layer {} → the rest ends {:.1e} away: {}",
                                splice.layer, splice.logit_error,
                                splice.right ? "right" : "wrong"));
  }
  lines.push_back(result.bisection.layer
                      ? fmt::format("Layer {} is the last wrong one.", *result.bisection.layer)
                      : std::string("No single layer is wrong after B's inputs."));
  return lines;
}

}  // namespace layerscope::gui::view
