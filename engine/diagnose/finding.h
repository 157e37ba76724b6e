// Finding: one anomaly with its likely cause, its place, and what to look at.
//
// Immutable once reported; shared between threads as part of a snapshot.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace layerscope::diagnose {

enum class Severity : std::uint8_t { kInfo, kWarning, kError };
std::string_view severity_name(Severity severity);

/// The cell to look at, with the captured values around it and what they should be.
struct Evidence {
  std::string tap;  ///< canonical tap name; empty: the finding is not about an activation
  int layer = -1;
  int head = -1;
  int position = -1;
  int key = -1;    ///< attention rows: the key position
  int index = -1;  ///< vectors: the channel
  int first = 0;   ///< index of the first value below
  std::vector<float> captured;
  std::vector<float> expected;  ///< as many, or empty where nothing can be expected
};

struct Finding {
  std::string check;  ///< which check: "projection"
  std::string cause;  ///< which bug: "transposed-weight"
  Severity severity = Severity::kError;
  int layer = -1;  ///< first place; −1: not bound to one
  int head = -1;
  int position = -1;
  std::string tensor;      ///< tensor of the file, empty when none is concerned
  double value = 0.0;      ///< what was measured
  double threshold = 0.0;  ///< what would still be right
  std::string message;     ///< why these numbers mean this bug
  std::string advice;      ///< what to do
  Evidence evidence;

  int stage = 0;         ///< place in the order of computation; the smallest is the root
  bool symptom = false;  ///< An effect that another finding may explain.
  std::vector<std::string> related;  ///< further places and explained symptoms, in words
  std::uint64_t serial = 0;          ///< unique within a session; the window keeps its selection
};

/// Order of computation of a tap: embedding, layers, final norm, logits. `tap` as in capture::Tap.
int stage_of(int layer, int tap, int n_layers);

}  // namespace layerscope::diagnose
