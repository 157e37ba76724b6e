// ComparedSession: a session (A) with a reference beside it (B), seen as one session whose snapshot
// shows A, B or their difference. Without a reference it is A.
//
// Owned and called by one thread (the window's). Commands go to A; what only reads (a token's
// tensors, a head's map) goes to B too while B is looked at.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/session/comparison_worker.h"
#include "engine/session/snapshot_difference.h"
#include "engine/session/trace_session.h"

namespace layerscope::session {

/// Where choosing and comparing stand.
enum class CompareStage : std::uint8_t {
  kNone,       ///< no reference
  kReading,    ///< the reference is read, or run
  kNoTokens,   ///< A has evaluated nothing yet
  kRecording,  ///< A's tokens are evaluated again with every tensor
  kComparing,
  kDone,
  kFailed,  ///< `problem` says why
};

class ComparedSession final : public SessionLink {
 public:
  explicit ComparedSession(std::function<void()> on_change);

  /// Another A; the reference stays and is compared anew on request.
  void set_candidate(SessionLink& a);
  /// The model file behind A (or opened before it): what Explain runs. Empty: none.
  void set_model(ModelChoice model) { model_ = std::move(model); }
  [[nodiscard]] const ModelChoice& model() const { return model_; }

  /// A trace of any format, or a model file to run on A's tokens. Compares as soon as both are
  /// there.
  void choose_reference(std::string path);
  void drop_reference();
  /// Once more, with A's present tokens.
  void compare_again();
  /// Feeds the reference's tokens to A and compares.
  void feed_reference_tokens();
  void explain();
  void bisect();
  /// Cancels what is at work.
  void cancel();

  bool set_pace(double tokens_per_s) override { return a_->set_pace(tokens_per_s); }

  void set_side(Side side);
  [[nodiscard]] Side side() const { return side_; }
  /// B and the difference can be shown.
  [[nodiscard]] bool has_sides() const;

  [[nodiscard]] CompareStage stage() const { return stage_; }
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] const std::string& reference_path() const { return path_; }
  [[nodiscard]] std::shared_ptr<const ComparisonResult> result() const { return worker_.result(); }
  /// A's tokens or faults have changed since the result was made.
  [[nodiscard]] bool stale() const;
  [[nodiscard]] bool busy() const;
  /// Nothing is at work, and what is shown is the latest of both sides.
  [[nodiscard]] bool settled() const;
  /// The same position's tensors on both sides, for looking at them side by side: asks for those
  /// that are not there; null until they are.
  struct Details {
    std::shared_ptr<const TokenDetail> a, b;
  };
  [[nodiscard]] Details details(int position);
  [[nodiscard]] const Progress& compare_progress() const { return worker_.progress(); }
  /// A's own snapshot, whichever side is shown.
  [[nodiscard]] std::shared_ptr<const Snapshot> candidate() const;
  /// Moves choosing and comparing on; once per frame.
  void advance();

  void send(Command command) override;
  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const override { return shown_; }
  [[nodiscard]] const Progress& progress() const override { return a_->progress(); }
  [[nodiscard]] bool idle() const override;
  [[nodiscard]] LinkState link() const override { return a_->link(); }
  [[nodiscard]] std::shared_ptr<const TensorReport> tensor(const std::string& name) override {
    return a_->tensor(name);
  }

 private:
  void open_reference(std::shared_ptr<const compare::Trace> trace);
  void read_reference();
  void want_candidate();
  void fail(std::string problem);
  void compose();

  std::function<void()> on_change_;
  SessionLink* a_ = nullptr;
  ComparisonWorker worker_;
  std::unique_ptr<TraceSession> b_;
  ModelChoice model_;
  std::string path_;
  CompareStage stage_ = CompareStage::kNone;
  std::string problem_;
  bool run_reference_ = false;         ///< it is a model that runs now
  std::uint64_t asked_error_ = 0;      ///< A's error serial when it was asked for a trace
  std::uint64_t references_ = 0;       ///< for the serials of B's frames
  std::vector<std::int32_t> feeding_;  ///< tokens that A was asked to evaluate
  Side side_ = Side::kA;

  SnapshotDifference difference_;
  std::shared_ptr<const Snapshot> from_a_, from_b_;  ///< what shown_ was made from
  std::shared_ptr<const compare::TapDifferences> from_differences_;
  Side from_side_ = Side::kA;
  std::uint64_t version_ = 0;
  std::uint64_t asked_detail_a_ = 0, asked_detail_b_ = 0;  ///< serials of frames asked for
  std::shared_ptr<const Snapshot> shown_;
};

}  // namespace layerscope::session
