#include "engine/cli/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/thresholds.h"
#include "engine/session/diagnosis.h"

namespace layerscope::cli {
namespace {

using diagnose::Evidence;
using diagnose::Finding;

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// Blue for negative, red for positive, grey for NaN; `t` in −1 … 1.
std::string colour(double t) {
  if (!std::isfinite(t)) {
    return "#888888";
  }
  const double m = std::clamp(std::fabs(t), 0.0, 1.0);
  const auto fade = [m](double to) {
    return static_cast<int>(std::lround(250.0 + (to - 250.0) * m));
  };
  return t >= 0.0 ? fmt::format("#{:02x}{:02x}{:02x}", fade(200), fade(60), fade(45))
                  : fmt::format("#{:02x}{:02x}{:02x}", fade(45), fade(95), fade(200));
}

/// One row of cells with their values.
std::string cells(const std::vector<float>& values, double top, int first, int marked, int y,
                  const char* name) {
  constexpr int kCell = 44;
  constexpr int kLeft = 80;
  std::string svg = fmt::format("<text x=\"0\" y=\"{}\" class=\"name\">{}</text>", y + 18, name);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto v = static_cast<double>(values[i]);
    const int index = first + static_cast<int>(i);
    const int x = kLeft + static_cast<int>(i) * kCell;
    svg += fmt::format(
        "<g><title>{} [{}] = {:.7g}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"26\" "
        "fill=\"{}\"{}/><text x=\"{}\" y=\"{}\" class=\"value\">{:.3g}</text></g>",
        name, index, v, x, y, kCell - 2, colour(v / top),
        index == marked ? " stroke=\"#000\" stroke-width=\"2\"" : "", x + (kCell - 2) / 2, y + 17,
        v);
  }
  return svg;
}

std::string picture(const Evidence& e) {
  if (e.captured.empty()) {
    return {};
  }
  double top = 1e-30;
  const auto raise = [&](const std::vector<float>& values) {
    for (const float v : values) {
      top = std::isfinite(v) ? std::max(top, std::fabs(static_cast<double>(v))) : top;
    }
  };
  // The scale is what is right, so that absurd values stand out.
  raise(e.expected.empty() ? e.captured : e.expected);
  const int marked = e.key >= 0 ? e.key : e.index;
  constexpr int kCell = 44;
  const int width = 84 + static_cast<int>(e.captured.size()) * kCell;
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {} 78\" width=\"{}\" height=\"78\" role=\"img\" aria-label=\"values\">",
      width, width);
  svg += cells(e.captured, top, e.first, marked, 4, "captured");
  if (!e.expected.empty()) {
    svg += cells(e.expected, top, e.first, marked, 40, "expected");
  }
  return svg + "</svg>";
}

std::string evidence_text(const Evidence& e) {
  std::string text = e.tap;
  const auto add = [&](const char* what, int value) {
    if (value >= 0) {
      text += fmt::format(" · {} {}", what, value);
    }
  };
  add("layer", e.layer);
  add("head", e.head);
  add("position", e.position);
  add("key", e.key);
  add("index", e.index);
  return text;
}

constexpr const char* kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 "
    "1em;color:#222}"
    "h1{font-size:1.5em}article{border:1px solid #ddd;border-left:6px solid #888;padding:.6em 1em;"
    "margin:1em 0;overflow-x:auto}article.error{border-left-color:#c8392d}"
    "article.warning{border-left-color:#d99a1b}article.info{border-left-color:#4a7fc8}"
    "h2{font-size:1.1em;margin:.2em 0}.place,.small{color:#666;font-size:.9em}"
    "pre{white-space:pre-wrap;background:#f6f6f6;padding:.6em}svg text{font:11px monospace}"
    "svg .value{text-anchor:middle}.good{color:#217a3c}";

}  // namespace

std::string finding_text(const Finding& f) {
  std::string text = fmt::format("{}: {} ({})\n  {}\n", diagnose::severity_name(f.severity),
                                 f.cause, session::place_text(f), f.message);
  text += fmt::format("  measured {:.6g}, threshold {:.6g} ({})\n", f.value, f.threshold,
                      diagnose::thresholds::source_of(f.check));
  for (const std::string& line : f.related) {
    text += fmt::format("  {}\n", line);
  }
  return text + fmt::format("  what to do: {}\n", f.advice);
}

std::string findings_html(const std::vector<Finding>& findings, const ReportContext& context) {
  std::string page = fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\"><title>Layerscope: {0}</title>"
      "<style>{1}</style></head><body><h1>{0}</h1><p class=\"small\">{2} · {3} · {4} checks</p>",
      escaped(context.model), kStyle, escaped(context.architecture), escaped(context.backend),
      context.checks_run);
  for (const std::string& fault : context.faults) {
    page += fmt::format("<p>Injected on purpose: <code>{}</code></p>", escaped(fault));
  }
  page += fmt::format("<h2>Prompt</h2><pre>{}</pre><h2>Output</h2><pre>{}</pre>",
                      escaped(context.prompt), escaped(context.output));
  page += findings.empty() ? std::string("<p class=\"good\">Nothing unusual was found.</p>")
                           : fmt::format("<h2>{} finding{}</h2>", findings.size(),
                                         findings.size() == 1 ? "" : "s");
  for (const Finding& f : findings) {
    page += fmt::format(
        "<article class=\"{0}\"><h2>{0}: {1}</h2><p class=\"place\">{2}</p><p>{3}</p>"
        "<p class=\"small\">measured {4:.6g}, threshold {5:.6g} ({8}) · look at {6}</p>{7}",
        diagnose::severity_name(f.severity), escaped(f.cause), escaped(session::place_text(f)),
        escaped(f.message), f.value, f.threshold, escaped(evidence_text(f.evidence)),
        picture(f.evidence), escaped(std::string(diagnose::thresholds::source_of(f.check))));
    for (const std::string& line : f.related) {
      page += fmt::format("<p class=\"small\">{}</p>", escaped(line));
    }
    page += fmt::format("<p><b>What to do:</b> {}</p></article>", escaped(f.advice));
  }
  return page + "</body></html>\n";
}

}  // namespace layerscope::cli
