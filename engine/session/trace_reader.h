// TraceReader: a trace as what panels show: the model's shape, a frame per position, and tensors on
// request. Whatever format the trace came in, it shows what that holds.
//
// Immutable after construction; every function may be called from any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/compare/reading.h"
#include "engine/compare/trace.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

struct TraceReaderOptions {
  /// Serials of the frames begin behind it: two sessions side by side must not share any.
  std::uint64_t serial_base = 0;
  /// Shows tokens where the trace has no texts and this vocabulary has room for its ids.
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
};

struct FrameOptions {
  std::uint64_t budget = std::uint64_t{1} << 30U;  ///< bytes; the newest frames keep their detail
  std::stop_token stop;
  std::function<void(double)> progress;  ///< 0 … 1
};

class TraceReader {
 public:
  TraceReader(std::shared_ptr<const compare::Trace> trace, const TraceReaderOptions& options);

  [[nodiscard]] const compare::Trace& trace() const { return *trace_; }
  [[nodiscard]] const std::shared_ptr<const compare::Trace>& shared_trace() const { return trace_; }
  [[nodiscard]] const std::shared_ptr<const ModelInfo>& model() const { return model_; }
  [[nodiscard]] const RecordingInfo& info() const { return info_; }
  [[nodiscard]] int n_positions() const { return n_positions_; }

  struct Frames {
    std::vector<std::shared_ptr<const capture::TokenFrame>> frames;  ///< [n_positions]
    std::vector<std::string> problems;  ///< tensors that could not be read, in words
  };
  /// One frame per position. Errors: kCancelled.
  [[nodiscard]] Result<Frames> frames(const FrameOptions& options) const;

  /// The whole tensors of one position; `error` says why there are none.
  [[nodiscard]] TokenDetail detail(int position, std::uint64_t serial) const;
  /// One head's map over the first `n` positions; null when the trace does not hold it.
  [[nodiscard]] std::shared_ptr<const HeadMap> head_map(int layer, int head, int n) const;

 private:
  struct Making;
  void find_shape();
  void describe();
  void take_tap(const compare::TapTensor& tap, Making& making) const;
  void take_rows(const compare::TapTensor& tap, const compare::TapValues& v, Making& making) const;
  void take_weights(const compare::TapTensor& tap, const compare::TapValues& v,
                    Making& making) const;
  void take_logits(const compare::TapValues& v, Making& making) const;
  void finish_pass(int pass, Making& making) const;
  [[nodiscard]] int first_kept(std::uint64_t budget, std::uint64_t& bytes) const;

  std::shared_ptr<const compare::Trace> trace_;
  compare::Reading reading_;
  std::vector<std::vector<std::size_t>> by_pass_;  ///< indices in reading_.taps
  std::shared_ptr<const ModelInfo> model_;
  RecordingInfo info_;
  std::uint64_t serial_base_ = 0;
  int n_positions_ = 0, n_layers_ = 0, n_heads_ = 0, vocab_rows_ = 0;
};

}  // namespace layerscope::session
