// Snapshot: the immutable state of a session that the window draws from.
//
// Built by the worker thread, shared as shared_ptr<const Snapshot>. Frames live in immutable
// chunks; a snapshot copies pointers, not data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/draw.h"
#include "engine/base/result.h"
#include "engine/capture/cache_stats.h"
#include "engine/capture/frame.h"
#include "engine/diagnose/finding.h"
#include "engine/format/model_file.h"
#include "engine/session/sampler.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::compare {
struct Trace;
}

namespace layerscope::session {

enum class State : std::uint8_t {
  kEmpty,       ///< no model
  kLoading,     ///< a model is being loaded (an earlier one may still be shown)
  kIdle,        ///< ready: prompt set or generation paused
  kEvaluating,  ///< the prompt is being evaluated
  kRunning,     ///< generating
};

enum class StopReason : std::uint8_t { kNone, kMaxTokens, kEos, kStop, kCancelled, kContextFull };
/// "max_tokens", "eos", "stop", "cancelled", "context_full", "".
const char* stop_reason_name(StopReason reason);

/// A fault as the Faults tab lists it for the loaded model.
struct FaultInfo {
  std::string name;     ///< "rope:off": what SetFaults takes, arguments follow
  std::string usage;    ///< "rope:off[,LAYER[,HEAD]]"
  std::string title;    ///< "RoPE not applied"
  std::string story;    ///< what the bug is in practice
  std::string example;  ///< with arguments that this model accepts
  std::string reason;   ///< why this model cannot have it; empty when it can
};

/// What a loaded model is; everything that the window and the command line show about it.
struct ModelInfo {
  std::string path;
  std::string name;          ///< general.name, else the file's name
  std::string architecture;  ///< "qwen2"
  std::string quantization;  ///< "F16", "Q8_0", "Q8_0 + F32"
  std::uint64_t n_params = 0;
  std::uint64_t weight_bytes = 0;
  int n_layers = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, hidden = 0, ffn = 0;
  int vocab_rows = 0;     ///< rows of the head; those ≥ n_tokens or unused are padding
  int n_tokens = 0;       ///< tokens of the list
  int n_padded = 0;       ///< rows that no text can produce
  int train_context = 0;  ///< the model's own context length
  std::shared_ptr<const format::ModelFile> file;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  std::vector<FaultInfo> faults;  ///< every known fault, in the catalogue's order
};

inline constexpr std::size_t kChunkFrames = 64;

/// kChunkFrames consecutive frames (the last chunk may be shorter).
struct FrameChunk {
  std::vector<std::shared_ptr<const capture::TokenFrame>> frames;
};

/// Memory of what was captured, and what had to go to stay within the budget. In this order:
/// attention rows of the oldest steps, then their statistics and candidates; token, choice and the
/// likeliest candidate always stay. Branches give way before the present line does.
struct HistoryUse {
  std::uint64_t budget = 0;             ///< bytes of the host's memory for all of it; 0: not known
  std::uint64_t line = 0;               ///< frames of the present line
  std::uint64_t branches = 0;           ///< frames that only branches hold
  std::uint64_t requested = 0;          ///< what panels asked for: tensors, maps, a recorded trace
  std::uint64_t device_rows = 0;        ///< attention rows in the GPU's memory (beside the budget)
  std::uint64_t device_capacity = 0;    ///< room for them; 0: rows are on the host
  std::int32_t without_rows = 0;        ///< frames of the line whose attention rows were dropped
  std::int32_t without_statistics = 0;  ///< of them, those whose statistics were dropped too
  [[nodiscard]] std::uint64_t host() const { return line + branches + requested; }
};

struct Timing {
  double load_s = 0.0;
  double prefill_tok_s = 0.0;  ///< of the last prompt; 0 before
  double decode_tok_s = 0.0;   ///< over the last run
  double ms_per_token = 0.0;   ///< of the last tokens, smoothed
};

/// A whole attention map of one head, recomputed from the Q and K caches on request.
struct HeadMap {
  int layer = 0, head = 0;
  std::uint64_t last_serial = 0;  ///< serial of the last frame that it covers
  int n_tokens = 0;
  std::vector<float> probabilities;  ///< [n_tokens][n_tokens], zero above the diagonal
};

/// Exact probabilities of a part of one head's map on request.
struct AttentionValues {
  int layer = 0, head = 0;
  int first_query = 0, n_queries = 0, first_key = 0, n_keys = 0;
  std::uint64_t last_serial = 0;  ///< of its last query's frame
  std::vector<float> values;      ///< [n_queries][n_keys]; NaN as computed, 0 after the query
  std::string error;              ///< why there is nothing; empty when there is
};

/// One row of the logit lens: final norm and head applied to the residual after a layer.
struct LensRow {
  int layer = -1;                      ///< −1: the embedding
  std::vector<capture::TopToken> top;  ///< most likely first
  float entropy = 0.0F;                ///< bits
  float final_prob = 0.0F;             ///< of the token that the last layer puts first
  int final_rank = -1;                 ///< its place here, 0 = first; −1 unknown
};

/// One token evaluated again on request, with every tensor of it.
struct TokenDetail {
  int position = -1;
  std::int32_t id = -1;
  std::uint64_t serial = 0;   ///< of its frame
  capture::PassCapture pass;  ///< tier full: one token, all layers and taps
  std::vector<LensRow> lens;  ///< embedding, then one per layer; empty when not asked for
  double eval_ms = 0.0;       ///< what the evaluation cost
  double lens_ms = 0.0;       ///< what the product with the head cost, all layers in one
  std::string lens_error;     ///< why there is no lens although one was asked for
  std::string error;          ///< why there is nothing; empty when there is
};

/// The key and value cache on request.
struct CacheView {
  capture::CacheStats stats;
  int layer = 0, kv_head = 0, slot = 0;
  std::vector<float> key, value;  ///< of that slot; empty when there is none
  std::uint64_t last_serial = 0;  ///< of the newest frame then
  double ms = 0.0;
  std::string error;  ///< why there is nothing; empty when there is
};

/// A line of tokens that was left by a rewind or by taking another token; kept whole.
struct BranchInfo {
  int id = 0;                      ///< for SwitchBranch
  int n_tokens = 0;                ///< its length
  int fork = 0;                    ///< tokens that it shares with its parent
  int parent = -1;                 ///< another branch's id; −1: the present line
  std::vector<std::int32_t> tail;  ///< its first tokens after the fork, at most 16
};

/// A trace that is shown instead of a running model, and what it does not hold.
struct RecordingInfo {
  std::string path;
  std::string format;              ///< "Layerscope trace", "llama.cpp eval-callback text", …
  std::string capture;             ///< of own traces: "attention"
  int n_positions = 0;             ///< recorded in all
  std::string attention;           ///< why there are no attention rows; empty: there are
  std::string heads;               ///< likewise statistics of heads,
  std::string norms;               ///< statistics of taps,
  std::string logits;              ///< distributions,
  std::string tensors;             ///< whole tensors,
  std::string texts;               ///< texts of tokens
  std::vector<std::string> notes;  ///< what a reader should know
};

struct Snapshot {
  std::uint64_t version = 0;  ///< Raised with every publication.
  State state = State::kEmpty;
  StopReason stop_reason = StopReason::kNone;
  ErrorCode error_code = ErrorCode::kInternal;  ///< of `error`, where that is not empty
  std::shared_ptr<const ModelInfo> model;
  std::string loading_path;    ///< while kLoading
  std::string backend;         ///< "cpu"
  std::string backend_text;    ///< "CPU · 2 threads"
  std::string backend_reason;  ///< why this backend
  double unit_roundoff = 0.0;  ///< of its activations (2⁻²⁴: float32); 0: unknown
  int context = 0;             ///< slots of the KV cache
  int sinks_lost = 0;  ///< raised when the device failed: what it shared must be shared anew
  std::uint64_t device_bytes = 0;  ///< weights and caches
  HistoryUse history;

