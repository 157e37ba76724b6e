// The rows of the detection matrix: every fault, and what it must be recognised as; on which
// backend is the caller's choice.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/diagnose/diagnose_run.h"
#include "tests/support/architectures.h"

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
      {"transpose:blk.0.attn_qkv.weight", "transposed-weight", 0, -1, "blk.0.attn_qkv.weight"},
      {"transpose:blk.1.ffn_up.weight", "transposed-weight", 1, -1, "blk.1.ffn_up.weight"},
      {"qk-norm:off", "qk-norm-missing", 0},
      {"qk-norm:off,1", "qk-norm-missing", 1},
      {"soft-cap:scores", "soft-cap-missing", 0},
      {"soft-cap:scores,1,2", "soft-cap-missing", 1, 2},
      {"soft-cap:logits", "soft-cap-missing"},
      {"window:off", "window-missing", 0},
      {"window:off,0,3", "window-missing", 0, 3},
      {"moe:unnormalised", "expert-weights-unnormalised", 0},
      {"moe:unnormalised,1", "expert-weights-unnormalised", 1},
      {"moe:wrong-experts", "wrong-experts", 0},
      {"moe:wrong-experts,1", "wrong-experts", 1},
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
  std::string name;
  std::string path;
  bool chat;
};

inline std::vector<MatrixModel> matrix_models() {
  std::vector<MatrixModel> list{{"demo", demo_model(), true},
                                {"qwen2", golden("qwen2", "model.gguf"), false},
                                {"llama", golden("llama", "model.gguf"), false},
                                {"llama3", golden("llama3", "model.gguf"), false},
                                {"qwen2-q8_0", golden("qwen2-q8_0", "model.gguf"), false}};
  for (const std::string name : {"gemma2", "gpt2", "llama-moe", "phi3", "qwen3"}) {
    if (std::filesystem::exists(any_golden(name, "model.gguf"))) {
      list.push_back({name, any_golden(name, "model.gguf"), false});
    } else {
      fmt::print("no golden {} here; set LS_SHARED_DIR\n", name);
    }
  }
  for (const std::string& name : tiny_models()) {
    list.push_back({name, tiny(name, "model.gguf"), false});
  }
  return list;
}

/// The tensor of this model that stands for the named one: matrices may share a tensor, experts
/// have their own; empty where the model has none.
inline std::string same_tensor(const model::Model& model, std::string name) {
  if (const std::size_t at = name.find("attn_norm."); at != std::string::npos) {
    name.replace(at, 10, "attn_norm_2.");  // where there are two, Q, K and V read the second
  }
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"", ""},
                                 {"attn_norm_2.", "attn_norm."},
                                 {"attn_q.", "attn_qkv."},
                                 {"ffn_down.", "ffn_down_exps."}}) {
    const std::size_t at = name.find(from);
    if (at != std::string::npos) {
      name.replace(at, from.size(), to);
    }
    if (model.file->find_tensor(name) != nullptr) {
      return name;
    }
  }
  return {};
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
  const std::string tensor = same_tensor(*model, want.tensor);
  if (!tensor.empty() && f.tensor != tensor) {
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
