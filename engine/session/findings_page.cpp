#include "engine/session/findings_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/html.h"
#include "engine/base/utf8.h"
#include "engine/diagnose/thresholds.h"
#include "engine/session/diagnosis.h"

namespace layerscope::session {
namespace {

using diagnose::Evidence;
using diagnose::Finding;

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
  constexpr int kCell = 50;
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
  constexpr int kCell = 50;
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

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1c2026;--quiet:#5c6470;--line:#d9dee5;--card:#fff;--page:#f5f6f8;
--error:#c42626;--warning:#a65c00;--info:#086cb0;--good:#16803c}
@media(prefers-color-scheme:dark){:root{--ink:#dee2e8;--quiet:#9299a5;--line:#343a44;--card:#1f232a;
--page:#16181c;--error:#ff6e6e;--warning:#ffb454;--info:#5cc4ff;--good:#69db8c}}
*{box-sizing:border-box}
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:0}
main{max-width:1040px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.5rem;margin:0 0 2px}h2{font-size:1.02rem;margin:28px 0 8px}h3{font-size:1.05rem;margin:0}
.quiet{color:var(--quiet)}.small{font-size:.9rem}
.tally{display:flex;gap:10px;flex-wrap:wrap;margin:16px 0}
.chip{border:1px solid var(--line);border-radius:6px;padding:3px 11px;background:var(--card)}
.chip.error,.badge.error{color:var(--error)}.chip.warning,.badge.warning{color:var(--warning)}
.chip.info,.badge.info{color:var(--info)}.chip.good{color:var(--good)}
pre,code{font:13px/1.5 ui-monospace,monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--line);
border-radius:6px;padding:9px 12px;margin:6px 0}
.runs{display:grid;grid-template-columns:1fr 1fr;gap:16px}.runs h2{margin-top:8px}
@media(max-width:720px){.runs{grid-template-columns:1fr}}
article{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--quiet);
border-radius:6px;padding:14px 18px;margin:12px 0}
article.error{border-left-color:var(--error)}article.warning{border-left-color:var(--warning)}
article.info{border-left-color:var(--info)}
article header{display:flex;gap:10px;align-items:baseline;flex-wrap:wrap}
.badge{font-weight:600;text-transform:uppercase;letter-spacing:.04em;font-size:.76rem}
.place{font:13px ui-monospace,monospace;color:var(--quiet);margin:2px 0 8px}
article p{margin:6px 0}.facts{display:flex;gap:22px;flex-wrap:wrap;margin:8px 0}
.facts span{color:var(--quiet);font-size:.85rem}.facts b{color:var(--ink);font:600 14px ui-monospace,monospace;display:block}
.values{overflow-x:auto;margin:8px 0}
svg text{font:11px ui-monospace,monospace;fill:#1c2026}svg .name{fill:var(--quiet)}
svg .value{text-anchor:middle}
.advice{border-top:1px solid var(--line);padding-top:8px;margin-top:10px}
ul{margin:6px 0;padding-left:20px}
@media print{body{background:#fff}article{break-inside:avoid}}
)";

/// "transposed-weight" → "Transposed weight"
std::string title_of(std::string cause) {
  std::replace(cause.begin(), cause.end(), '-', ' ');
  if (!cause.empty() && cause[0] >= 'a' && cause[0] <= 'z') {
    cause[0] = static_cast<char>(cause[0] - 'a' + 'A');
  }
  return cause;
}

std::string tally(const std::vector<Finding>& findings, int checks) {
  std::string html = "<div class=\"tally\">";
  for (const auto severity :
       {diagnose::Severity::kError, diagnose::Severity::kWarning, diagnose::Severity::kInfo}) {
    const auto n = std::count_if(findings.begin(), findings.end(),
                                 [severity](const Finding& f) { return f.severity == severity; });
    if (n > 0) {
      const std::string_view name = diagnose::severity_name(severity);
      html += fmt::format("<span class=\"chip {0}\">{1} {0}{2}</span>", name, n,
                          n == 1 || severity == diagnose::Severity::kInfo ? "" : "s");
    }
  }
  if (findings.empty()) {
    html += "<span class=\"chip good\">nothing unusual was found</span>";
  }
  return html + fmt::format("<span class=\"chip quiet\">{} checks ran</span></div>", checks);
}

std::string article(const Finding& f) {
  std::string html = fmt::format(
      "<article class=\"{0}\"><header><span class=\"badge {0}\">{0}</span><h3>{1}</h3></header>"
      "<p class=\"place\">{2}</p><p>{3}</p>"
      "<div class=\"facts\"><span>measured<b>{4:.6g}</b></span><span "
      "title=\"{7}\">threshold<b>{5:.6g}</b></span>"
      "<span>look at<b>{6}</b></span></div>",
      diagnose::severity_name(f.severity), html_escape(title_of(f.cause)),
      html_escape(place_text(f)), html_escape(f.message), f.value, f.threshold,
      html_escape(evidence_text(f.evidence)),
      html_escape(std::string(diagnose::thresholds::source_of(f.check))));
  const std::string values = picture(f.evidence);
  if (!values.empty()) {
    html += "<div class=\"values\">" + values + "</div>";
  }
  if (!f.related.empty()) {
    html += "<details class=\"small\" open><summary>Also seen</summary><ul>";
    for (const std::string& line : f.related) {
      html += fmt::format("<li>{}</li>", html_escape(line));
    }
    html += "</ul></details>";
  }
  return html + fmt::format("<p class=\"advice\"><b>What to do:</b> {}</p></article>",
                            html_escape(f.advice));
}

}  // namespace

std::string findings_html(const std::vector<Finding>& findings, const ReportContext& context) {
  std::string page = fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\"><title>Layerscope: {0}</title>"
      "<style>{1}</style></head><body><main><h1>{0}</h1><p class=\"quiet\">{2} · {3}</p>",
      html_escape(context.model), kStyle, html_escape(context.architecture),
      html_escape(context.backend));
  page += tally(findings, context.checks_run);
  for (const std::string& fault : context.faults) {
    page += fmt::format("<p>Injected on purpose: <code>{}</code></p>", html_escape(fault));
  }
  page += "<section>";
  for (const Finding& f : findings) {
    page += article(f);
  }
  page += fmt::format(
      "</section><div class=\"runs\"><div><h2>Prompt</h2><pre>{}</pre></div><div><h2>Output</h2>"
      "<pre>{}</pre></div></div>",
      html_escape(context.prompt), html_escape(context.output));
  if (!context.command.empty()) {
    page += fmt::format("<h2>Repeat it</h2><pre>{}</pre>", html_escape(context.command));
  }
  return page + "</main></body></html>\n";
}

std::string findings_html(const Snapshot& snapshot, std::string command) {
  ReportContext context;
  if (snapshot.model != nullptr) {
    context.model = snapshot.model->name;
    context.architecture = snapshot.model->architecture + " · " + snapshot.model->quantization;
    for (int i = snapshot.n_prompt(); i < snapshot.n_frames; ++i) {
      context.output += snapshot.model->tokenizer->decode(snapshot.frame(i)->id);
    }
    context.output = utf8_sanitize(context.output);
  }
  context.backend = snapshot.backend_text;
  context.prompt = snapshot.prompt;
  context.faults = snapshot.faults;
  context.checks_run = snapshot.checks_run;
  context.command = std::move(command);
  return findings_html(snapshot.findings, context);
}

}  // namespace layerscope::session
