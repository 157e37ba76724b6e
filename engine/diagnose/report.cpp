#include "engine/diagnose/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/capture/taps.h"

namespace layerscope::diagnose {
namespace {

/// "layers 1, 2, 5" with at most a few named.
std::string list_text(const char* what, const std::set<int>& places) {
  constexpr std::size_t kNamed = 8;
  std::string text = fmt::format("{}{} ", what, places.size() > 1 ? "s" : "");
  std::size_t n = 0;
  for (const int place : places) {
    if (n == kNamed) {
      return text + fmt::format(" and {} more", places.size() - kNamed);
    }
    text += fmt::format("{}{}", n == 0 ? "" : ", ", place);
    ++n;
  }
  return text;
}

struct Group {
  Finding root;
  std::set<int> layers, heads, positions;
  std::set<std::string> tensors;
};

bool earlier(const Finding& a, const Finding& b) {
  if (a.stage != b.stage) {
    return a.stage < b.stage;
  }
  // A finding without a position tells less than one with it.
  const auto order = [](int position) { return static_cast<unsigned>(position); };
  return a.position != b.position ? order(a.position) < order(b.position) : a.head < b.head;
}

/// An oracle's finding tells more than a statistic's of the same place, the first place more than
/// later ones.
bool tells_more(const Finding& a, const Finding& b) {
  if (a.symptom != b.symptom) {
    return b.symptom;
  }
  const bool shown = !a.evidence.captured.empty();
  if (a.stage == b.stage && shown != !b.evidence.captured.empty()) {
    return shown;
  }
  return earlier(a, b);
}

void merge(Group& group, const Finding& finding) {
  if (tells_more(finding, group.root)) {
    group.root = finding;
  }
  if (finding.layer >= 0) {
    group.layers.insert(finding.layer);
  }
  if (finding.head >= 0) {
    group.heads.insert(finding.head);
  }
  if (finding.position >= 0) {
    group.positions.insert(finding.position);
  }
  if (!finding.tensor.empty()) {
    group.tensors.insert(finding.tensor);
  }
}

Finding finish(Group group) {
  Finding& root = group.root;
  group.layers.erase(root.layer);
  group.positions.erase(root.position);
  group.tensors.erase(root.tensor);
  if (!group.layers.empty()) {
    root.related.push_back("also in " + list_text("layer", group.layers));
  }
  if (group.heads.size() > 1) {
    root.head = -1;
    root.related.push_back("seen in " + list_text("head", group.heads));
  }
  if (!group.positions.empty()) {
    root.related.push_back("also at " + list_text("position", group.positions));
  }
  if (!group.tensors.empty()) {
    constexpr std::size_t kNamed = 4;
    std::string text = "also in";
    std::size_t n = 0;
    for (const std::string& tensor : group.tensors) {
      if (n++ == kNamed) {
        text += fmt::format(" and {} more tensors", group.tensors.size() - kNamed);
        break;
      }
      text += fmt::format("{} {}", n == 1 ? "" : ",", tensor);
    }
    root.related.push_back(text);
  }
  return std::move(root);
}

}  // namespace

void Report::add(Finding finding) {
  constexpr int kKept = 500;
  if (++kinds_[finding.check + ' ' + finding.cause] <= kKept) {
    found_.push_back(std::move(finding));
  }
}

std::vector<Finding> Report::grouped() const {
  std::vector<Group> groups;
  for (const Finding& finding : found_) {
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const Group& g) { return g.root.cause == finding.cause; });
    if (same == groups.end()) {
      groups.push_back({finding, {}, {}, {}, {}});
      merge(groups.back(), finding);
    } else {
      merge(*same, finding);
    }
  }
  std::vector<Finding> roots;
  std::vector<Finding> symptoms;
  for (Group& group : groups) {
    const bool symptom = group.root.symptom;
    (symptom ? symptoms : roots).push_back(finish(std::move(group)));
  }
  std::sort(roots.begin(), roots.end(), [](const Finding& a, const Finding& b) {
    return a.severity != b.severity ? a.severity > b.severity : earlier(a, b);
  });
  std::sort(symptoms.begin(), symptoms.end(), earlier);
  for (Finding& symptom : symptoms) {
    if (!roots.empty() && roots.front().severity == Severity::kError) {
      roots.front().related.push_back(
          fmt::format("explains {} ({})", symptom.cause, symptom.message));
    } else if (!roots.empty() && roots.front().symptom &&
               roots.front().severity >= symptom.severity) {
      roots.front().related.push_back(fmt::format("then {} ({})", symptom.cause, symptom.message));
    } else {
      roots.insert(roots.begin(), std::move(symptom));
    }
  }
  std::stable_sort(roots.begin(), roots.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  return roots;
}

bool has_error(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& f) { return f.severity == Severity::kError; });
}

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "";
}

int stage_of(int layer, int tap, int n_layers) {
  const int per_layer = static_cast<int>(capture::kNumTaps);
  if (tap == static_cast<int>(capture::Tap::kEmbedding)) {
    return 0;
  }
  if (layer < 0) {
    return (n_layers + 1) * per_layer + tap;
  }
  return (layer + 1) * per_layer + tap;
}

}  // namespace layerscope::diagnose
