// compare's report as a page: no script, nothing loaded from elsewhere; the map is inline SVG.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/html.h"
#include "engine/cli/compare_report.h"

namespace layerscope::cli {
namespace {

using compare::Comparison;

/// From dark (at or below float32's rounding) to yellow (as large as the stream), on a log scale.
std::string colour(double error) {
  if (!std::isfinite(error)) {
    return "#444";
  }
  constexpr double kDecades = 7.0;
  const double x = std::clamp((std::log10(std::max(error, 1e-12)) + kDecades) / kDecades, 0.0, 1.0);
  const auto part = [x](double low, double high) {
    return static_cast<int>(low + (high - low) * x);
  };
  return fmt::format("rgb({},{},{})", part(20, 250), part(24, 220), part(60, 70));
}

/// Layers upwards, tokens to the right: what each block added to the error.
std::string map_svg(const Comparison& c) {
  if (c.blocks.empty()) {
    return "<p>The traces do not hold the residual stream on both sides.</p>";
  }
  constexpr int kCell = 14;
  const int n_rows = static_cast<int>(c.blocks.size());
  const int n_columns = std::max(1, c.n_positions);
  std::string svg = fmt::format(
      R"(<svg width="{}" height="{}" role="img" aria-label="added error, layers by tokens">)",
      n_columns * kCell + 70, n_rows * kCell + 20);
  for (int row = 0; row < n_rows; ++row) {
    const compare::BlockError& b = c.blocks[static_cast<std::size_t>(row)];
    const int y = (n_rows - 1 - row) * kCell;
    svg += fmt::format(R"(<text x="0" y="{}" class="s">layer {}</text>)", y + kCell - 3, b.layer);
    for (std::size_t p = 0; p < b.added_by_position.size(); ++p) {
      const double e = b.added_by_position[p];
      svg += fmt::format(
          R"(<rect x="{}" y="{}" width="{}" height="{}" fill="{}"><title>layer {} position {}: {:.3e}</title></rect>)",
          60 + static_cast<int>(p) * kCell, y, kCell - 1, kCell - 1, colour(e), b.layer, p, e);
    }
  }
  return svg + "</svg>";
}

std::string taps_table(const Comparison& c) {
  std::string rows;
  for (const compare::Pair& pair : c.pairs) {
    const compare::Difference& d = pair.difference;
    rows += fmt::format(
        "<tr class=\"{}\"><td>{}</td><td>{}</td><td>{:.3e}</td><td>{:.3e}</td><td>{:.6f}</td>"
        "<td>{:.2g}</td><td>{}</td><td>{}</td></tr>\n",
        d.diverges() ? "bad" : "", pair.pass, html_escape(compare::place_text(pair)), d.max_abs,
        d.rel_l2, d.cosine, d.excess, d.n_compared, html_escape(pair.name_b));
  }
  return fmt::format(
      "<table><tr><th>pass</th><th>tap</th><th>max abs</th><th>relative</th><th>cosine</th>"
      "<th>error / tolerance</th><th>values</th><th>reference's name</th></tr>\n{}</table>",
      rows);
}

std::string blocks_table(const Comparison& c) {
  std::string rows;
  for (const compare::BlockError& b : c.blocks) {
    rows += fmt::format("<tr><td>{}</td><td>{:.3e}</td><td>{:.3e}</td><td>{}</td></tr>\n", b.layer,
                        b.inherited, b.added, b.own ? fmt::format("{:.3e}", *b.own) : "–");
  }
  return fmt::format(
      "<table><tr><th>layer</th><th>inherited</th><th>added</th><th>own, with its own input "
      "and the model as truth</th></tr>\n{}</table>",
      rows);
}

std::string unmatched_list(const Comparison& c) {
  std::string items;
  for (const auto* list : {&c.unmatched_a, &c.unmatched_b}) {
    for (const compare::Unread& one : *list) {
      items += fmt::format("<li><code>{}</code> — {}</li>\n", html_escape(one.name),
                           html_escape(one.why));
    }
  }
  return items.empty() ? "<p>Every tensor was compared.</p>" : fmt::format("<ul>{}</ul>", items);
}

}  // namespace

std::string compare_html(const CompareReport& r) {
  const Comparison& c = r.comparison;
  std::string said = fmt::format("<p class=\"v\">{}</p>\n", html_escape(verdict_sentence(r)));
  if (r.third) {
    said += fmt::format("<p>{}</p>\n", html_escape(r.third->sentence));
  }
  for (const std::string& line : explanation_lines(r)) {
    said += fmt::format("<p>{}</p>\n", html_escape(line));
  }
  for (const std::string& note : c.notes) {
    said += fmt::format("<p class=\"n\">{}</p>\n", html_escape(note));
  }
  return fmt::format(
      R"(<!doctype html><html lang="en"><meta charset="utf-8"><title>Layerscope comparison</title>
<style>body{{font:14px sans-serif;margin:2em;background:#14161c;color:#dde}}
table{{border-collapse:collapse}}td,th{{padding:2px 10px;text-align:left;border-bottom:1px solid #333}}
.bad td{{color:#ff8f6b}}.v{{font-size:18px}}.n{{color:#9ab}}.s{{font-size:10px;fill:#9ab}}code{{color:#bcd}}</style>
<h1>{} against {}</h1>
{}
<h2>Added error: layers by tokens</h2>
{}
{}
<h2>Taps</h2>
{}
<h2>Not compared</h2>
{}
</html>
)",
      html_escape(r.candidate.path), html_escape(r.reference.path), said, map_svg(c),
      blocks_table(c), taps_table(c), unmatched_list(c));
}

}  // namespace layerscope::cli
