// Diagnosis: runs the checks on a generator's run: at load, live per token, and in depth on a
// replay.
//
// Owned by the thread that drives the generator. The replay runs on a second backend with the same
// faults, so that diagnosing never changes the run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/diagnose/check.h"
#include "engine/diagnose/finding.h"
#include "engine/session/generator.h"

namespace layerscope::session {

class Diagnosis {
 public:
  /// Makes a backend of the run's kind with at least `context` slots.
  using MakeBackend = std::function<Result<std::unique_ptr<backend::Backend>>(int context)>;

  /// `generator` must outlive it. Runs the load checks once.
  Diagnosis(const Generator& generator, MakeBackend make_backend);

  /// A new prompt: forgets the findings of the last. `fed_text` is what the ids were made from with
  /// special tokens added; empty when the ids came from elsewhere.
  void start(std::size_t n_prompt, std::string fed_text);
  /// Forgets what was seen at and after `position` (a rewind).
  void rewind(std::size_t n_frames);
  /// Live checks of the frames since the last call; true when there are new findings.
  bool observe();
  /// Replays the tokens with whole tensors and runs the expensive oracles. Errors: cancelled, no
  /// memory for a second cache, nothing evaluated yet.
  Status deepen(const std::stop_token& stop);

  /// Grouped, most severe first.
  [[nodiscard]] const std::vector<diagnose::Finding>& findings() const { return findings_; }
  /// Raised whenever the findings change.
  [[nodiscard]] std::uint64_t serial() const { return serial_; }
  [[nodiscard]] int checks_run() const { return report_.checks_run(); }
  /// Bytes of whole tensors that one replay may hold; layers beyond are left out, the first kept.
  std::uint64_t replay_bytes = std::uint64_t{1} << 30U;

 private:
  void regroup();
  void keep_unseen(const std::vector<diagnose::Finding>& before, std::size_t n_frames);
  void take_rounding();
  Result<std::vector<diagnose::Pass>> replay(backend::Backend& shadow,
                                             const std::stop_token& stop) const;
  [[nodiscard]] int captured_layers() const;
  [[nodiscard]] std::vector<diagnose::SamplerProbe> probe_sampler() const;
  [[nodiscard]] std::vector<diagnose::RecomputedRow> recompute_rows() const;

  const Generator& generator_;
  MakeBackend make_backend_;
  diagnose::Subject subject_;
  diagnose::Report load_report_, report_;
  std::vector<diagnose::Finding> findings_;
  std::uint64_t serial_ = 0;
  std::size_t seen_ = 0;  ///< frames that live checks have looked at
};

/// Where a finding is, in words for lists: "layer 3 · head 2 · position 5".
std::string place_text(const diagnose::Finding& finding);

}  // namespace layerscope::session
