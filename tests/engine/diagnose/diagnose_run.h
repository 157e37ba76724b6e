// One diagnosed run, as the command line and the window make it: faults in, findings out.
#pragma once

#include <string>
#include <vector>

#include "engine/diagnose/fault.h"
#include "engine/session/diagnosis.h"
#include "engine/session/run_faults.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {

struct RunRequest {
  std::string prompt = "Count from one to nine. Then stop.";
  std::vector<std::string> faults;
  std::string backend = "cpu";
  int tokens = 5;
  int context = 256;
  bool deep = true;
  session::SamplerSettings sampler;
};

struct RunResult {
  std::vector<diagnose::Finding> findings;
  std::vector<std::int32_t> ids;
  Status status;
};

inline RunResult diagnosed_run(const std::shared_ptr<const model::Model>& model,
                               const RunRequest& request) {
  RunResult result;
  auto backend = backend::create_backend(model, {request.backend, 2, request.context});
  if (!backend.ok()) {
    result.status = backend.error();
    return result;
  }
  session::Generator generator(model, std::move(backend).value());
  generator.capture.tier = capture::Tier::kAttention;
  generator.sampler_settings = request.sampler;
  auto faults = diagnose::parse_faults(request.faults, *model);
  if (!faults.ok()) {
    result.status = faults.error();
    return result;
  }
  result.status = generator.set_interventions(faults.value());
  const auto ids = session::prompt_with_faults(
      faults.value(), model->tokenizer->encode(request.prompt).ids, *model->tokenizer);
  session::Diagnosis diagnosis(generator,
                               [&](int context) { return generator.backend().fork(context); });
  diagnosis.start(ids.size(), request.prompt);
  if (!result.status.ok() || !(result.status = generator.evaluate(ids, true, {})).ok()) {
    return result;
  }
  diagnosis.observe();
  for (int i = 0; i < request.tokens && generator.backend().kv_len() < request.context; ++i) {
    const auto id = generator.choose();
    if (!id.ok() || !generator.append(id.value(), capture::Origin::kSampled, {}).ok()) {
      break;
    }
    diagnosis.observe();
    if (model->tokenizer->is_end(id.value())) {
      break;
    }
  }
  if (request.deep) {
    result.status = diagnosis.deepen({});
  }
  result.findings = diagnosis.findings();
  result.ids = generator.ids();
  return result;
}

inline std::string chat_text(const model::Model& model, const std::string& prompt) {
  const tokenizer::ChatMessage message{"user", prompt};
  return render_chat(*model.tokenizer, std::span(&message, 1), true).value();
}

}  // namespace layerscope::testing
