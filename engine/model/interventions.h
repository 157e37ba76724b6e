// Interventions: what is done wrong on purpose in a run, as data.
//
// A fault (engine/diagnose/faults) names a real bug and says which interventions imitate it.
// Tensor and spec kinds change the model that a backend computes with (`edit_model`); the others
// are obeyed by the backend at the named stage, by the sampler, or where the prompt becomes ids.
// With an empty list nothing anywhere takes another path. Immutable once handed out.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/model/model.h"

namespace layerscope::model {

enum class InterventionKind : std::uint8_t {
  // The model's data: `tensor` names it.
  kTransposeTensor,  ///< [rows, cols] read as if stored [cols, rows]
  kReadF16AsF32,     ///< float16 bytes read as float32, past the end from the start again
  kReadBf16AsF16,    ///< bfloat16 bytes read as float16
  kSwapNibbles,      ///< low and high half of every packed byte exchanged
  kDropVector,       ///< an optional vector (bias) is not used
  kCorruptVector,    ///< w[i] · (7 … 16)
  kShiftVector,      ///< w[i] + amount
  kWrongHead,        ///< head: the embedding where the file has its own, noise where it is tied
  kNormEpsilon,      ///< `amount` instead of the file's
  // Stages of the forward pass; `layer` and `head` −1 mean all.
  kEmbeddingZero,      ///< rows are zero
  kEmbeddingShift,     ///< the row of id + 1
  kEmbeddingUnscaled,  ///< without the architecture's factor
  kQkNormOff,
  kRopeOff,
  kRopeTwice,
  kRopePairing,     ///< adjacent for half-split and the other way round
  kRopeBase,        ///< frequencies of base `amount`
  kKvStuck,         ///< every decoded token is written to the first decoded token's slot
  kKvStale,         ///< a decoded token's own slot still holds what the token before left
  kKvZero,          ///< slot `index` reads as zero
  kKvOffByOne,      ///< keys and values are written one slot too far
  kAttentionScale,  ///< scale · amount
  kSoftmaxUnnormalised,
  kMaskOff,            ///< tokens of one pass see later ones of that pass
  kGqaModulo,          ///< query head h reads KV head h mod n_kv_heads
  kGqaFirst,           ///< every query head reads KV head 0
  kScoreF16,           ///< q · k accumulated in float16
  kScoreCapOff,        ///< scores without the architecture's soft-cap
  kWindowOff,          ///< windowed layers see every earlier token
  kRouteUnnormalised,  ///< experts' weights are not divided by their sum
  kRouteShifted,       ///< the experts ranked one place lower
  kResidualSkip,       ///< the attention block's output is not added
  kNan,                ///< one NaN in the feed-forward's output
  kChannel,            ///< channel `index` of the feed-forward's output · amount
  kAblateHead,         ///< a head's output is zero
  kAblateAttention,    ///< the attention block adds zero
  kAblateFfn,          ///< the feed-forward adds zero
  kLogitCapOff,        ///< logits without the architecture's soft-cap
  kHeadUnwritten,      ///< logits of the upper half of the rows are never written
  kHeadLeftover,       ///< logits of padded rows hold leftovers
  // The sampler.
  kSamplePadding,      ///< padded rows take part
  kTopPBeforeSoftmax,  ///< top-p adds up logits
  kIgnoreTemperature,
  // The prompt's ids.
  kBosMissing,
  kBosDouble,
};

struct Intervention {
  InterventionKind kind{};
  int layer = -1;
  int head = -1;
  int index = -1;
  double amount = 0.0;
  std::string tensor;

  bool operator==(const Intervention&) const = default;
};

using Interventions = std::vector<Intervention>;

/// Who obeys an intervention.
enum class Obeyed : std::uint8_t { kModel, kForward, kSampler, kPrompt };
Obeyed obeyed_by(InterventionKind kind);

/// The first intervention of `kind` that covers the place (−1: anywhere), or null.
const Intervention* find(std::span<const Intervention> list, InterventionKind kind, int layer = -1,
                         int head = -1);

/// The model with its tensor and spec interventions applied; the file stays shared and unchanged.
/// Returns `model` itself when the list has none. Errors (kUsage): a tensor that the model does not
/// have or to which the kind cannot apply.
Result<std::shared_ptr<const Model>> edit_model(std::shared_ptr<const Model> model,
                                                std::span<const Intervention> list);

}  // namespace layerscope::model
