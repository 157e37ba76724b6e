// The protocol between a window and a worker, version 3.
//
// One TCP connection, made by `GET /session` with `Upgrade: layerscope-session/1` and the worker's
// bearer token; after the answer 101 both sides send records (wire.h), little-endian.
//
// Worker → window, at most 8 MiB each:
//   Hello       version, number of taps, session key, bandwidth bound. First, once.
//   Model       hyper-parameters, metadata (values as text), tensors without data, faults.
//   Vocabulary  consecutive pieces; all of them arrive before the first State.
//   Cut         keep the first n frames.
//   Frame       one evaluated position: statistics, distribution, attention pooled to ≤ 64 cells.
//   Row         the exact attention row of one position of the watched head.
//   Prompt      the prompt and its tokens, whenever the session starts over.
//   Findings    all findings of the run.
//   State       everything else of the snapshot; commits what came before it.
//   Part        a piece of a view: something large that the window asked for (one token's tensors
//   and
//               logit lens, the cache's slots, a weight tensor). Between frames, a piece at a time.
//   Bye         why the worker ends the connection.
// Window → worker, at most 1 MiB each:
//   Resume      session key and the last frame that the window still has. First, once.
//   Command     a numbered command: those of session.h that neither open a file nor run a job. The
//               views that some of them ask for come as parts.
//   Watch       the head whose rows are wanted.
//   WantTensor  a tensor by name.
//   Ping        nothing; the worker's State, at least every 2 s, is the answer.
// The session key names the worker's process: serials mean something only within it.
//
// Either side may be hostile: every count is bounded and checked against what follows, every enum,
// id and place against its range, and the window bounds the memory that it keeps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/format/tensor_stats.h"
#include "engine/server/wire.h"
#include "engine/session/session.h"
#include "engine/session/snapshot.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::server {

inline constexpr const char* kWindowProtocol = "layerscope-session/1";
inline constexpr std::uint32_t kWindowVersion = 3;
inline constexpr std::size_t kMostFromWorker = std::size_t{8} << 20U;
inline constexpr std::size_t kMostFromWindow = std::size_t{1} << 20U;
inline constexpr std::size_t kPartBytes = std::size_t{128} << 10U;
/// A whole view. Of a token's tensors the largest are left out, of a cache or a weight tensor that
/// is larger only figures are sent.
inline constexpr std::size_t kMostView = std::size_t{96} << 20U;
inline constexpr std::size_t kMostViewValues = std::size_t{64} << 20U;

enum class ToWindow : std::uint8_t {
  kHello = 1,
  kModel,
  kVocabulary,
  kCut,
  kFrame,
  kRow,
  kPrompt,
  kFindings,
  kState,
  kPart,
  kBye,
};
enum class ToWorker : std::uint8_t { kResume = 1, kCommand, kWatch, kWantTensor, kPing };

struct Hello {
  std::uint32_t version = kWindowVersion;
  std::uint32_t n_taps = 0;
  std::uint64_t session_key = 0;
  std::uint64_t bytes_per_second = 0;  ///< what the worker sends at most
};
struct Resume {
  std::uint64_t session_key = 0;  ///< 0: nothing is here yet
  std::int32_t n_frames = 0;      ///< frames that the window has
  std::uint64_t last_serial = 0;  ///< of the last of them
  bool has_model = false;         ///< model and vocabulary need not be sent
};
struct Watch {
  std::int32_t layer = -1, head = -1;
};
struct Row {
  std::int32_t layer = 0, head = 0, position = 0;
  std::uint64_t serial = 0;  ///< of its frame
  std::vector<float> values;
};
struct NumberedCommand {
  std::uint64_t number = 0;
  session::Command command;
};
/// What State adds to the snapshot.
struct StateExtra {
  std::uint64_t acknowledged = 0;  ///< number of the last command taken
  bool idle = false;
  std::int32_t permille = -1;
  std::uint8_t what = 0;  ///< index into progress_texts()
};
struct TensorAnswer {
  std::string name;
  std::string error;  ///< why there are no statistics
  format::TensorStats stats;
  std::vector<float> first;
  std::string data;  ///< its bytes as in the file; empty: too large to be sent
};

