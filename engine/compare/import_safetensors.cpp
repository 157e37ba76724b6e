// Importer of safetensors: own traces (trace_meta.h), what layerscope_dump.h writes, and any file
// whose tensors are named by tap or by module.
#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "engine/compare/importers.h"
#include "engine/compare/trace_meta.h"

namespace layerscope::compare {
namespace {

/// "p12" or "l3": the number after the letter, −1 for anything else.
int numbered(std::string_view part, char letter) {
  int value = -1;
  if (part.size() < 2 || part.front() != letter) {
    return -1;
  }
  const auto read = std::from_chars(part.data() + 1, part.data() + part.size(), value);
  return read.ec == std::errc() && read.ptr == part.data() + part.size() ? value : -1;
}

/// Token ids that stand in a tensor instead of the metadata.
bool take_ids(const format::SafetensorsTensor& tensor, Trace& trace) {
  if (tensor.name != "ids" && tensor.name != "input_ids" && tensor.name != "tokens") {
    return false;
  }
  const auto values = format::safetensors_integers(tensor);
  if (!values.ok()) {
    return false;
  }
  for (const std::int64_t id : values.value()) {
    trace.ids.push_back(static_cast<std::int32_t>(id));
  }
  return true;
}

}  // namespace

bool parse_own_name(std::string_view name, int& pass, int& layer, std::string_view& tap) {
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || (pass = numbered(name.substr(0, dot), 'p')) < 0) {
    return false;
  }
  tap = name.substr(dot + 1);
  layer = -1;
  const std::size_t second = tap.find('.');
  if (second != std::string_view::npos) {
    layer = numbered(tap.substr(0, second), 'l');
    if (layer >= 0) {
      tap = tap.substr(second + 1);
    }
  }
  return true;
}

bool accepts_safetensors(const Source& source) {
  return format::looks_like_safetensors(std::as_bytes(std::span(source.head)));
}

Result<Trace> import_safetensors(const Source& source) {
  LS_TRY(MappedFile mapped, MappedFile::open(source.path));
  const auto file = std::make_shared<const MappedFile>(std::move(mapped));
  LS_TRY(const format::Safetensors content,
         format::parse_safetensors(file->bytes(), source.path.string()));
  Trace trace;
  trace.files.push_back(file);
  if (const std::string* meta = content.find_metadata(kTraceMetaKey); meta != nullptr) {
    trace.format = "Layerscope trace";
    if (const Status status = read_trace_meta(*meta, trace); !status.ok()) {
      return trace_error(source.path, status.error().message);
    }
  }
  for (const format::SafetensorsTensor& stored : content.tensors) {
    if (trace.ids.empty() && take_ids(stored, trace)) {
      continue;
    }
    TraceTensor& tensor = trace.tensors.emplace_back();
    tensor.name = stored.name;
    tensor.dtype = stored.dtype;
    tensor.shape.assign(stored.shape.begin(), stored.shape.end());
    if (const auto n = count_elements(tensor.shape); !n.ok()) {
      return trace_error(source.path,
                         fmt::format("tensor '{}': {}", stored.name, n.error().message));
    }
    tensor.stored = stored;
    int pass = 0;
    int layer = -1;
    std::string_view tap;
    if (!parse_own_name(tensor.name, pass, layer, tap)) {
      continue;
    }
    tensor.pass = pass;
    if (!trace.passes.empty() && static_cast<std::size_t>(pass) >= trace.passes.size()) {
      return trace_error(source.path,
                         fmt::format("tensor '{}' belongs to pass {}, but the metadata "
                                     "list {} passes",
                                     tensor.name, pass, trace.passes.size()));
    }
  }
  if (trace.tensors.empty()) {
    return trace_error(source.path, "holds no tensors, so there is nothing to compare");
  }
  return trace;
}

}  // namespace layerscope::compare
