// What is captured: statistics, attention rows and whole tensors of one pass, and the immutable
// TokenFrame that the window, the checks and the traces read.
//
// PassCapture is filled by a backend on the worker thread. TokenFrame is immutable once published
// and shared between threads through shared_ptr<const TokenFrame>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/capture/attention_rows.h"
#include "engine/capture/taps.h"

namespace layerscope::capture {

/// How much is captured; each tier includes the ones before it.
enum class Tier : std::uint8_t {
  kOff,
  kSummary,    ///< TapStats and HeadStats
  kAttention,  ///< attention probabilities of every new row, all layers and heads
  kFull,       ///< whole tensors of the chosen taps and layers
};

struct Request {
  Tier tier = Tier::kOff;
  int first_layer = 0;  ///< full tier: layers [first_layer, last_layer]
  int last_layer = std::numeric_limits<int>::max();
  std::uint32_t taps = 0xFFFFFFFFU;  ///< full tier: bit i = Tap i
  /// A head whose whole rows come to the host although the backend keeps them; −1: none.
  int follow_layer = -1;
  int follow_head = -1;

  [[nodiscard]] bool wants_full(Tap tap, int layer) const {
    const bool in_layers = !is_layer_tap(tap) || (layer >= first_layer && layer <= last_layer);
    return tier == Tier::kFull && in_layers && ((taps >> static_cast<unsigned>(tap)) & 1U) != 0;
  }
};

/// Statistics of one token's row at one tap. Non-finite values are counted and left out of the
/// rest.
struct TapStats {
  float l2 = 0.0F;  ///< Euclidean norm
  float absmax = 0.0F;
  float mean = 0.0F;
  std::uint32_t count = 0;  ///< Elements; 0 means that the tap was not captured.
  std::uint32_t non_finite = 0;
  std::uint32_t zeros = 0;
};

/// Statistics of one head's attention row.
struct HeadStats {
  float row_sum = 0.0F;      ///< Σ probability, 1 when soft-max is right
  float entropy = 0.0F;      ///< nats
  float max = 0.0F;          ///< largest probability
  std::int32_t argmax = -1;  ///< its key position
  float first = 0.0F;        ///< probability of key 0
  float self = 0.0F;         ///< probability of the token's own key
  float lse = 0.0F;          ///< log Σ exp(score); score = ln(probability) + lse
};

/// A whole captured tensor: shape as in taps.h, row-major float32.
struct FullTensor {
  Tap tap = Tap::kEmbedding;
  int layer = -1;  ///< −1 for model-wide taps
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// Everything one forward pass over tokens [first_position, first_position + n_tokens) captured.
struct PassCapture {
  Request request;
  int first_position = 0;
  int n_tokens = 0;
  int n_layers = 0;
  int n_heads = 0;
  std::vector<TapStats> taps;    ///< [n_tokens][n_layers + 1][kNumTaps]; row n_layers is model-wide
  std::vector<HeadStats> heads;  ///< [n_tokens][n_layers][n_heads]
  /// Per token, probabilities [n_layers][n_heads][position + 1]; empty below the attention tier,
  /// and where the backend keeps the rows (then `kept` has an entry per token).
  std::vector<std::vector<float>> attention;
  std::vector<std::shared_ptr<const AttentionRows>> kept;
  std::vector<FullTensor> tensors;

