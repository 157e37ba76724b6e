// Findings: rows, badges and evidence as the window shows them. Pure functions.
//
// Findings come from the engine grouped: one per cause, most severe first, further places in words.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/diagnose/finding.h"
#include "engine/session/snapshot.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

struct FindingRow {
  diagnose::Severity severity = diagnose::Severity::kError;
  std::string what;      ///< the message, one paragraph
  std::string where;     ///< "layer 1 · head 2 · position 5 · blk.1.attn_q.weight"
  std::string value;     ///< what was measured
  std::string expected;  ///< what would still be right; "—" where a number says nothing
  std::string cause;     ///< "Transposed weight"
  std::string advice;
  std::string key;                   ///< stays the same while the finding does
  std::vector<std::string> related;  ///< further places and effects, in words
};

FindingRow finding_row(const diagnose::Finding& finding);
/// One row per finding, most severe first, otherwise in the given order.
std::vector<FindingRow> finding_rows(const std::vector<diagnose::Finding>& findings);
/// The findings' indices in the order of the rows.
std::vector<std::size_t> finding_order(const std::vector<diagnose::Finding>& findings);

/// "Error", "Warning", "Note"
const char* severity_word(diagnose::Severity severity);
/// "transposed-weight" → "Transposed weight"
std::string cause_text(const std::string& cause);
/// "layer 1 · head 2 · position 5 · tensor"; "whole model" without any place.
std::string where_text(const diagnose::Finding& finding);
/// "2 errors · 1 warning"; empty without findings.
std::string tally_text(const std::vector<diagnose::Finding>& findings);
/// Everything as plain text, for a mail or a bug report.
std::string findings_text(const session::Snapshot& snapshot);

/// Where one click on the finding leads; −1: stay where the selection is.
struct Target {
  int layer = -1;
  int head = -1;
  int position = -1;
  int key = -1;
};
Target target_of(const diagnose::Finding& finding);

/// All places of a finding, those told in words included.
struct Places {
  std::vector<int> layers, heads, positions;
};
Places places_of(const diagnose::Finding& finding);

/// The worst finding of a place.
struct Badge {
  diagnose::Severity severity = diagnose::Severity::kInfo;
  std::size_t finding = 0;  ///< index in the snapshot's list
  int count = 0;            ///< findings of this place
};

/// Which layers, heads and tokens have findings. UI thread; rebuilt when the findings change.
class FindingBadges {
 public:
  /// True when something changed.
  bool update(const session::Snapshot& snapshot);
  /// Null where there is nothing to tell.
  [[nodiscard]] const Badge* layer(int layer) const;
  [[nodiscard]] const Badge* head(int layer, int head) const;
  [[nodiscard]] const Badge* token(int position) const;
  [[nodiscard]] bool empty() const { return layers_.empty() && heads_.empty() && tokens_.empty(); }

 private:
  std::map<int, Badge> layers_;
  std::map<std::pair<int, int>, Badge> heads_;
  std::map<int, Badge> tokens_;
  std::uint64_t serial_ = ~std::uint64_t{0};
  const session::ModelInfo* model_ = nullptr;
};

/// One sentence for a badge's tooltip: "Error: transposed weight — …".
std::string badge_text(const Badge& badge, const std::vector<diagnose::Finding>& findings);

/// The evidence as two rows of cells and a line per value.
struct EvidenceView {
  struct Line {
    int index = 0;
    float captured = 0.0F;
    float expected = 0.0F;
    bool has_expected = false;
    bool worst = false;  ///< the cell that the finding is about
    bool off = false;    ///< differs visibly from what is expected, or is not finite
  };
  std::string title;         ///< "attn_q · layer 1 · position 5 · channel 17"
  std::vector<Line> lines;   ///< in order of index
  std::vector<float> cells;  ///< [captured; expected][lines], or one row without expectations
  int rows = 0;
  float lo = 0.0F, hi = 0.0F;  ///< symmetric around 0, of the finite cells
};
EvidenceView evidence_view(const diagnose::Finding& finding);

/// Numbers over all values of the evidence, those that are not finite left out and counted.
struct EvidenceStats {
  int n = 0;           ///< values
  int non_finite = 0;  ///< captured ones
  int off = 0;         ///< Line::off
  bool compared = false;
  double mean = 0.0, deviation = 0.0, min = 0.0, max = 0.0;  ///< captured
  double expected_mean = 0.0, expected_deviation = 0.0;
  /// Of captured against expected: largest |difference|, ‖captured − expected‖ / ‖expected‖,
  /// cosine.
  double max_abs = 0.0, rel_l2 = 0.0, cosine = 0.0;
};
EvidenceStats evidence_stats(const EvidenceView& view);

}  // namespace layerscope::gui::view
