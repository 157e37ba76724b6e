#include "engine/session/history_use.h"

#include "engine/compare/trace.h"

namespace layerscope::session {
namespace {

template <class T>
std::uint64_t bytes_of(const std::vector<T>& values) {
  return values.capacity() * sizeof(T);
}

std::uint64_t bytes_of_pass(const capture::PassCapture& pass) {
  std::uint64_t bytes = bytes_of(pass.taps) + bytes_of(pass.heads);
  for (const std::vector<float>& rows : pass.attention) {
    bytes += bytes_of(rows);
  }
  for (const auto& kept : pass.kept) {
    bytes += kept != nullptr ? kept->host_bytes() : 0;
  }
  for (const capture::FullTensor& tensor : pass.tensors) {
    bytes += sizeof tensor + bytes_of(tensor.values);
  }
  return bytes;
}

}  // namespace

std::uint64_t requested_bytes(const Snapshot& snapshot) {
  std::uint64_t bytes = 0;
  if (snapshot.head_map != nullptr) {
    bytes += bytes_of(snapshot.head_map->probabilities);
  }
  if (snapshot.token_detail != nullptr) {
    bytes += bytes_of_pass(snapshot.token_detail->pass);
    for (const LensRow& row : snapshot.token_detail->lens) {
      bytes += sizeof row + bytes_of(row.top);
    }
  }
  if (snapshot.cache_view != nullptr) {
    const CacheView& view = *snapshot.cache_view;
    bytes += bytes_of(view.stats.slots) + bytes_of(view.key) + bytes_of(view.value);
  }
  for (const auto& values : snapshot.attention_values) {
    bytes += values != nullptr ? bytes_of(values->values) : 0;
  }
  return bytes;
}

std::uint64_t trace_bytes(const compare::Trace& trace) {
  std::uint64_t bytes = 0;
  for (const compare::TraceTensor& tensor : trace.tensors) {
    bytes += sizeof tensor + bytes_of(tensor.values) + bytes_of(tensor.known);
  }
  return bytes;
}

}  // namespace layerscope::session
