// diagnose: generates a little, runs every check, prints what is wrong, most severe first.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "engine/base/log.h"
#include "engine/cli/commands.h"
#include "engine/cli/diagnose_trace.h"
#include "engine/cli/findings.h"
#include "engine/cli/options.h"
#include "engine/diagnose/fault.h"
#include "engine/diagnose/finding_json.h"
#include "engine/session/diagnosis.h"
#include "engine/session/findings_page.h"
#include "engine/session/generator.h"
#include "engine/session/run_faults.h"

namespace layerscope::cli {
namespace {

using nlohmann::ordered_json;

struct DiagnoseOptions {
  CommonOptions common;
  std::string model, truth, prompt, html;
  std::vector<std::string> faults;
  int tokens = 8;
  int every = 0;
  bool chat = false, json = false;
};

/// Long enough that every position-dependent check has something to look at.
constexpr const char* kPrompt = "Write a haiku about GPU computing. Use the word forty-six.";

Result<std::string> fed_text(const DiagnoseOptions& options,
                             const tokenizer::Tokenizer& tokenizer) {
  std::string text = options.prompt.empty() ? kPrompt : options.prompt;
  const bool chat = options.chat || (options.prompt.empty() && !tokenizer.chat_template().empty());
  if (chat) {
    const tokenizer::ChatMessage message{"user", text};
    LS_TRY(text, tokenizer::render_chat(tokenizer, std::span(&message, 1), true));
  }
  return text;
}

/// Generates with the live checks on. A model so broken that nothing can be sampled ends early.
Status generate(session::Generator& generator, session::Diagnosis& diagnosis,
                const DiagnoseOptions& options, std::string& output) {
  const auto& tokenizer = generator.model().tokenizer;
  tokenizer::StreamDecoder decoder(tokenizer);
  for (int i = 0; i < options.tokens; ++i) {
    if (generator.backend().kv_len() >= generator.backend().context()) {
      break;
    }
    const auto id = generator.choose();
    if (!id.ok()) {
      break;
    }
    LS_CHECK(generator.append(id.value(), capture::Origin::kSampled, {}));
    diagnosis.observe();
    if (options.every > 0 && (i + 1) % options.every == 0) {
      LS_CHECK(diagnosis.deepen({}));
    }
    if (tokenizer->is_end(id.value())) {
      break;
    }
    output += decoder.push(id.value());
  }
  output += decoder.finish();
  return {};
}

Status print(const DiagnoseOptions& options, const session::Generator& generator,
             const session::Diagnosis& diagnosis, const std::string& prompt,
             const std::string& output) {
  const auto& findings = diagnosis.findings();
  const bool broken = diagnose::has_error(findings);
  if (!options.html.empty()) {
    const model::Model& model = generator.model();
    const std::string page = session::findings_html(
        findings, {model.name(), model.spec.architecture, generator.backend().description(), prompt,
                   output, options.faults, diagnosis.checks_run()});
    LS_CHECK(write_file(options.html, std::as_bytes(std::span(page))));
  }
  if (options.json) {
    ordered_json list = ordered_json::array();
    for (const diagnose::Finding& finding : findings) {
      list.push_back(diagnose::finding_json(finding));
    }
    print_json_line(
        {{"healthy", !broken}, {"findings", list}, {"checks_run", diagnosis.checks_run()}});
  } else {
    for (const diagnose::Finding& finding : findings) {
      fmt::print("{}\n", finding_text(finding));
    }
    fmt::print("{} checks, {} finding{}: {}\n", diagnosis.checks_run(), findings.size(),
               findings.size() == 1 ? "" : "s", broken ? "something is wrong" : "healthy");
  }
  if (broken) {
    return Error{ErrorCode::kAnomaly, fmt::format("{} ({})", findings.front().cause,
                                                  session::place_text(findings.front()))};
  }
  return {};
}

Status diagnose_model(const DiagnoseOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  LS_TRY(const auto model, load_with_progress(options.model, options.common));
  LS_TRY(const auto faults, diagnose::parse_faults(options.faults, *model));
  LS_TRY(session::Generator generator, make_generator(model, options.common));
  LS_CHECK(generator.set_interventions(faults));
  generator.capture.tier = capture::Tier::kAttention;
  generator.attention_budget = 0;
  LS_TRY(const std::string text, fed_text(options, *model->tokenizer));
  const std::vector<std::int32_t> ids =
      session::prompt_with_faults(faults, model->tokenizer->encode(text).ids, *model->tokenizer);
  if (ids.empty()) {
    return invalid_input("the prompt is empty; write something to evaluate");
  }
  session::Diagnosis diagnosis(generator,
                               [&](int context) { return generator.backend().fork(context); });
  diagnosis.start(ids.size(), text);
  LS_CHECK(generator.evaluate(ids, false, {}));
  diagnosis.observe();
  std::string output;
  LS_CHECK(generate(generator, diagnosis, options, output));
  LS_CHECK(diagnosis.deepen({}));
  return print(options, generator, diagnosis, text, output);
}

}  // namespace

Runner add_diagnose(CLI::App& app) {
  auto options = std::make_shared<DiagnoseOptions>();
  CLI::App* command = app.add_subcommand("diagnose", "find what is wrong with a run");
  command->add_option("MODEL", options->model, "model file, or another engine's trace")->required();
  command->add_option("--model", options->truth, "the model that a trace was made with");
  command->add_option("--prompt", options->prompt, "prompt text (default: a haiku)");
  command->add_flag("--chat", options->chat, "send the prompt through the model's chat template");
  command->add_option("--tokens", options->tokens, "tokens to generate")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command
      ->add_option("--every", options->every,
                   "replay and recompute after every so many tokens as well, not only at the end")
      ->check(CLI::Range(0, 1000000));
  command->add_option("--fault", options->faults, "inject NAME[:ARG] on purpose (may be repeated)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--json", options->json, "one JSON object");
  command->add_option("--html", options->html, "file for a report with pictures");
  add_common_options(*command, options->common);
  std::string footer = "Faults:\n";
  for (const diagnose::Fault& fault : diagnose::faults()) {
    footer += fmt::format("  {:42} {}\n", diagnose::fault_usage(fault), fault.title);
  }
  command->footer(footer);
  return [options]() -> Status {
    if (means_trace(options->model)) {
      return diagnose_foreign(
          {options->common, options->model, options->truth, options->html, options->json});
    }
    return diagnose_model(*options);
  };
}

}  // namespace layerscope::cli
