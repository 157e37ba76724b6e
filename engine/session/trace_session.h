// TraceSession: a recorded trace that answers like a session: step, back, run at a rate, restart,
// tensors and maps on request. It needs no model.
//
// A thread of its own reads the file and does what was sent; everything public may be called from
// any thread. What a recording cannot do (other tokens, faults) becomes the snapshot's error.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/session/session.h"
#include "engine/session/trace_reader.h"

namespace layerscope::session {

struct TraceSessionOptions {
  std::string path;                             ///< a trace of any known format …
  std::shared_ptr<const compare::Trace> trace;  ///< … unless this one is given
  TraceReaderOptions reader;
  std::string model_path;  ///< for DiagnoseNow; empty: none is known
  double steps_per_second = 12.0;
  std::uint64_t history_budget = 0;  ///< as SessionOptions::history_budget
  std::function<void()> on_change;   ///< as SessionOptions::on_change
};

/// Whether a path should be opened as a trace and not as a model: a format that an importer knows,
/// and no file of a model folder. Reads at most 64 KiB.
bool opens_as_trace(const std::string& path);

class TraceSession final : public SessionLink {
 public:
  explicit TraceSession(TraceSessionOptions options);
  ~TraceSession() override;

  void send(Command command) override;
  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const override;
  [[nodiscard]] const Progress& progress() const override { return progress_; }
  [[nodiscard]] bool idle() const override;
  [[nodiscard]] LinkState link() const override;
  bool set_pace(double steps_per_s) override;

  /// Null until the file has been read, and when that failed (the snapshot's error says why).
  [[nodiscard]] std::shared_ptr<const TraceReader> reader() const;
  /// The file was read, or could not be.
  [[nodiscard]] bool opened() const;

 private:
  void loop(const std::stop_token& stop);
  Status open(const std::stop_token& stop);
  void execute(const Command& command);
  void handle(const Step& command);
  void handle(const Run& command);
  void handle(const Rewind& command);
  void handle(const SetPrompt& command);
  void handle(const InspectToken& command);
  void handle(const InspectCache& command);
  void handle(const RequestHeadMap& command);
  void handle(const DiagnoseNow& command);
  void handle(const RunJob& command);
  void play(int limit);
  Status diagnose();
  void show(int n);
  void refuse(const char* what);
  void set_error(const Error& error);
  void publish();
  [[nodiscard]] bool interrupted() const;

  const TraceSessionOptions options_;
  Progress progress_;

  mutable std::mutex mutex_;  // guards what follows, up to the next comment
  mutable std::condition_variable_any wake_;
  std::shared_ptr<const Snapshot> published_;
  std::shared_ptr<const TraceReader> reader_;
  std::deque<Command> queue_;
  bool busy_ = true, opened_ = false, pause_ = false;
  double rate_ = 0.0;

  // The thread only:
  Snapshot state_;
  std::vector<std::shared_ptr<const capture::TokenFrame>> frames_;
  int shown_ = 0;
  std::uint64_t tensor_bytes_ = 0;  ///< of the trace, held in memory

  std::jthread thread_;  ///< last: starts when everything else exists
};

}  // namespace layerscope::session
