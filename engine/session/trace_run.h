// Runs a model on the tokens of a trace, and gives what it captured as a trace.
//
// Used by the command line and by the worker; owned by the calling thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/compare/trace.h"
#include "engine/diagnose/captures.h"
#include "engine/model/interventions.h"
#include "engine/model/model.h"

namespace layerscope::session {

struct TraceRequest {
  std::vector<std::int32_t> ids;
  std::vector<compare::TracePass> passes;  ///< contiguous from 0; empty: one pass
  model::Interventions faults;
  /// Splices for the pass that starts at a position; may be empty.
  std::function<std::vector<backend::Splice>(const compare::TracePass&)> splices;
  capture::Request capture{capture::Tier::kFull, 0, 1 << 30, 0xFFFFFFFFU};
  std::stop_token stop;
};

/// Identifies a model file by what it says about itself: metadata, tensor names, types and shapes.
std::string metadata_sha256(const format::ModelFile& file);

/// What a model is, for a trace's metadata.
compare::TraceModel trace_model(const model::Model& model);

/// Evaluates the tokens from nothing, pass by pass. Errors: as Backend::forward, faults that the
/// backend does not have.
Result<std::vector<diagnose::Pass>> run_passes(backend::Backend& backend,
                                               const TraceRequest& request);

/// The same as a trace that holds its values.
Result<compare::Trace> run_trace(const model::Model& model, backend::Backend& backend,
                                 const TraceRequest& request);

/// The trace's own passes where they cover its tokens without gaps, else one pass over all ids.
std::vector<compare::TracePass> usable_passes(const compare::Trace& trace, std::size_t n_ids);

}  // namespace layerscope::session
