// generate: streams text, or one JSON object per token.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>

#include "engine/base/log.h"
#include "engine/cli/commands.h"
#include "engine/cli/findings.h"
#include "engine/cli/options.h"
#include "engine/cli/text_log.h"
#include "engine/diagnose/fault.h"
#include "engine/diagnose/finding_json.h"
#include "engine/session/diagnosis.h"
#include "engine/session/generator.h"
#include "engine/session/run_faults.h"
#include "engine/session/snapshot.h"
#include "engine/session/stop_strings.h"
#include "engine/session/trace_recorder.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::cli {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;
using session::StopReason;

/// Set by the signal handler; a lock-free atomic is all that a handler may touch.
std::atomic<bool> g_interrupted{false};  // NOLINT: signal handlers need a global

struct GenerateOptions {
  CommonOptions common;
  session::SamplerSettings sampler;
  std::string model, prompt, prompt_file, save_logits, trace;
  std::string capture;  ///< empty: summary, or full for a trace
  std::string layers, log_format, log_layers = "0-1";
  TextLogLimits log;
  std::vector<std::string> stop, faults;
  int tokens = 128;
  bool chat = false, json = false, no_special = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct LayerRange {
  int first = 0, last = 0;
};

/// "A-B" or "A".
Result<LayerRange> layer_range(const char* option, const std::string& text) {
  LayerRange range;
  char rest = 0;
  const int n = std::sscanf(text.c_str(), "%d-%d%c", &range.first, &range.last, &rest);  // NOLINT
  if (n == 1 && text.find('-') == std::string::npos) {
    range.last = range.first;
  } else if (n != 2) {
    return usage_error(fmt::format("{} is '{}', expected A-B or A", option, text));
  }
  if (range.first < 0 || range.last < range.first) {
    return usage_error(fmt::format("{} is '{}', expected 0 ≤ A ≤ B", option, text));
  }
  return range;
}

Result<capture::Request> capture_request(const GenerateOptions& options) {
  capture::Request request;
  const bool full =
      options.capture == "full" || (options.capture.empty() && !options.trace.empty());
  request.tier = full                             ? capture::Tier::kFull
                 : options.capture == "attention" ? capture::Tier::kAttention
                                                  : capture::Tier::kSummary;
  if (!options.layers.empty()) {
    LS_TRY(const LayerRange range, layer_range("--layers", options.layers));
    request.first_layer = range.first;
    request.last_layer = range.last;
  }
  return request;
}

/// One run of the command: state between tokens, and how they are printed.
class Run {
 public:
  Run(const GenerateOptions& options, session::Generator& generator, session::Diagnosis& diagnosis,
      TextLog& text_log, double load_s)
      : options_(options),
        generator_(generator),
        diagnosis_(diagnosis),
        text_log_(text_log),
        tokenizer_(generator.model().tokenizer),
        decoder_(tokenizer_),
        stops_(options.stop),
        load_s_(load_s) {}

  Status evaluate(const std::vector<std::int32_t>& ids) {
    if (options_.json) {
      print_json_line({{"type", "start"},
                       {"model", generator_.model().file->path},
                       {"backend", generator_.backend().name()},
                       {"prompt_ids", ids}});
    }
    const auto start = Clock::now();
    LS_CHECK(generator_.evaluate(ids, false, stop_.get_token()));
    prefill_tok_s_ = static_cast<double>(ids.size()) / std::max(1e-9, seconds_since(start));
    observe();
    return {};
  }

  Status generate() {
    const auto start = Clock::now();
    StopReason reason = StopReason::kMaxTokens;
    while (n_out_ < options_.tokens) {
      if (g_interrupted) {
        reason = StopReason::kCancelled;
        break;
      }
      LS_TRY(const std::int32_t id, generator_.choose());
      const capture::Choice choice = generator_.describe(id, capture::Origin::kSampled);
      const capture::LogitSummary summary = generator_.summary();
      const bool ends = tokenizer_->is_end(id);
      const std::string text = stops_.push(ends ? std::string() : decoder_.push(id));
      print_token(id, text, choice, summary);
      text_log_.sampled(id, choice);
      ++n_out_;
      if (ends || stops_.hit()) {
        reason = ends ? StopReason::kEos : StopReason::kStop;
        break;
      }
      if (generator_.backend().kv_len() >= generator_.backend().context()) {
        reason = StopReason::kContextFull;
        break;
      }
      if (n_out_ < options_.tokens) {  // the last token need not be evaluated
        generator_.ahead = options_.tokens - n_out_ - 1;
        LS_CHECK(generator_.append(id, capture::Origin::kSampled, stop_.get_token()));
        observe();
      }
    }
    finish(reason, seconds_since(start));
    return {};
  }

