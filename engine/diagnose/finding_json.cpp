#include "engine/diagnose/finding_json.h"

#include <cmath>

namespace layerscope::diagnose {
namespace {

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

/// −1 stands for "not bound to one".
ordered_json place(int value) { return value >= 0 ? ordered_json(value) : ordered_json(nullptr); }

ordered_json numbers(const std::vector<float>& values) {
  ordered_json list = ordered_json::array();
  for (const float v : values) {
    list.push_back(number(static_cast<double>(v)));
  }
  return list;
}

}  // namespace

ordered_json finding_json(const Finding& f) {
  const Evidence& e = f.evidence;
  ordered_json evidence{{"tap", e.tap},
                        {"layer", place(e.layer)},
                        {"head", place(e.head)},
                        {"position", place(e.position)},
                        {"key", place(e.key)},
                        {"index", place(e.index)},
                        {"first", e.first},
                        {"captured", numbers(e.captured)},
                        {"expected", numbers(e.expected)}};
  return {{"check", f.check},
          {"severity", severity_name(f.severity)},
          {"cause", f.cause},
          {"layer", place(f.layer)},
          {"head", place(f.head)},
          {"position", place(f.position)},
          {"tensor", f.tensor.empty() ? ordered_json(nullptr) : ordered_json(f.tensor)},
          {"value", number(f.value)},
          {"threshold", number(f.threshold)},
          {"message", f.message},
          {"evidence", evidence},
          {"advice", f.advice},
          {"related", f.related}};
}

}  // namespace layerscope::diagnose
