// FaultPlan: what interventions mean for the stages of a forward pass, the same for every backend.
//
// Pure functions: a backend asks what is to be done wrong and does it in its own way. Rows that a
// stage leaves are edited on the host by one function, so that a fault is the same numbers
// everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/capture/taps.h"
#include "engine/model/interventions.h"

namespace layerscope::backend {

/// How one head is rotated.
struct RotationPlan {
  bool off = false;
  bool twice = false;
  bool other_pairing = false;
  double base = 0.0;  ///< frequencies of this base; 0: the model's own

  bool operator==(const RotationPlan&) const = default;
};
/// `head` −1: a key head, which only faults of the whole layer reach.
RotationPlan rotation_plan(std::span<const model::Intervention> list, int layer, int head);

/// The frequencies of a RotationPlan's base, scaled as the layer's own are.
std::vector<double> wrong_frequencies(const model::DecoderSpec& spec, int layer, double base);
kernels::RopePairing other_pairing(kernels::RopePairing pairing);

/// Where the keys and values of one token go; −1: nothing of the kind. In this order.
struct StorePlan {
  int clear = -1;      ///< slot that becomes zero
  int copy_from = -1;  ///< slot whose content goes to the token's own one
  int write = -1;      ///< slot that gets the token's keys and values
  bool late = false;   ///< the token's own slot is written after attention
};
/// `own`: the token's slot. `decoding`: it is evaluated alone after others. `stuck_slot` remembers
/// the slot of the first decoded token (−1 before).
StorePlan store_plan(std::span<const model::Intervention> list, int layer, int own, int context,
                     bool decoding, int& stuck_slot);

/// How one query head attends.
struct HeadPlan {
  int kv_head = 0;
  double scale = 1.0;         ///< of q · k
  bool sees_all = false;      ///< tokens of the pass see later ones of it
  bool unnormalised = false;  ///< weights are not divided by their sum
  bool half_scores = false;   ///< q · k is accumulated in float16
  double cap = 0.0;           ///< soft-cap of the scores; 0: none
  bool ignores_window = false;
};
HeadPlan head_plan(std::span<const model::Intervention> list, const model::DecoderSpec& spec,
                   int layer, int head);
/// True when some head of the layer attends wrongly.
bool attends_wrongly(std::span<const model::Intervention> list, int layer);

/// The row of the embedding that token `id` gets.
std::int32_t embedding_row(std::span<const model::Intervention> list, std::int32_t id,
                           int vocab_rows);

/// True when a block's output is computed and then not added.
bool skips_addition(std::span<const model::Intervention> list, capture::Tap block, int layer);

/// True when `edit_rows` would change this stage's output.
bool edits_rows(std::span<const model::Intervention> list, capture::Tap which, int layer);

/// Changes what a stage left, before it is captured and used: values [n, width], row-major.
/// `usable[row]` of the logits: text can produce it.
void edit_rows(std::span<const model::Intervention> list, const model::DecoderSpec& spec,
               const std::vector<bool>& usable, capture::Tap which, int layer,
               std::span<float> values, std::size_t n);

}  // namespace layerscope::backend
