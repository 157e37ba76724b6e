// Faults: the text before and after, and the list with its search. UI thread, no drawing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

/// The tokens that were generated after the prompt.
std::vector<std::int32_t> generated_ids(const session::Snapshot& snapshot);

/// What the model wrote without faults, kept while faults are in force.
class HealthyText {
 public:
  /// Takes in a snapshot without faults. A rewound or younger run does not shorten what is kept.
  void update(const session::Snapshot& snapshot);
  /// True when what is kept answers the snapshot's model, prompt and sampling.
  [[nodiscard]] bool comparable(const session::Snapshot& snapshot) const;
  [[nodiscard]] const std::vector<std::int32_t>& ids() const { return ids_; }

 private:
  std::vector<std::int32_t> ids_;
  std::string model_;  ///< its path
  std::string prompt_;
  bool chat_ = false;
  session::SamplerSettings sampler_;
  std::uint64_t version_ = 0;
};

/// Two texts split where they part.
struct TextDiff {
  int first = -1;    ///< the first token that differs, counted after the prompt; −1: none so far
  std::string same;  ///< what both begin with
  std::string before_token, before_rest;  ///< where they part, and what follows
  std::string after_token, after_rest;
};
TextDiff diff_text(const tokenizer::Tokenizer* tokenizer, std::span<const std::int32_t> before,
                   std::span<const std::int32_t> after);

/// Indices of the faults whose name, title or story contains `search`; possible ones first.
std::vector<std::size_t> matching_faults(const std::vector<session::FaultInfo>& faults,
                                         std::string_view search);

/// "rope:off,3" → "RoPE not applied · rope:off,3"; the text itself when the name is unknown.
std::string fault_title(const std::vector<session::FaultInfo>& faults, std::string_view text);

/// "transposed weight" → "Transposed weight"
std::string capitalised(std::string text);

/// "Faults", "Faults · 1 active"
std::string fault_count_text(std::size_t n_active);

}  // namespace layerscope::gui::view
