// Session: one worker thread that owns model, backend and capture; commands in, snapshots out.
//
// Any thread may call `send`, `snapshot` and `progress`. Commands are executed in order by the
// worker; Pause and Stop also take effect inside a running command. The worker never waits for the
// caller, and no lock is held while computing or calling `on_change`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/backend/draw.h"
#include "engine/base/result.h"
#include "engine/capture/frame.h"
#include "engine/format/tensor_stats.h"
#include "engine/session/job.h"
#include "engine/session/sampler.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

/// Loads a model; on failure the present one stays and the snapshot's error says why.
struct LoadModel {
  std::string path;
};
struct Unload {};
/// Sets a new prompt: clears the context, tokenises, does not evaluate yet. With `chat` the text
/// becomes the user message of the model's own template. Errors land in the snapshot.
struct SetPrompt {
  std::string text;
  bool chat = false;
};
/// Makes given tokens the prompt, as SetPrompt does with a text: to run what a trace holds.
struct SetTokens {
  std::vector<std::int32_t> ids;
};
/// Evaluates the prompt where that is still to do, then generates `n` tokens. n = 0 only evaluates.
struct Step {
  int n = 1;
};
/// Like Step without an end: until end of generation, full context, Pause, or `max_tokens` > 0.
struct Run {
  int max_tokens = 0;
};
struct Pause {};  ///< Finishes the current token.
struct Stop {};   ///< Cancels at once, also loading and prompt evaluation; drops queued steps.
/// Keeps positions [0, position]; the next token is chosen anew after it. What is cut off stays as
/// a branch.
struct Rewind {
  int position = 0;
};
/// Appends token `id` instead of sampling one.
struct ForceToken {
  std::int32_t id = 0;
};
struct SetSampler {
  SamplerSettings settings;
};
struct SetCapture {
  capture::Request request;
};
/// Recomputes one head's whole map from the caches; it arrives as Snapshot::head_map. From then on
/// that head's rows of new tokens come to the host also where the rows stay on the GPU.
struct RequestHeadMap {
  int layer = 0, head = 0;
};
/// Evaluates one token again with every tensor captured; arrives as Snapshot::token_detail.
/// Answered between tokens too. `lens_top` > 0 adds the logit lens with that many tokens per layer.
struct InspectToken {
  int position = 0;
  int lens_top = 0;
};
/// Recomputes exact probabilities of a small part of one head's map; they arrive as
/// Snapshot::attention_values. Answered between tokens too.
struct InspectAttention {
  int use = 0;  ///< which of the two answers it replaces
  int layer = 0, head = 0, first_query = 0, n_queries = 0, first_key = 0, n_keys = 0;
  bool operator==(const InspectAttention&) const = default;
};
/// Reads the key and value cache out; arrives as Snapshot::cache_view. Answered between tokens too.
struct InspectCache {
  int layer = 0, kv_head = 0, slot = 0;
};
/// Makes a kept branch the present line; the line that is left becomes a branch. Nothing is
/// evaluated until the next token is asked for.
struct SwitchBranch {
  int id = 0;
};
struct DropBranch {
  int id = 0;
};
/// Injects faults ("rope:off,3", …) from the next evaluation on; replaces those in force, an empty
/// list restores the true model. The context is cleared and the prompt kept, so that the next Step
/// starts over. An unknown or inapplicable fault lands in the snapshot's error and changes nothing.
struct SetFaults {
  std::vector<std::string> faults;
};
/// Live checks on or off, and the expensive oracles after every `deep_every` tokens (0: on
/// request).
struct SetDiagnosis {
  bool live = true;
  int deep_every = 0;
};
/// Replays the tokens with whole tensors and runs the expensive oracles; Stop cancels it.
struct DiagnoseNow {};
/// Evaluates the present tokens again beside the session with every tensor captured, with the
/// faults in force; arrives as Snapshot::trace. Stop cancels it.
struct MakeTrace {};
/// Runs a whole generation for somebody else (job.h). It waits behind what runs now and is not
/// dropped by Stop while it waits; Stop during the job cancels it.
struct RunJob {
  std::shared_ptr<Job> job;
};

using Command = std::variant<LoadModel, Unload, SetPrompt, Step, Run, Pause, Stop, Rewind,
                             ForceToken, SetSampler, SetCapture, RequestHeadMap, InspectToken,
                             InspectAttention, InspectCache, SwitchBranch, DropBranch, SetFaults,
                             SetDiagnosis, DiagnoseNow, SetTokens, MakeTrace, RunJob>;