 private:
  /// Live checks; nobody looks back at the frames afterwards.
  void observe() {
    if (diagnosis_.observe()) {
      tell_findings();
    }
    generator_.history().limit_host(0);
  }

  /// A cause is told once, when it first appears.
  void tell_findings() {
    for (const diagnose::Finding& finding : diagnosis_.findings()) {
      if (!told_.insert(finding.cause).second) {
        continue;
      }
      if (options_.json) {
        ordered_json event{{"type", "finding"}};
        event.update(diagnose::finding_json(finding));
        print_json_line(event);
      } else if (!options_.common.quiet && finding.severity != diagnose::Severity::kInfo) {
        fmt::print(stderr, "\n{}", finding_text(finding));
      }
    }
  }

  void print_token(std::int32_t id, const std::string& text, const capture::Choice& choice,
                   const capture::LogitSummary& summary) {
    if (!options_.json) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
      return;
    }
    ordered_json top = ordered_json::array();
    constexpr std::size_t kShown = 10;
    for (std::size_t i = 0; i < std::min(kShown, summary.top.size()); ++i) {
      const capture::TopToken& token = summary.top[i];
      top.push_back({{"id", token.id},
                     {"text", tokenizer_->decode(token.id, true)},
                     {"logit", token.logit},
                     {"prob", token.prob}});
    }
    print_json_line({{"type", "token"},
                     {"i", n_out_},
                     {"id", id},
                     {"text", text},
                     {"logit", choice.logit},
                     {"logprob", choice.logprob},
                     {"rank", choice.rank},
                     {"entropy", choice.entropy},
                     {"top", top}});
  }

  void finish(StopReason reason, double seconds) {
    std::string rest = stops_.push(decoder_.finish());
    rest += stops_.finish();
    const double rate = n_out_ > 0 ? n_out_ / std::max(1e-9, seconds) : 0.0;
    // The contract names four reasons; a full context ends a run as the limit on tokens does.
    const char* name = session::stop_reason_name(
        reason == StopReason::kContextFull ? StopReason::kMaxTokens : reason);
    if (options_.json) {
      ordered_json end{{"type", "end"},
                       {"tokens_out", n_out_},
                       {"stop_reason", name},
                       {"load_s", load_s_},
                       {"prefill_tok_s", prefill_tok_s_},
                       {"decode_tok_s", rate}};
      if (!rest.empty()) {
        end["text"] = rest;
      }
      print_json_line(end);
      return;
    }
    fmt::print("{}\n", rest);
    std::fflush(stdout);
    if (!options_.common.quiet) {
      fmt::print(
          stderr,
          "{}: {} prompt tokens at {:.0f} tok/s, {} tokens at {:.1f} tok/s, loaded in {:.2f} s, "
          "stopped: {}\n",
          generator_.backend().description(), generator_.ids().size() - evaluated_after_prompt(),
          prefill_tok_s_, n_out_, rate, load_s_, session::stop_reason_name(reason));
    }
  }

  [[nodiscard]] std::size_t evaluated_after_prompt() const {
    std::size_t n = 0;
    for (const auto& frame : generator_.frames()) {
      n += frame->choice.origin == capture::Origin::kPrompt ? 0U : 1U;
    }
    return n;
  }

  const GenerateOptions& options_;
  session::Generator& generator_;
  session::Diagnosis& diagnosis_;
  TextLog& text_log_;
  std::set<std::string> told_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  tokenizer::StreamDecoder decoder_;
  session::StopStrings stops_;
  std::stop_source stop_;
  double load_s_;
  double prefill_tok_s_ = 0.0;
  int n_out_ = 0;
};

Result<std::string> fed_text(const GenerateOptions& options,
                             const tokenizer::Tokenizer& tokenizer) {
  std::string text = options.prompt;
  if (!options.prompt_file.empty()) {
    LS_TRY(text, read_file(options.prompt_file));
  }
  if (options.chat) {
    const tokenizer::ChatMessage message{"user", text};
    LS_TRY(text, tokenizer::render_chat(tokenizer, std::span(&message, 1), true));
  }
  return text;
}

