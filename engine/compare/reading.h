// Reading: which of our taps each tensor of a trace is, and its values in our layout.
//
// Names decide (three vocabularies: ours, llama.cpp's, PyTorch modules'), with the order of
// operations where names repeat. What no tap stands for is listed with the reason, never dropped.
#pragma once

#include <string>
#include <vector>

#include "engine/capture/taps.h"
#include "engine/compare/trace.h"

namespace layerscope::compare {

/// One tensor of a trace as one of our taps, or a part of it.
struct TapTensor {
  capture::Tap tap = capture::Tap::kEmbedding;
  int layer = -1;
  int pass = 0;
  std::size_t tensor = 0;         ///< index in Trace::tensors
  std::int64_t first_column = 0;  ///< of a fused tensor's row
  std::int64_t n_columns = 0;     ///< 0: the whole row
  double factor = 1.0;            ///< values are multiplied by it (unscaled scores)
  bool unmasked = false;          ///< scores: keys after the query hold no −∞
};

struct Unread {
  std::string name, why;
};

struct Reading {
  std::vector<TapTensor> taps;  ///< in order of computation: pass, layer, tap
  std::vector<Unread> unread;
};

/// `model`: what is known of the model, from this trace or from the one beside it.
Reading read_taps(const Trace& trace, const TraceModel& model);

/// Values of one tap in our layout: [rows][width], or [heads][rows][keys] for attention taps.
struct TapValues {
  bool attention = false;
  int first_position = 0;  ///< of row 0
  int n_rows = 0;
  int n_heads = 1;  ///< attention: heads; else 1
  int width = 0;    ///< elements of a row, or keys
  bool unmasked = false;
  std::vector<float> values;
  std::vector<bool> known;    ///< as long as values; empty: all
  std::optional<double> sum;  ///< over all values, where the source said so
  double printed = 0.0;

  [[nodiscard]] bool is_known(std::size_t i) const { return known.empty() || known[i]; }
  [[nodiscard]] std::size_t index(int head, int row, int column) const {
    return (static_cast<std::size_t>(head) * static_cast<std::size_t>(n_rows) +
            static_cast<std::size_t>(row)) *
               static_cast<std::size_t>(width) +
           static_cast<std::size_t>(column);
  }
};

/// Errors: a shape that cannot be this tap's (the sentence has both).
Result<TapValues> tap_values(const Trace& trace, const TapTensor& which, const TraceModel& model);

/// Place in the order of computation within a pass.
int tap_order(capture::Tap tap, int layer, int n_layers);

/// What `a` does not know, from `b`.
TraceModel merged(const TraceModel& a, const TraceModel& b);

}  // namespace layerscope::compare