enum class ViewKind : std::uint8_t { kToken = 1, kCache, kTensor };

/// Cuts an encoded view into parts: kind, whether it is the first one, bytes of the whole, bytes.
class PartWriter {
 public:
  PartWriter(ViewKind kind, std::string bytes) : kind_(kind), bytes_(std::move(bytes)) {}
  [[nodiscard]] bool done() const { return at_ >= bytes_.size(); }
  std::string next();

 private:
  ViewKind kind_;
  std::string bytes_;  ///< never empty
  std::size_t at_ = 0;
};

/// Puts parts together again. One view at a time: a first part drops what was begun.
class PartReader {
 public:
  struct View {
    ViewKind kind = ViewKind::kToken;
    std::string bytes;
  };
  /// False: malformed. `view` is set when one is whole.
  bool take(std::string_view part, std::optional<View>& view);
  void clear() { begun_ = {}; }

 private:
  View begun_;
  std::size_t total_ = 0;
};

/// Static texts of Progress::what; an index beyond them reads as the first, "".
std::span<const char* const> progress_texts();

std::string encode(const Hello& hello);
std::string encode(const Resume& resume);
std::string encode(const Watch& watch);
std::string encode(const Row& row);
std::string encode(const TensorAnswer& answer);
std::string encode(const session::TokenDetail& detail);
std::string encode(const session::CacheView& view);
std::string encode_model(const session::ModelInfo& model);
/// Pieces from `first` on, about `bytes` of them; `first` moves on.
std::string encode_vocabulary(const tokenizer::Tokenizer& tokenizer, std::int32_t& first,
                              std::size_t bytes);
std::string encode_frame(const capture::TokenFrame& frame);
std::string encode_findings(const std::vector<diagnose::Finding>& findings, std::uint64_t serial);
std::string encode_prompt(const session::Snapshot& state);
/// `n_frames`: how many frames the window has by now.
std::string encode_state(const session::Snapshot& state, int n_frames, const StateExtra& extra);
/// Nothing for a command that does not travel.
std::optional<std::string> encode_command(std::uint64_t number, const session::Command& command);

// Decoding. Nothing: the record is malformed.
std::optional<Hello> decode_hello(std::string_view bytes);
std::optional<Resume> decode_resume(std::string_view bytes);
std::optional<Watch> decode_watch(std::string_view bytes);
std::optional<NumberedCommand> decode_command(std::string_view bytes);
std::optional<TensorAnswer> decode_tensor(std::string_view bytes);
/// Checked against the model that they belong to.
std::shared_ptr<session::TokenDetail> decode_detail(std::string_view bytes,
                                                    const session::ModelInfo& model);
std::shared_ptr<session::CacheView> decode_cache(std::string_view bytes,
                                                 const session::ModelInfo& model);
/// Model without its tokenizer; `vocab` gets what the vocabulary's records complete.
std::shared_ptr<session::ModelInfo> decode_model(std::string_view bytes, tokenizer::Vocab& vocab);
/// Appends pieces; false also where they do not continue `vocab` or exceed `most`.
bool decode_vocabulary(std::string_view bytes, std::size_t most, tokenizer::Vocab& vocab);
/// Frames and rows are checked against the model that they belong to.
std::shared_ptr<capture::TokenFrame> decode_frame(std::string_view bytes,
                                                  const session::ModelInfo& model);
std::optional<Row> decode_row(std::string_view bytes, const session::ModelInfo& model);
bool decode_findings(std::string_view bytes, session::Snapshot& into);
bool decode_prompt(std::string_view bytes, session::Snapshot& into);
/// Everything but model, prompt, frames, findings and head map. `into.n_frames` becomes the number
/// of frames that the worker says to have sent.
bool decode_state(std::string_view bytes, session::Snapshot& into, StateExtra& extra);

/// One frame's rows as thumbnails show them; without cells when it holds none.
capture::PooledRows pool_rows(const capture::TokenFrame& frame);

}  // namespace layerscope::server
