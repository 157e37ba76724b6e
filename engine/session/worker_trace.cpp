// Session::Worker: the present tokens as a trace with whole tensors, and a trace's tokens as
// prompt.
#include <fmt/format.h>

#include <algorithm>

#include "engine/compare/trace.h"
#include "engine/session/trace_run.h"
#include "engine/session/trace_vocabulary.h"
#include "engine/session/worker.h"

namespace layerscope::session {
namespace {

constexpr std::size_t kBatch = 512;  ///< prompt tokens of one pass
constexpr double kMostBytes = 4.0 * (1U << 30U);

/// What a full capture of `n` tokens takes, whole attention maps included.
double estimated_bytes(const model::DecoderSpec& spec, std::size_t n_tokens) {
  const auto n = static_cast<double>(n_tokens);
  const double taps =
      8.0 * spec.hidden + 3.0 * spec.q_width() + 2.0 * spec.kv_width() + 3.0 * spec.ffn_width();
  return 4.0 * spec.n_layers * (n * taps + 2.0 * spec.n_heads * n * n);
}

}  // namespace

void Session::Worker::handle(const MakeTrace& /*command*/) {
  state_.error.clear();
  if (report(prepare())) {
    set_state(State::kEvaluating);
    report(make_trace());
  }
}

Status Session::Worker::make_trace() {
  const std::vector<std::int32_t>& ids = generator_->ids();
  const model::Model& model = generator_->model();
  if (const double bytes = estimated_bytes(model.spec, ids.size()); bytes > kMostBytes) {
    return usage_error(fmt::format(
        "the whole tensors of {} tokens take {:.1f} GB, more than the {:.1f} GB that are kept; "
        "rewind to fewer tokens, or write a trace of some layers with layerscope-cli generate "
        "--trace --layers",
        ids.size(), bytes / 1e9, kMostBytes / 1e9));
  }
  LS_CHECK(fits_history("every tensor", estimated_bytes(model.spec, ids.size())));
  progress_.what = "recording every tensor";
  // LongRoPE chooses its divisors by the run's context: the replay must choose the same.
  const bool same = model.spec.long_rope(state_.context);
  LS_TRY(auto shadow,
         generator_->backend().fork(same ? state_.context : static_cast<int>(ids.size()) + 1));
  TraceRequest request;
  request.ids = ids;
  request.faults = generator_->interventions();
  request.stop = stop_;
  const auto n_prompt = std::min(static_cast<std::size_t>(state_.n_prompt()), ids.size());
  for (std::size_t begin = 0; begin < ids.size();) {
    const std::size_t n = begin < n_prompt ? std::min(kBatch, n_prompt - begin) : 1;
    request.passes.push_back({static_cast<int>(begin), static_cast<int>(n)});
    begin += n;
  }
  LS_TRY(compare::Trace trace, run_trace(model, *shadow, request));
  trace.path = "this session";
  trace.n_prompt = n_prompt;
  trace.faults = state_.faults;
  trace.prompt = state_.prompt;
  trace.vocabulary =
      trace_vocabulary(*model.tokenizer, model.spec.vocab_rows, generator_->frames());
  state_.trace = std::make_shared<const compare::Trace>(std::move(trace));
  return {};
}

void Session::Worker::handle(const SetTokens& command) {
  state_.error.clear();
  report(set_tokens(command.ids));
}

Status Session::Worker::set_tokens(const std::vector<std::int32_t>& ids) {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded, so the tokens have nowhere to go; open one first");
  }
  if (ids.empty() || ids.size() > static_cast<std::size_t>(state_.context)) {
    return invalid_input(
        fmt::format("{} tokens cannot be fed: the context holds {}", ids.size(), state_.context));
  }
  const std::int32_t rows = state_.model->vocab_rows;
  const auto bad = std::find_if(ids.begin(), ids.end(),
                                [rows](std::int32_t id) { return id < 0 || id >= rows; });
  if (bad != ids.end()) {
    return invalid_input(fmt::format(
        "token id {} is not in this model's vocabulary of {} rows: is it the same model?", *bad,
        rows));
  }
  state_.prompt = state_.model->tokenizer->decode(ids, true);
  state_.chat = false;
  state_.fed_text.clear();  // ids as they are: a text might give others
  state_.prompt_ids = ids;
  restart();
  return {};
}

}  // namespace layerscope::session
