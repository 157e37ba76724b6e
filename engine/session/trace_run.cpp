#include "engine/session/trace_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/sha256.h"

namespace layerscope::session {
namespace {

/// Everything that the file says about the model, in one text: values, names, types and shapes.
std::string metadata_text(const format::ModelFile& file) {
  std::string text;
  for (const format::MetaEntry& entry : file.metadata) {
    text += fmt::format("{}\x1f{}\x1f", entry.key, entry.type);
    std::visit(
        [&text](const auto& value) {
          using Value = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::string>) {
            text += value;
          } else if constexpr (std::is_arithmetic_v<Value>) {
            text += fmt::format("{}", value);
          } else {
            for (const auto& item : value) {
              text += fmt::format("{}\x1f", item);
            }
          }
        },
        entry.value);
    text += '\n';
  }
  for (const format::TensorInfo& tensor : file.tensors) {
    text += fmt::format("{}\x1f{}\x1f{}\n", tensor.name, dtype_info(tensor.dtype).name,
                        format::shape_text(tensor.shape));
  }
  return text;
}

std::string tensor_name(int pass, const capture::FullTensor& tensor) {
  const auto tap = capture::tap_name(tensor.tap);
  return tensor.layer < 0 ? fmt::format("p{}.{}", pass, tap)
                          : fmt::format("p{}.l{}.{}", pass, tensor.layer, tap);
}

}  // namespace

std::string metadata_sha256(const format::ModelFile& file) {
  return sha256_hex(metadata_text(file));
}

compare::TraceModel trace_model(const model::Model& model) {
  const model::DecoderSpec& spec = model.spec;
  compare::TraceModel m;
  m.name = model.name();
  m.architecture = spec.architecture;
  m.metadata_sha256 = metadata_sha256(*model.file);
  m.quantization = model.quantization();
  m.n_layers = spec.n_layers;
  m.n_heads = spec.n_heads;
  m.n_kv_heads = spec.n_kv_heads;
  m.head_dim = spec.head_dim;
  m.hidden = spec.hidden;
  m.ffn = spec.ffn;
  m.attention_scale = static_cast<double>(spec.attention_scale);
  return m;
}

std::vector<compare::TracePass> usable_passes(const compare::Trace& trace, std::size_t n_ids) {
  int at = 0;
  for (const compare::TracePass& pass : trace.passes) {
    if (pass.first_position != at) {
      return {{0, static_cast<int>(n_ids)}};
    }
    at += pass.n_tokens;
  }
  if (at != static_cast<int>(n_ids)) {
    return {{0, static_cast<int>(n_ids)}};
  }
  return trace.passes;
}

Result<std::vector<diagnose::Pass>> run_passes(backend::Backend& backend,
                                               const TraceRequest& request) {
  std::vector<compare::TracePass> passes = request.passes;
  if (passes.empty()) {
    passes.push_back({0, static_cast<int>(request.ids.size())});
  }
  LS_CHECK(backend.set_interventions(request.faults));
  backend.truncate(0);
  std::vector<diagnose::Pass> result;
  for (const compare::TracePass& pass : passes) {
    backend::ForwardRequest forward;
    forward.ids = std::span(request.ids)
                      .subspan(static_cast<std::size_t>(pass.first_position),
                               static_cast<std::size_t>(pass.n_tokens));
    forward.position = pass.first_position;
    forward.capture = request.capture;
    forward.stop = request.stop;
    std::vector<backend::Splice> splices;
    if (request.splices) {
      splices = request.splices(pass);
      forward.splices = splices;
    }
    diagnose::Pass& out = result.emplace_back();
    LS_CHECK(backend.forward(forward, out.logits, out.captured));
  }
  return result;
}

Result<compare::Trace> run_trace(const model::Model& model, backend::Backend& backend,
                                 const TraceRequest& request) {
  LS_TRY(std::vector<diagnose::Pass> passes, run_passes(backend, request));
  compare::Trace trace;
  trace.path = "our own run";
  trace.format = "run";
  trace.model = trace_model(model);
  trace.ids = request.ids;
  trace.backend = backend.name();
  trace.capture = "full";
  // A prefill on a GPU may round the inputs of its products: the coarser of the two counts.
  trace.unit_roundoff = backend.rounding().coarsest();
  for (std::size_t p = 0; p < passes.size(); ++p) {
    capture::PassCapture& captured = passes[p].captured;
    trace.passes.push_back({captured.first_position, captured.n_tokens});
    for (capture::FullTensor& tensor : captured.tensors) {
      compare::TraceTensor& out = trace.tensors.emplace_back();
      out.name = tensor_name(static_cast<int>(p), tensor);
      out.pass = static_cast<int>(p);
      out.shape = tensor.shape;
      out.values = std::move(tensor.values);
    }
  }
  return trace;
}

}  // namespace layerscope::session
