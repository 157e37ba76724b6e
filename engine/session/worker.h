// Session::Worker: the thread behind a Session. Private to engine/session.
//
// `queue_`, sequence numbers and the running command's stop source are guarded by mutex_;
// everything below "worker thread only" belongs to the thread. A command with sequence number s is
// interrupted by a Pause or Stop with a larger one, whether it is running or still queued.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/session/branches.h"
#include "engine/session/diagnosis.h"
#include "engine/session/generator.h"
#include "engine/session/session.h"

namespace layerscope::session {

class Session::Worker {
 public:
  explicit Worker(SessionOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void send(Command command);
  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const;
  [[nodiscard]] bool idle() const;
  void set_draw_sink(std::shared_ptr<backend::DrawSink> sink);
  void look(const backend::DrawRequest& request);
  void set_pace(double tokens_per_s) { pace_ = tokens_per_s; }
  void wait_idle() const;
  [[nodiscard]] const Progress& progress() const { return progress_; }

 private:
  struct Queued {
    std::uint64_t sequence = 0;
    Command command;
  };

  void loop();
  bool next(Queued& item);
  void execute(const Queued& item);
  [[nodiscard]] bool paused(std::uint64_t sequence) const;

  // Worker thread only:
  void keep_pace(std::chrono::steady_clock::time_point token_began);
  void handle(const LoadModel& command);
  void handle(const Unload& command);
  void handle(const SetPrompt& command);
  void handle(const Step& command);
  void handle(const Run& command);
  void handle(const Pause&) {}
  void handle(const Stop& command);
  void handle(const Rewind& command);
  void handle(const ForceToken& command);
  void handle(const SetSampler& command);
  void handle(const SetCapture& command);
  void handle(const RequestHeadMap& command);
  void handle(const InspectToken& command);
  void handle(const InspectAttention& command);
  void handle(const InspectCache& command);
  void handle(const SwitchBranch& command);
  void handle(const DropBranch& command);
  void handle(const SetFaults& command);
  void handle(const SetDiagnosis& command);
  void handle(const DiagnoseNow& command);
  void handle(const RunJob& command);
  void handle(const SetTokens& command);
  void handle(const MakeTrace& command);

  Status make_trace();
  Status set_tokens(const std::vector<std::int32_t>& ids);
  Status load(const std::string& path);
  [[nodiscard]] backend::BackendOptions backend_options(int context) const;
  /// After a device error: loads the model again and sets the prompt anew.
  void recover();
  Status run_job(Job& job, JobEnd& end);
  Status set_prompt(const SetPrompt& command);
  /// Evaluates what is missing of the prompt, so that a token can be chosen.
  Status prepare();
  /// Generates until `limit` tokens (≤ 0: no limit), the end, Pause or Stop.
  void generate(int limit, bool stop_at_end);
  Status append(std::int32_t id, capture::Origin origin);
  Status set_faults(const std::vector<std::string>& faults);
  /// Clears the context; the prompt's ids are made from fed_text and the faults in force.
  void restart();
  Status deepen();
  void observe();
  Status inspect(const InspectToken& command, TokenDetail& detail);
  Status add_lens(int top, TokenDetail& detail);
  Status inspect(const InspectCache& command, CacheView& view);
  Status inspect(const InspectAttention& command, AttentionValues& values);
  /// Makes the picture that was asked for, if one was. `idle`: no command is in hand, so that it
  /// may take long.
  void draw(bool idle);
  bool take_look(backend::DrawRequest& request);
  /// Answers what panels asked for while tokens are generated.
  void serve_views();
  void update_branches();
  /// Keeps all that was captured within the budget, once the checks have seen it, and accounts it.
  void limit_history();
  /// Error (kUsage): `what` alone would take more than half of the history's budget.
  [[nodiscard]] Status fits_history(const char* what, double bytes) const;
  /// What belongs to the tokens of a session that ends.
  void forget_views();
  void take_findings();
  bool report(const Status& status);
  void set_state(State state);
  void publish();
  void update_chunks();
  void set_error(const Error& error);

  SessionOptions options_;
  Progress progress_;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<Queued> queue_;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t pause_sequence_ = 0;
  std::uint64_t stop_sequence_ = 0;
  std::uint64_t running_sequence_ = 0;
  std::stop_source running_stop_;
  bool busy_ = false;
  std::optional<backend::DrawRequest> look_;     ///< asked for, not yet made
  std::stop_source look_stop_;                   ///< of a picture made while idle
  std::shared_ptr<backend::DrawSink> new_sink_;  ///< to be used from now on, where sink_changed_
  bool sink_changed_ = false;
  bool quitting_ = false;
  std::atomic<double> pace_{0.0};  ///< tokens a second at most; 0: no limit
  std::shared_ptr<const Snapshot> published_;

  // Worker thread only:
  Snapshot state_;  ///< What the next publication says.
  std::unique_ptr<Generator> generator_;
  std::unique_ptr<Diagnosis> diagnosis_;  ///< of generator_
  SetDiagnosis diagnosis_settings_;
  Branches branches_;
  std::shared_ptr<backend::DrawSink> sink_;
  std::stop_token stop_;  ///< of the command in hand
  std::uint64_t sequence_ = 0;
  const compare::Trace* counted_trace_ = nullptr;  ///< whose tensors trace_bytes_ is
  std::uint64_t trace_bytes_ = 0;
  std::jthread warm_up_;        ///< of the GPU, while a model file is read
  bool device_failed_ = false;  ///< by the command in hand
  std::string no_gpu_reason_;   ///< why `auto` is the processor from now on; empty: it is not

  std::thread thread_;  ///< last: starts when everything else exists
};

}  // namespace layerscope::session
