// What checks see, and the list of them.
//
// Checks are pure functions of captured data and of the model as its file says. They do not know
// which faults are active: a bug is recognised by what it does.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/capture/frame.h"
#include "engine/diagnose/captures.h"
#include "engine/diagnose/report.h"
#include "engine/model/model.h"

namespace layerscope::diagnose {

/// Sampler settings in force (the order of filters is top-k, top-p, min-p, temperature).
struct Sampling {
  double temperature = 0.0;
  int top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double repeat_penalty = 1.0;
};

/// What is diagnosed.
struct Subject {
  std::shared_ptr<const model::Model> model;  ///< as the file says
  double unit_roundoff = 0x1p-24;             ///< of the backend's activations
  double product_roundoff = 0x1p-24;          ///< of products in passes of several tokens
  bool half_cache = false;                    ///< keys and values are kept in float16
  int context = 0;                            ///< slots of the run: LongRoPE's divisors follow it
  Sampling sampling;
  std::size_t n_prompt = 0;  ///< the first tokens are the prompt
  bool text_known = false;   ///< fed_text is what was tokenised, special tokens added
  std::string fed_text;
};

/// The tokens evaluated so far; the newest is last.
struct LiveInput {
  const Subject& subject;
  std::span<const std::shared_ptr<const capture::TokenFrame>> frames;
};

/// Draws of the run's sampler from known logits.
struct SamplerProbe {
  std::vector<float> logits;  ///< [vocab_rows]
  Sampling sampling;
  std::vector<std::int32_t> drawn;
};

/// One attention row of the newest token as the window recomputes it from the caches.
struct RecomputedRow {
  int layer = 0, head = 0, position = 0;
  std::vector<float> probabilities;  ///< [position + 1]
  std::vector<float> captured;       ///< the same row as it was captured with the token
};

/// A replay of the tokens with whole tensors, and what was measured beside it.
struct DeepInput {
  const Subject& subject;
  std::span<const std::int32_t> ids;
  const Captures& captures;
  std::span<const SamplerProbe> probes;
  /// Logits after the last token, by the run itself, by the replay a second time, without its
  /// recorded steps, and by evaluating all tokens in one prefill; empty where not measured.
  std::span<const float> run_logits, again_logits, eager_logits, prefill_logits;
  std::span<const RecomputedRow> recomputed;
  std::shared_ptr<const capture::TokenFrame> newest;  ///< the frame that they belong to
  /// Multiply-adds that one check may spend; above it, rows are sampled.
  double budget = 4e9;
};

struct Check {
  const char* name;
  const char* what;  ///< one line for lists
  void (*load)(const Subject&, Report&) = nullptr;
  void (*live)(const LiveInput&, Report&) = nullptr;  ///< looks at the newest token only
  void (*deep)(const DeepInput&, Report&) = nullptr;
};

/// Every check, cheap before dear.
const std::vector<Check>& checks();

/// Run the checks of a kind; each adds its findings and is counted.
void run_load_checks(const Subject& subject, Report& report);
void run_live_checks(const LiveInput& input, Report& report);
void run_deep_checks(const DeepInput& input, Report& report);

}  // namespace layerscope::diagnose
