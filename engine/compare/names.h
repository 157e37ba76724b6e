// Names of other engines → our taps. Private to engine/compare.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/capture/taps.h"
#include "engine/compare/reading.h"

namespace layerscope::compare {

/// Parts of one tensor that are several taps.
enum class Fused : std::uint8_t { kNone, kQkv, kGateUp };

/// What a name means; without tap and fused, `why` says why it is none of our taps.
struct Meaning {
  std::optional<capture::Tap> tap;
  int layer = -1;
  Fused fused = Fused::kNone;
  std::string why;
};

/// A PyTorch module's path ("model.layers.0.self_attn.q_proj", with ".inputs" or ".outputs" where
/// the source says which), or any name that holds a tap's name and a layer's number.
Meaning module_meaning(std::string_view name);

/// Reads llama.cpp's tensors, whose names repeat: order and operands tell them apart.
Reading read_ggml_taps(const Trace& trace, const TraceModel& model);

/// Columns of Q, K and V in a fused row, or of gate and up; appends what `tensor` then is.
void split_fused(Fused fused, std::size_t tensor, int layer, int pass, std::int64_t row,
                 const TraceModel& model, Reading& reading);

}  // namespace layerscope::compare
