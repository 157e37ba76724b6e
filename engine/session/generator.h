// Generator: a model, a backend and a sampler turned into frames, token by token, on one thread.
//
// The session's worker drives it for the window, the command line drives it directly. It holds the
// tokens and frames of the present session; frames never change once made.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/base/result.h"
#include "engine/base/thread_pool.h"
#include "engine/capture/frame.h"
#include "engine/model/interventions.h"
#include "engine/model/model.h"
#include "engine/session/history.h"
#include "engine/session/sampler.h"

namespace layerscope::session {

class Generator {
 public:
  /// Called after each pass with what it captured, tensors included (traces, tests).
  using PassCallback =
      std::function<void(const capture::PassCapture&, std::span<const float> logits)>;

  Generator(std::shared_ptr<const model::Model> model, std::unique_ptr<backend::Backend> backend);

  /// Forgets everything evaluated.
  void reset();

  /// Evaluates `ids` after what is there, in batches, and makes a frame for each. `progress` gets
  /// the number of tokens done. With `logits_for_all` every frame gets its distribution (dearer:
  /// one head product per token). Errors: context full, cancelled (whole batches stay), a bad id.
  Status evaluate(std::span<const std::int32_t> ids, bool logits_for_all, std::stop_token stop,
                  const std::function<void(std::size_t)>& progress = {});

  /// What this run does wrong on purpose, from its next pass on. Errors (kUsage): as the backend's.
  Status set_interventions(model::Interventions list);
  [[nodiscard]] const model::Interventions& interventions() const { return interventions_; }

  /// One draw of the run's sampler (its faults included) from any logits.
  [[nodiscard]] Result<std::int32_t> draw(std::span<const float> logits,
                                          std::span<const std::int32_t> history,
                                          const SamplerSettings& settings) const;

  /// Chooses the next token from the present distribution. Needs at least one evaluated token.
  Result<std::int32_t> choose() const;

  /// Appends a chosen (or forced) token: evaluates it and makes its frame.
  Status append(std::int32_t id, capture::Origin origin, std::stop_token stop);

  /// Keeps positions [0, position] and re-evaluates the last of them for its logits (the cache
  /// before it is reused). Error (kUsage): position out of range.
  Status rewind(int position, std::stop_token stop);

  /// Makes `frames` the present line: instant, nothing is evaluated. The cache keeps what both
  /// lines share and is brought up by whatever needs it next.
  void adopt(std::vector<std::shared_ptr<const capture::TokenFrame>> frames);
  /// Evaluates tokens of the present line that the cache lacks, up to `length`, without capture.
  Status catch_up(std::size_t length, const std::stop_token& stop);

  /// Evaluates the token at `position` again, capturing; nothing else changes.
  Status inspect(int position, const capture::Request& request, const std::stop_token& stop,
                 capture::PassCapture& captured);
  /// Final norm and head of residual rows [n, hidden]: logits [n, vocab_rows].
  Status head_logits(std::span<const float> residual, std::vector<float>& logits) {
    return backend_->head_logits(residual, logits);
  }
  /// The logit lens over residual rows [n, hidden].
  Result<std::vector<backend::LensSummary>> lens(std::span<const float> residual,
                                                 const std::stop_token& stop);
  [[nodiscard]] capture::LogitSummary summarize(std::span<const float> logits) const {
    return sampler_.summarize(logits);
  }

  [[nodiscard]] const std::vector<std::shared_ptr<const capture::TokenFrame>>& frames() const {
    return history_.frames();
  }
  [[nodiscard]] History& history() { return history_; }
  [[nodiscard]] const History& history() const { return history_; }
  [[nodiscard]] const std::vector<std::int32_t>& ids() const { return ids_; }
  /// Logits after the last token, [vocab_rows]; empty before the first. A GPU keeps them until
  /// somebody asks.
  [[nodiscard]] std::span<const float> logits() const;
  /// Whether there is a distribution after the last token, without fetching it.
  [[nodiscard]] bool has_distribution() const { return has_distribution_; }
  [[nodiscard]] const capture::LogitSummary& summary() const { return summary_; }
  /// How token `id` would stand in the present distribution.
  [[nodiscard]] capture::Choice describe(std::int32_t id, capture::Origin origin) const;

  [[nodiscard]] const model::Model& model() const { return *model_; }
  [[nodiscard]] const std::shared_ptr<const model::Model>& shared_model() const { return model_; }
  /// One picture (Backend::draw) of everything evaluated; the cache has to be caught up.
  Result<bool> draw(const backend::DrawRequest& request, std::uint64_t session_serial,
                    backend::DrawSink& sink, const std::stop_token& stop);

  [[nodiscard]] const backend::Backend& backend() const { return *backend_; }

  SamplerSettings sampler_settings;
  capture::Request capture;
  PassCallback on_pass;
  /// So many more tokens will be asked for, chosen and not forced, if nothing intervenes: a GPU
  /// works ahead of the caller. 0: it computes what it is asked for.
  int ahead = 0;
  /// Attention rows beyond this many bytes are dropped after each pass, oldest first. What else the
  /// history may take is limited by whoever has read the new frames (History::limit_host).
  std::uint64_t attention_budget = History::kUnlimited;
  [[nodiscard]] std::uint64_t attention_bytes() const { return history_.row_bytes(); }

 private:
  Status pass(std::span<const std::int32_t> ids, bool logits_for_all, capture::Origin origin,
              const std::stop_token& stop);
  ThreadPool& pool();
  std::jthread prepare_frames(std::vector<std::shared_ptr<capture::TokenFrame>>& frames);
  void make_frames(std::vector<std::shared_ptr<capture::TokenFrame>>& frames,
                   std::size_t first_position, std::span<const std::int32_t> ids, double ms);
  void fill_frame(capture::TokenFrame& frame, std::size_t token);
  /// Of passes whose frames exist already: what is drawn must know their rows, too.
  [[nodiscard]] capture::Tier quiet_tier() const;
  void make_room_for_rows(std::size_t n_tokens);

  std::shared_ptr<const model::Model> model_;
  std::unique_ptr<backend::Backend> backend_;
  Sampler sampler_;
  model::Interventions interventions_;
  std::vector<std::int32_t> ids_;
  History history_;
  /// Whether the backend summarises distributions; then `logits_` is filled only when asked for.
  bool backend_summarises_ = false;
  bool has_distribution_ = false;  ///< `summary_` belongs to the last token
  mutable std::vector<float> logits_;
  capture::LogitSummary summary_;
  backend::Chosen chosen_;      ///< by the backend, from the present distribution
  SamplerSettings chosen_for_;  ///< with these settings
  capture::PassCapture captured_;
  std::unique_ptr<ThreadPool> pool_;  ///< for the frames of long passes
  std::uint64_t next_serial_ = 1;
};

}  // namespace layerscope::session
