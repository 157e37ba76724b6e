// TokenLayout: where each token's chip stands in a wrapped stream of tokens. Pure, UI thread.
//
// Kept between frames: only tokens that changed are measured again, and only the visible lines are
// looked at while drawing, so that 32k tokens cost as little as 30.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "engine/session/snapshot.h"
#include "gui/view/frames.h"
#include "gui/view/text.h"

namespace layerscope::gui::view {

struct ChipPlace {
  float x = 0.0F;
  float width = 0.0F;
  int line = 0;
};

struct LayoutMetrics {
  float width = 0.0F;    ///< available width
  float gap = 0.0F;      ///< before a chip whose token begins with a space
  float tight = 0.0F;    ///< before any other chip
  float padding = 0.0F;  ///< inside a chip, left and right
  bool operator==(const LayoutMetrics&) const = default;
};

class TokenLayout {
 public:
  using Measure = std::function<float(const std::string&)>;

  /// Lays out token_count(snapshot) tokens. A chip wider than a line gets a line of its own and is
  /// clipped to it; after a line feed a new line begins.
  void update(const session::Snapshot& snapshot, const tokenizer::Tokenizer* tokenizer,
              const LayoutMetrics& metrics, const Measure& measure);

  [[nodiscard]] int size() const { return static_cast<int>(places_.size()); }
  [[nodiscard]] int lines() const { return static_cast<int>(line_first_.size()); }
  [[nodiscard]] const ChipPlace& place(int position) const {
    return places_[static_cast<std::size_t>(position)];
  }
  [[nodiscard]] const ChipText& text(int position) const {
    return texts_[static_cast<std::size_t>(position)];
  }
  /// First token of a line; lines() gives the number of tokens.
  [[nodiscard]] int line_first(int line) const {
    return line < lines() ? line_first_[static_cast<std::size_t>(line)] : size();
  }

 private:
  std::vector<ChipPlace> places_;
  std::vector<ChipText> texts_;
  std::vector<std::int32_t> ids_;
  FrameCursor cursor_;  ///< frames among the tokens laid out
  std::vector<int> line_first_;
  LayoutMetrics metrics_;
  const tokenizer::Tokenizer* tokenizer_ = nullptr;
  std::uint64_t version_ = 0;
  bool fresh_ = true;
};

/// How a chip is coloured.
enum class TokenColor : std::uint8_t { kProbability, kEntropy, kRank, kFinding };

/// 0 (expected) … 1 (surprising), or −1 where the distribution before the token is unknown.
/// Probability: −log2(p) over 10 bits; entropy: bits over 8; rank: log10(rank + 1) over 4. Findings
/// are no surprise: always −1.
float token_surprise(const capture::Choice& choice, TokenColor mode);

}  // namespace layerscope::gui::view