  std::string prompt;    ///< as typed
  bool chat = false;     ///< the prompt went through the chat template
  bool draws = false;    ///< the backend makes pictures itself, thumbnails included
  std::string fed_text;  ///< the exact text that was tokenised
  std::vector<std::int32_t> prompt_ids;
  int n_generated = 0;               ///< tokens after the prompt
  std::uint64_t session_serial = 0;  ///< raised by every new prompt and model
  std::vector<std::shared_ptr<const FrameChunk>> chunks;
  int n_frames = 0;  ///< evaluated positions

  SamplerSettings sampler;
  capture::Request capture;
  Timing timing;
  std::shared_ptr<const HeadMap> head_map;
  std::shared_ptr<const TokenDetail> token_detail;
  std::shared_ptr<const CacheView> cache_view;
  std::array<std::shared_ptr<const AttentionValues>, 2> attention_values;  ///< by use

  std::string draw_error;                 ///< why there are none at present; empty when there are
  std::uint64_t drawn_bytes_to_host = 0;  ///< copied to the host only to be drawn
  backend::DrawCost draw_cost;            ///< time of the pictures on the GPU
  std::uint64_t pictures = 0;             ///< published

  std::shared_ptr<const RecordingInfo> recording;  ///< null: a model runs
  /// The present tokens with whole tensors: of a recording always, of a model after MakeTrace.
  std::shared_ptr<const compare::Trace> trace;

  std::vector<BranchInfo> branches;  ///< oldest first
  int undo_branch = -1;              ///< what the last rewind left, −1: nothing to undo

  std::vector<std::string> faults;  ///< injected on purpose, as given; empty: none
  /// What the checks found, most severe first, symptoms grouped under their roots. Cleared by a new
  /// prompt, model or set of faults (findings about the file itself stay).
  std::vector<diagnose::Finding> findings;
  std::uint64_t findings_serial = 0;  ///< raised whenever `findings` changes
  int checks_run = 0;                 ///< different checks that have looked so far
  bool diagnosed = false;             ///< The expensive oracles have run on the present tokens.

  std::uint64_t error_serial = 0;  ///< raised with every new error
  std::string error;               ///< last error in words, empty when none

  /// Frame at `position`, null when not evaluated.
  [[nodiscard]] const capture::TokenFrame* frame(int position) const {
    if (position < 0 || position >= n_frames) {
      return nullptr;
    }
    const auto p = static_cast<std::size_t>(position);
    return chunks[p / kChunkFrames]->frames[p % kChunkFrames].get();
  }
  [[nodiscard]] int n_prompt() const { return static_cast<int>(prompt_ids.size()); }
};

}  // namespace layerscope::session
