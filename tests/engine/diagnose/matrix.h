// The rows of the detection matrix: every fault, and what it must be recognised as; on which
// backend is the caller's choice.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "tests/engine/diagnose/diagnose_run.h"

namespace layerscope::testing {

/// What a fault must be recognised as. −1: not bound to one.
struct Expectation {
  const char* fault;
  const char* cause;
  int layer = -1;
  int head = -1;
  const char* tensor = "";  ///< empty: any
};

inline const std::vector<Expectation>& expectations() {
  static const std::vector<Expectation> list{
      {"transpose:blk.0.attn_q.weight", "transposed-weight", 0, -1, "blk.0.attn_q.weight"},
      {"transpose:blk.1.ffn_down.weight", "transposed-weight", 1, -1, "blk.1.ffn_down.weight"},
      {"transpose:blk.1.attn_k.weight", "transposed-weight", 1, -1, "blk.1.attn_k.weight"},
      {"transpose:attn_output.weight", "transposed-weight", 0, -1, "blk.0.attn_output.weight"},
      {"transpose:token_embd.weight", "transposed-weight", -1, -1, "token_embd.weight"},
      {"drop-bias", "bias-dropped", 0, -1, "blk.0.attn_q.bias"},
      {"drop-bias:1", "bias-dropped", 1, -1, "blk.1.attn_q.bias"},
      {"rope:off", "rope-off", 0},
      {"rope:off,1", "rope-off", 1},
      {"rope:off,1,2", "rope-off", 1, 2},
      {"rope:twice", "rope-twice", 0},
      {"rope:twice,1,3", "rope-twice", 1, 3},
      {"rope:pairing", "rope-pairing", 0},
      {"rope:pairing,1", "rope-pairing", 1},
      {"rope:base", "rope-base", 0},
      {"rope:base,1,0", "rope-base", 1, 0},
      {"kv:stuck", "kv-cursor-stuck", 0},
      {"kv:stuck,1", "kv-cursor-stuck", 1},
      {"kv:stale", "kv-stale", 0},
      {"kv:stale,1", "kv-stale", 1},
      {"kv:zero", "kv-zero", 0},
      {"kv:zero,2,1", "kv-zero", 1},
      {"kv:off-by-one", "kv-off-by-one", 0},
      {"kv:off-by-one,1", "kv-off-by-one", 1},
      {"scale:none", "attention-scale", 0},
      {"scale:none,1,3", "attention-scale", 1, 3},
      {"scale:double", "attention-scale", 0},
      {"softmax:unnormalised", "softmax-unnormalised", 0},
      {"softmax:unnormalised,1,1", "softmax-unnormalised", 1, 1},
      {"mask:off", "mask-missing", 0},
      {"mask:off,1,2", "mask-missing", 1, 2},
      {"gqa:modulo", "gqa-modulo", 0},
      {"gqa:modulo,1", "gqa-modulo", 1},
      {"gqa:first", "gqa-first", 0},
      {"gqa:first,1,3", "gqa-first", 1, 3},
      {"qk-norm:off", "qk-norm-missing", 0},
      {"score-f16", "score-float16", 0},
      {"score-f16:1,2", "score-float16", 1, 2},
      {"dtype:f16-as-f32", "dtype-misread", 0},
      {"dtype:bf16-as-f16", "dtype-misread", 0},
      {"dequant:nibble-swap", "nibbles-swapped", 0},
      {"embedding:zero", "embedding-zero", -1, -1, "token_embd.weight"},
      {"embedding:shift", "embedding-wrong-row", -1, -1, "token_embd.weight"},
      {"embedding:unscaled", "embedding-scaled", -1, -1, "token_embd.weight"},
      {"norm:corrupt-output", "norm-weights-corrupt", -1, -1, "output_norm.weight"},
      {"norm:no-offset", "norm-offset", 0},
      {"norm:eps", "norm-epsilon", 0, -1, "blk.0.attn_norm.weight"},
      {"residual:skip", "residual-skipped", 0},
      {"residual:skip,1", "residual-skipped", 1},
      {"head:unwritten-rows", "head-rows-unwritten"},
      {"head:padded", "padding-scanned"},
      {"head:untied", "wrong-head"},
      {"sampling:top-p-before-softmax", "top-p-before-softmax"},
      {"sampling:no-temperature", "temperature-ignored"},
      {"bos:missing", "bos-missing"},
      {"bos:double", "bos-doubled"},
      {"nan:1", "non-finite", 1, -1, "blk.1.ffn_down.weight"},
      {"channel:1,5", "channel-wrong", 1, -1, "blk.1.ffn_down.weight"},
      {"ablate:head,1,2", "head-zero", 1, 2},
      {"ablate:layer,1", "output-zero", 1, -1, "blk.1.attn_output.weight"},
      {"ablate:ffn,1", "output-zero", 1, -1, "blk.1.ffn_down.weight"},
  };
  return list;
}

struct MatrixModel {
  const char* name;
  std::string path;
  bool chat;
};

inline std::vector<MatrixModel> matrix_models() {
  return {{"demo", demo_model(), true},
          {"qwen2", golden("qwen2", "model.gguf"), false},
          {"llama", golden("llama", "model.gguf"), false},
          {"llama3", golden("llama3", "model.gguf"), false},
          {"qwen2-q8_0", golden("qwen2-q8_0", "model.gguf"), false}};
}

/// "ok", "n/a", or what went wrong.
inline std::string verdict(const std::shared_ptr<const model::Model>& model,
                           const MatrixModel& which, const Expectation& want,
                           const std::string& backend) {
  const std::string text = "Count from one to nine. Then stop.";
  RunRequest request;
  request.backend = backend;
  request.prompt = which.chat ? chat_text(*model, text) : text;
  request.faults = {want.fault};
  const RunResult run = diagnosed_run(model, request);
  if (!run.status.ok()) {
    return run.status.error().code == ErrorCode::kUsage ? "n/a" : run.status.error().message;
  }
  if (run.findings.empty()) {
    return "NOT FOUND";
  }
  const diagnose::Finding& f = run.findings.front();
  if (f.cause != want.cause) {
    return "CAUSE " + f.cause;
  }
  if (f.layer != want.layer || f.head != want.head) {
    return fmt::format("PLACE layer {} head {}", f.layer, f.head);
  }
  if (*want.tensor != '\0' && f.tensor != want.tensor) {
    return "TENSOR " + f.tensor;
  }
  if (f.severity != diagnose::Severity::kError) {
    return "SEVERITY";
  }
  for (const diagnose::Finding& other : run.findings) {
    if (&other != &f && other.severity != diagnose::Severity::kInfo) {
      return "ALSO " + other.cause;
    }
  }
  return "ok";
}

}  // namespace layerscope::testing