  /// Clears and sizes everything for one pass; `attention` only when the rows go to the host.
  void reset(const Request& wanted, int position, int tokens, int layers, int n_attention_heads,
             bool rows_on_host = true);
  TapStats& stats(int token, int layer, Tap tap) {
    return taps[(static_cast<std::size_t>(token) * static_cast<std::size_t>(n_layers + 1) +
                 static_cast<std::size_t>(layer < 0 ? n_layers : layer)) *
                    kNumTaps +
                static_cast<std::size_t>(tap)];
  }
  HeadStats& head(int token, int layer, int h) {
    return heads[(static_cast<std::size_t>(token) * static_cast<std::size_t>(n_layers) +
                  static_cast<std::size_t>(layer)) *
                     static_cast<std::size_t>(n_heads) +
                 static_cast<std::size_t>(h)];
  }
};

/// Statistics of `n` contiguous values.
TapStats compute_stats(const float* values, std::size_t n);

struct TopToken {
  std::int32_t id = -1;
  float logit = 0.0F;
  float prob = 0.0F;  ///< soft-max over usable tokens at temperature 1; 0 for padded rows
};

/// The next-token distribution after one token.
struct LogitSummary {
  std::vector<TopToken> top;  ///< Usable tokens, most likely first, at most kTopTokens.
  TopToken best_padded;       ///< Largest logit among rows that no text uses; id −1 when none.
  float min = 0.0F;           ///< over usable tokens, finite values
  float max = 0.0F;
  float mean = 0.0F;
  float entropy = 0.0F;  ///< bits
  double lse = 0.0;      ///< log Σ exp(logit) over usable tokens
  std::uint32_t non_finite = 0;
  std::int32_t raw_argmax = -1;  ///< over all rows, padded ones included
};

inline constexpr std::size_t kTopTokens = 32;

enum class Origin : std::uint8_t { kPrompt, kSampled, kForced };

/// How the token of a frame was chosen from the distribution before it.
struct Choice {
  Origin origin = Origin::kPrompt;
  bool known = false;  ///< False when the distribution before it was not computed.
  float logit = 0.0F;
  float prob = 0.0F;       ///< at temperature 1
  float logprob = 0.0F;    ///< nats
  std::int32_t rank = -1;  ///< 0 = most likely
  float entropy = 0.0F;    ///< bits, of that distribution
};

/// How much of a frame is held; the memory budget of the history takes the oldest frames' detail.
enum class Detail : std::uint8_t {
  kSummary,     ///< token, choice and the figures of its distribution with the likeliest candidate
  kStatistics,  ///< also statistics of taps and heads and all candidates
  kAll,         ///< also attention rows, where they were captured
};

/// One position of the session. `serial` is unique within a session: a position whose serial
/// changed holds a different evaluation (after a rewind), everything derived from it must be
/// rebuilt.
struct TokenFrame {
  std::uint64_t serial = 0;
  std::int32_t position = 0;
  std::int32_t id = -1;
  Choice choice;
  int n_layers = 0;
  int n_heads = 0;
  std::vector<TapStats> taps;    ///< [n_layers + 1][kNumTaps]; row n_layers is model-wide
  std::vector<HeadStats> heads;  ///< [n_layers][n_heads]
  /// Null when not captured or dropped for memory.
  std::shared_ptr<const AttentionRows> attention;
  std::optional<LogitSummary> logits;  ///< Distribution after this token, where computed.
  double eval_ms = 0.0;                ///< Wall time of the pass, divided by its tokens.
  Detail detail = Detail::kAll;        ///< below kAll: the rest was dropped for memory

  /// `layer` −1 reads the model-wide taps.
  [[nodiscard]] const TapStats& stats(int layer, Tap tap) const {
    return taps[static_cast<std::size_t>(layer < 0 ? n_layers : layer) * kNumTaps +
                static_cast<std::size_t>(tap)];
  }
  [[nodiscard]] const HeadStats& head(int layer, int h) const {
    return heads[static_cast<std::size_t>(layer) * static_cast<std::size_t>(n_heads) +
                 static_cast<std::size_t>(h)];
  }
  /// Attention row of one head, `position + 1` probabilities; empty when it is not on the host
  /// (Backend::captured_row then has it, unless it was not captured).
  [[nodiscard]] std::span<const float> attention_row(int layer, int h) const;
  [[nodiscard]] bool has_stats() const { return !taps.empty(); }
};

}  // namespace layerscope::capture