Status generate(const GenerateOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  LS_CHECK(session::validate(options.sampler));
  LS_TRY(const capture::Request request, capture_request(options));
  const auto start = Clock::now();
  LS_TRY(const auto model, load_with_progress(options.model, options.common));
  LS_TRY(const model::Interventions faults, diagnose::parse_faults(options.faults, *model));
  LS_TRY(const std::string text, fed_text(options, *model->tokenizer));
  const tokenizer::EncodeOptions how{!options.no_special, !options.no_special};
  const std::vector<std::int32_t> ids = session::prompt_with_faults(
      faults, model->tokenizer->encode(text, how).ids, *model->tokenizer);
  if (ids.empty()) {
    return invalid_input("the prompt is empty; write something to evaluate");
  }
  LS_TRY(session::Generator generator, make_generator(model, options.common));
  LS_CHECK(generator.set_interventions(faults));
  generator.sampler_settings = options.sampler;
  generator.capture = request;
  generator.attention_budget = 0;  // frames are not looked back at here
  session::Diagnosis diagnosis(generator, {});
  diagnosis.start(ids.size(), options.no_special ? std::string() : text);
  LS_TRY(const LayerRange logged, layer_range("--log-layers", options.log_layers));
  TextLogLimits limits = options.log;
  limits.first_layer = logged.first;
  limits.last_layer = logged.last;
  TextLog text_log(generator, limits, stderr);
  if (options.log_format == "text") {
    text_log.attach();
  }
  std::unique_ptr<session::TraceRecorder> recorder;
  if (!options.trace.empty()) {
    const int prompt_passes = static_cast<int>(ids.size()) / generator.backend().batch_tokens() + 1;
    LS_TRY(recorder,
           session::TraceRecorder::start(generator, options.trace, prompt_passes + options.tokens));
  }
  Run run(options, generator, diagnosis, text_log, seconds_since(start));
  std::signal(SIGINT, [](int) { g_interrupted = true; });
  LS_CHECK(run.evaluate(ids));
  if (!options.save_logits.empty()) {
    LS_CHECK(write_file(options.save_logits, std::as_bytes(generator.logits())));
  }
  LS_CHECK(run.generate());
  return recorder ? recorder->finish(ids.size(), options.faults) : Status{};
}

}  // namespace

Runner add_generate(CLI::App& app) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "stream text from a prompt");
  command->add_option("MODEL", options->model, "model file")->required();
  CLI::Option* prompt = command->add_option("--prompt", options->prompt, "prompt text");
  CLI::Option* file = command->add_option("--prompt-file", options->prompt_file,
                                          "file with the prompt's exact bytes");
  prompt->excludes(file);
  command->add_flag("--chat", options->chat, "send the prompt through the model's chat template");
  command->add_flag("--no-special", options->no_special,
                    "special tokens' names are plain text, and no BOS is added");
  command->add_option("--tokens", options->tokens, "most tokens to generate (0: only the prompt)")
      ->check(CLI::Range(0, 1000000000))
      ->capture_default_str();
  session::SamplerSettings& s = options->sampler;
  command->add_option("--temperature", s.temperature, "0 is greedy")->capture_default_str();
  command->add_option("--top-k", s.top_k, "0 is off")->capture_default_str();
  command->add_option("--top-p", s.top_p, "1 is off")->capture_default_str();
  command->add_option("--min-p", s.min_p, "0 is off")->capture_default_str();
  command->add_option("--repeat-penalty", s.repeat_penalty, "1 is off")->capture_default_str();
  command->add_option("--seed", s.seed, "seed of the draws")->capture_default_str();
  command->add_option("--stop", options->stop, "text that ends generation (may be repeated)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--json", options->json, "one JSON object per line");
  command->add_option("--save-logits", options->save_logits,
                      "file for the last prompt token's logits, float32");
  CLI::Option* trace =
      command->add_option("--trace", options->trace,
                          "file for what is captured (.safetensors; whole tensors by default)");
  command
      ->add_option("--capture", options->capture,
                   "summary, attention or full (default: summary, with --trace full)")
      ->check(CLI::IsMember({"summary", "attention", "full"}));
  command->add_option("--layers", options->layers, "layers captured in full: A-B");
  command->add_option("--fault", options->faults, "inject NAME[:ARG] on purpose (may be repeated)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--log-format", options->log_format, "text: a readable log of each pass")
      ->check(CLI::IsMember({"text"}))
      ->excludes(trace);
  command->add_option("--log-passes", options->log.passes, "passes in the log")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--log-layers", options->log_layers, "layers in the log: A-B")
      ->capture_default_str();
  command->add_option("--log-positions", options->log.positions, "tokens of each pass in the log")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_common_options(*command, options->common);
  return [options, prompt, file]() -> Status {
    if (prompt->count() == 0 && file->count() == 0) {
      return usage_error("give the prompt with --prompt or --prompt-file");
    }
    return generate(*options);
  };
}

}  // namespace layerscope::cli
