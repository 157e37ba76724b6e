// The lists: checks, cheap before dear, and faults. Adding one is a line here.
#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/fault.h"
#include "engine/diagnose/faults/faults.h"

namespace layerscope::diagnose {

const std::vector<Check>& checks() {
  static const std::vector<Check> list{
      {"weights", "tensors of the file: NaN, zeros, unread, corrupt norms", check_weights, nullptr,
       nullptr},
      {"tokens", "prompt ids against the tokenizer", nullptr, check_tokens, nullptr},
      {"embedding", "embedding rows against the file", nullptr, check_embedding,
       check_embedding_rows},
      {"non-finite", "first NaN or infinity", nullptr, check_non_finite, nullptr},
      {"norm", "norms recomputed", nullptr, nullptr, check_norms},
      {"projection", "projections recomputed with the stored tensors", nullptr, nullptr,
       check_projections},
      {"rope", "rotation angles of Q and K", nullptr, check_rope_live, check_rope},
      {"row-sum", "sums of attention rows", nullptr, check_row_sums, nullptr},
      {"attention", "scores, mask, soft-max, KV slots and context recomputed", nullptr, nullptr,
       check_attention},
      {"residual", "what each block adds", nullptr, check_residual_live, check_residual},
      {"experts", "routing and the chosen experts recomputed", nullptr, nullptr, check_experts},
      {"activation", "the feed-forward's activation recomputed", nullptr, nullptr,
       check_activation},
      {"head", "logits recomputed", nullptr, nullptr, check_head},
      {"logits", "padding and collapse of the logits", nullptr, check_logits, nullptr},
      {"sampling", "sampled tokens against their distribution", nullptr, check_sampling, nullptr},
      {"sampler", "draws from known logits", nullptr, nullptr, check_sampler},
      {"consistency", "decode against prefill, run against replay", nullptr, nullptr,
       check_consistency},
      {"repetition", "cycles of tokens", nullptr, check_repetition, nullptr},
      {"instrument", "the capture against itself", nullptr, check_instrument,
       check_instrument_rows},
  };
  return list;
}

void run_load_checks(const Subject& subject, Report& report) {
  for (const Check& check : checks()) {
    if (check.load != nullptr) {
      check.load(subject, report);
      report.count(check.name);
    }
  }
}

void run_live_checks(const LiveInput& input, Report& report) {
  for (const Check& check : checks()) {
    if (check.live != nullptr && !input.frames.empty()) {
      check.live(input, report);
      report.count(check.name);
    }
  }
}

void run_deep_checks(const DeepInput& input, Report& report) {
  for (const Check& check : checks()) {
    if (check.deep != nullptr) {
      check.deep(input, report);
      report.count(check.name);
    }
  }
}

const std::vector<Fault>& faults() {
  static const std::vector<Fault> list = [] {
    std::vector<Fault> all;
    for (const auto& group : {weight_faults(), rope_faults(), kv_faults(), attention_faults(),
                              block_faults(), expert_faults(), head_faults(), run_faults()}) {
      all.insert(all.end(), group.begin(), group.end());
    }
    return all;
  }();
  return list;
}

}  // namespace layerscope::diagnose