struct SessionOptions {
  std::string backend = "auto";  ///< auto, cpu, cuda
  int threads = 0;               ///< 0 = all
  int context = 0;               ///< 0 = the model's own, at most 4,096
  int gpu = 0;                   ///< which GPU
  bool float32 = false;          ///< GPU: float32 keys, values and products
  /// Bytes of the host's memory for everything captured (HistoryUse); 0: a quarter of what the
  /// machine has.
  std::uint64_t history_budget = 0;
  /// Bytes of GPU memory for rows; 0: what the context needs, at most half of what is free.
  std::uint64_t device_attention_budget = 0;
  capture::Request capture{capture::Tier::kAttention, 0, 1 << 30, 0xFFFFFFFFU};
  SamplerSettings sampler;
  /// Pictures are wanted (`SessionLink::look`): a GPU then keeps what they need.
  bool draw = false;
  bool log_errors = true;  ///< false: whoever reads the snapshot tells them
  /// Called on the worker thread after each publication (the window passes its wake-up).
  std::function<void()> on_change;
};

/// Progress of the long operation in hand; read without locks.
struct Progress {
  std::atomic<int> permille{-1};      ///< −1: nothing in hand
  std::atomic<const char*> what{""};  ///< static text: "loading", "evaluating the prompt"
};

/// How a session is reached, for those who show it.
struct LinkState {
  bool remote = false;
  bool recording = false;  ///< a trace is shown, no model runs
  bool connected = true;
  std::string place;                   ///< "http://127.0.0.1:9999", or the trace's path
  std::string problem;                 ///< why it is not connected, in words
  double bytes_per_s = 0.0;            ///< received over the last second
  std::uint64_t bytes_total = 0;       ///< received since the start
  std::uint64_t bytes_per_s_most = 0;  ///< the bound that the other side keeps; 0: none
  int reconnects = 0;
};

/// Statistics of a weight tensor whose data are elsewhere.
struct TensorReport {
  std::string error;  ///< why there are none
  format::TensorStats stats;
  std::vector<float> first;  ///< first values
  std::string note;          ///< why `file` is missing although there are statistics
  /// Holds this tensor alone, with its bytes; null: they are not here.
  std::shared_ptr<const format::ModelFile> file;
};

/// What the window needs of a session, wherever it runs. Every function may be called from any
/// thread and returns at once.
class SessionLink {
 public:
  SessionLink() = default;
  virtual ~SessionLink() = default;
  SessionLink(const SessionLink&) = delete;
  SessionLink& operator=(const SessionLink&) = delete;

  virtual void send(Command command) = 0;
  /// The latest state; never null.
  [[nodiscard]] virtual std::shared_ptr<const Snapshot> snapshot() const = 0;
  [[nodiscard]] virtual const Progress& progress() const = 0;
  /// True when the queue is empty and the worker waits.
  [[nodiscard]] virtual bool idle() const = 0;
  /// Where pictures go from now on; null: nowhere. The one before is let go of as soon as the
  /// worker has taken notice (its use_count tells).
  virtual void set_draw_sink(const std::shared_ptr<backend::DrawSink>& /*sink*/) {}
  /// Asks for one picture; a newer request replaces one that still waits. Answered between tokens.
  virtual void look(const backend::DrawRequest& /*request*/) {}
  /// At most so many tokens a second while it runs, from now on; 0: as fast as it goes. Any thread.
  /// False: this session's pace is not ours to set.
  virtual bool set_pace(double /*tokens_per_s*/) { return false; }
  [[nodiscard]] virtual LinkState link() const { return {}; }
  /// Asks for a tensor whose data are not in this process; null until the answer is here.
  [[nodiscard]] virtual std::shared_ptr<const TensorReport> tensor(const std::string& /*name*/) {
    return nullptr;
  }
};

class Session final : public SessionLink {
 public:
  explicit Session(SessionOptions options);
  ~Session() override;  ///< Stops the worker; returns within about 100 ms.
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void send(Command command) override;
  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const override;
  [[nodiscard]] const Progress& progress() const override;
  [[nodiscard]] bool idle() const override;
  void set_draw_sink(const std::shared_ptr<backend::DrawSink>& sink) override;
  void look(const backend::DrawRequest& request) override;
  bool set_pace(double tokens_per_s) override;
  /// Blocks until `idle()` (tests and the command line).
  void wait_idle() const;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace layerscope::session
