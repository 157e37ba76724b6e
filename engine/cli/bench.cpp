// bench: prefill and decode speed, medians over repeats, as text or JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>

#include "engine/base/log.h"
#include "engine/cli/commands.h"
#include "engine/cli/options.h"

namespace layerscope::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  CommonOptions common;
  std::string model, capture = "attention";
  int prompt_tokens = 128, tokens = 64, depth = 0, repeat = 5;
  bool json = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Ids spread over the vocabulary: speed must not depend on one cached embedding row.
std::vector<std::int32_t> some_ids(int n, int n_tokens) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(n_tokens));
  }
  return ids;
}

capture::Request request_of(const std::string& tier) {
  capture::Request request;
  request.tier = tier == "off"         ? capture::Tier::kOff
                 : tier == "summary"   ? capture::Tier::kSummary
                 : tier == "attention" ? capture::Tier::kAttention
                                       : capture::Tier::kFull;
  return request;
}

Status bench(const BenchOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  const auto load_start = Clock::now();
  LS_TRY(const auto model, load_with_progress(options.model, options.common));
  CommonOptions common = options.common;
  common.row_memory = 0;  // rows are kept as a window keeps them
  LS_TRY(session::Generator generator, make_generator(model, common));
  const double load_s = seconds_since(load_start);
  generator.capture = request_of(options.capture);
  if (generator.backend().row_capacity() == 0) {
    generator.attention_budget = 0;  // on the host nobody looks back at them here
  }
  const int n_tokens = model->tokenizer->n_tokens();
  const std::vector<std::int32_t> prompt = some_ids(options.prompt_tokens, n_tokens);
  const std::vector<std::int32_t> before = some_ids(std::max(1, options.depth), n_tokens);
  std::vector<double> prefill, decode;
  for (int r = 0; r <= options.repeat; ++r) {  // the first round warms up
    generator.reset();
    auto start = Clock::now();
    if (!prompt.empty()) {
      LS_CHECK(generator.evaluate(prompt, false, {}));
    }
    const double prefill_s = seconds_since(start);
    generator.reset();
    LS_CHECK(generator.evaluate(before, false, {}));
    start = Clock::now();
    for (int i = 0; i < options.tokens; ++i) {
      generator.ahead = options.tokens - i - 1;
      LS_TRY(const std::int32_t id, generator.choose());
      LS_CHECK(generator.append(id, capture::Origin::kSampled, {}));
    }
    const double decode_s = seconds_since(start);
    if (r > 0) {
      prefill.push_back(options.prompt_tokens / std::max(1e-9, prefill_s));
      decode.push_back(options.tokens / std::max(1e-9, decode_s));
    }
  }
  std::size_t rows_kept = 0;
  for (const auto& frame : generator.frames()) {
    rows_kept += frame->attention != nullptr && frame->attention->has_rows() ? 1U : 0U;
  }
  const double rate = median(decode);
  // A decode step reads every weight once, but only one row of an embedding that is not the head,
  // and only the chosen experts.
  std::uint64_t bytes = model->weight_bytes();
  if (!model->weights.tied_head) {
    bytes -= dtype_bytes(model->weights.embedding.dtype,
                         model->weights.embedding.rows * model->weights.embedding.cols);
  }
  const model::DecoderSpec& spec = model->spec;
  for (const model::LayerWeights& layer : model->weights.layers) {
    std::uint64_t experts = 0;
    for (const model::ExpertWeights& expert : layer.experts) {
      for (const kernels::Matrix* m : {&expert.gate, &expert.up, &expert.down}) {
        experts += dtype_bytes(m->dtype, m->rows * m->cols);
      }
    }
    const auto unused = static_cast<std::uint64_t>(spec.n_experts - spec.n_experts_used);
    bytes -= experts == 0 ? 0 : experts / static_cast<std::uint64_t>(spec.n_experts) * unused;
  }
  const double gb_s = rate * static_cast<double>(bytes) / 1e9;
  if (options.json) {
    print_json_line({{"model", options.model},
                     {"backend", generator.backend().name()},
                     {"device", generator.backend().description()},
                     {"capture", options.capture},
                     {"rows_kept", rows_kept},
                     {"load_s", load_s},
                     {"prefill", {{"tokens", options.prompt_tokens}, {"tok_s", median(prefill)}}},
                     {"decode",
                      {{"depth", options.depth},
                       {"tokens", options.tokens},
                       {"tok_s", rate},
                       {"ms_per_token", 1000.0 / rate},
                       {"gb_s", gb_s}}},
                     {"device_bytes", model->weight_bytes() + generator.backend().cache_bytes()}});
    return {};
  }
  fmt::print(
      "{}, capture {}: prefill {} tokens at {:.1f} tok/s; decode at depth {}: {:.1f} tok/s "
      "({:.3f} ms, {:.2f} GB/s); median of {}\n",
      generator.backend().description(), options.capture, options.prompt_tokens, median(prefill),
      options.depth, rate, 1000.0 / rate, gb_s, options.repeat);
  return {};
}

}  // namespace

Runner add_bench(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "prefill and decode speed");
  command->add_option("MODEL", options->model, "model file")->required();
  command
      ->add_option("--prompt-tokens", options->prompt_tokens, "tokens of the prefill measurement")
      ->check(CLI::Range(1, 16777216))
      ->capture_default_str();
  command->add_option("--tokens", options->tokens, "tokens to decode")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--depth", options->depth, "tokens in the cache before decoding")
      ->check(CLI::Range(0, 16777216))
      ->capture_default_str();
  command->add_option("--capture", options->capture, "off, summary, attention or full")
      ->check(CLI::IsMember({"off", "summary", "attention", "full"}))
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "measured rounds (median)")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object");
  add_common_options(*command, options->common);
  return [options] { return bench(*options); };
}

}  // namespace layerscope::cli
