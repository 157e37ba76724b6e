// The texts of the tokens that a trace speaks of: into its metadata, and back into a tokenizer that
// shows them.
#pragma once

#include <memory>

#include "engine/compare/trace.h"
#include "engine/session/trace_records.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::session {

/// Pieces of the frames' tokens and of the likeliest tokens after them; rows that text cannot
/// produce.
compare::TraceVocabulary trace_vocabulary(const tokenizer::Tokenizer& tokenizer, int rows,
                                          FrameSpan frames);

/// Shows the trace's tokens; others appear as "[17]". It cannot encode. Null where the trace has
/// no texts.
std::shared_ptr<const tokenizer::Tokenizer> trace_tokenizer(
    const compare::TraceVocabulary& vocabulary);

/// Whether text can produce a row, by row.
std::vector<bool> usable_rows(const compare::TraceVocabulary& vocabulary, int rows);

}  // namespace layerscope::session
