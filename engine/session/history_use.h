// What the answers to panels' questions take in memory. Pure functions of a snapshot; any thread.
#pragma once

#include <cstdint>

#include "engine/session/snapshot.h"

namespace layerscope::compare {
struct Trace;
}

namespace layerscope::session {

/// Bytes of the head map, the inspected token, the cache view and attention values.
std::uint64_t requested_bytes(const Snapshot& snapshot);
/// Bytes of a trace's tensors that are held in memory (those of a mapped file are not).
std::uint64_t trace_bytes(const compare::Trace& trace);

}  // namespace layerscope::session
