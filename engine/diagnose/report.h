// Report: collects findings and groups them under their roots.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engine/diagnose/finding.h"

namespace layerscope::diagnose {

class Report {
 public:
  /// Beyond some of one kind nothing new is learned: a fault in every layer and token would
  /// otherwise fill the memory.
  void add(Finding finding);
  /// `check` is a registry name: compared by address, so that counting costs nothing per token.
  void count(const char* check) {
    if (std::find(checks_.begin(), checks_.end(), check) == checks_.end()) {
      checks_.push_back(check);
    }
  }

  /// Findings with one entry per cause, symptoms attached to the root that explains them; most
  /// severe first, then in order of computation.
  [[nodiscard]] std::vector<Finding> grouped() const;
  /// As they came.
  [[nodiscard]] const std::vector<Finding>& raw() const { return found_; }
  [[nodiscard]] int checks_run() const { return static_cast<int>(checks_.size()); }
  void clear() {
    found_.clear();
    kinds_.clear();
  }

 private:
  std::vector<Finding> found_;
  std::vector<const char*> checks_;
  std::map<std::string, int> kinds_;  ///< findings kept per check and cause
};

/// True when a finding of severity error is among them.
bool has_error(const std::vector<Finding>& findings);

}  // namespace layerscope::diagnose
