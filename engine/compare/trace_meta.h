// The metadata of a trace file: the JSON text under "layerscope.trace" in its safetensors header.
//
//   {"format":1,"model":{"name","metadata_sha256","architecture","quantization","n_layers",
//    "n_heads","n_kv_heads","head_dim","hidden","ffn","attention_scale"},"ids":[…],"n_prompt":N,
//    "passes":[{"first_position","n_tokens"}…],"sampler":{…},"capture":"full",
//    "path":{"backend","kind":[…],"attention"},"unit_roundoff","faults":[…],"prompt",
//    "vocabulary":{"kind","rows","unused":[[first,last]…],"pieces":[[id,text,type]…]},
//    "findings":[{"check","cause","severity","layer","head","position","tensor","value",
//    "threshold","message","advice","related":[…]}…]}
//
// Only "format" is required; what is missing is unknown.
#pragma once

#include <string>

#include "engine/compare/trace.h"

namespace layerscope::compare {

inline constexpr const char* kTraceMetaKey = "layerscope.trace";
inline constexpr int kTraceFormat = 1;

/// How tokens were chosen, for the record.
struct TraceSampler {
  double temperature = 0.0, top_p = 1.0, min_p = 0.0, repeat_penalty = 1.0;
  int top_k = 0;
  std::uint64_t seed = 0;
};

/// The text for a trace's header; tensors, notes and files are not part of it.
std::string trace_meta_text(const Trace& trace, const TraceSampler& sampler);

/// Fills a trace from the text. Errors (kInvalidInput): no JSON, a newer format, wrong types,
/// passes that do not fit the ids.
Status read_trace_meta(const std::string& text, Trace& trace);

}  // namespace layerscope::compare
