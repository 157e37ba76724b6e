// TraceRecorder: writes what a generator captures to a trace file while it runs.
//
// Owned by the generator's thread; the file is written by a thread of its own (trace_writer.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/compare/trace_meta.h"
#include "engine/compare/trace_writer.h"
#include "engine/session/generator.h"
#include "engine/session/trace_records.h"

namespace layerscope::session {

class TraceRecorder {
 public:
  /// Takes the generator's `on_pass`; the generator must outlive it. `n_passes` and the model
  /// decide how much room the header gets. Errors: the file cannot be written.
  static Result<std::unique_ptr<TraceRecorder>> start(Generator& generator, const std::string& path,
                                                      int n_passes);
  ~TraceRecorder();
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;

  /// Writes the header and gives the file its name. `faults` as given by the user.
  Status finish(std::size_t n_prompt, const std::vector<std::string>& faults);

 private:
  TraceRecorder(Generator& generator, std::unique_ptr<compare::TraceWriter> writer);
  void pass(const capture::PassCapture& captured, std::span<const float> logits);
  void add_records(int number, const std::vector<RecordTensor>& records);
  void attention(int number, const capture::PassCapture& captured);

  Generator& generator_;
  std::unique_ptr<compare::TraceWriter> writer_;
  std::vector<compare::TracePass> passes_;
};

}  // namespace layerscope::session
