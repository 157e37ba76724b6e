// Tokens: the prompt's ids against what the tokenizer makes of its text.
#include <fmt/format.h>

#include <algorithm>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

void check_tokens(const LiveInput& input, Report& report) {
  const Subject& subject = input.subject;
  const tokenizer::Tokenizer& tokenizer = *subject.model->tokenizer;
  // Once, when the prompt is complete.
  if (!subject.text_known || subject.n_prompt == 0 || input.frames.size() != subject.n_prompt) {
    return;
  }
  const std::vector<std::int32_t> right = tokenizer.encode(subject.fed_text).ids;
  std::vector<std::int32_t> ids;
  for (const auto& frame : input.frames) {
    ids.push_back(frame->id);
  }
  if (ids == right) {
    return;
  }
  const auto bad = std::mismatch(ids.begin(), ids.end(), right.begin(), right.end());
  const auto at = static_cast<int>(bad.first - ids.begin());
  Finding f;
  f.check = "tokens";
  f.stage = -1;
  f.position = at;
  f.evidence.position = at;
  f.value = at < static_cast<int>(ids.size()) ? ids[static_cast<std::size_t>(at)] : -1;
  f.threshold = bad.second != right.end() ? *bad.second : -1;
  const std::int32_t bos = tokenizer.bos();
  if (tokenizer.adds_bos() && !ids.empty() && ids.front() != bos) {
    f.cause = "bos-missing";
    f.message =
        fmt::format("the prompt starts with token {}, but this model's prompts start with BOS ({})",
                    ids.front(), bos);
    f.advice = "add BOS before the prompt's tokens (tokenizer.ggml.add_bos_token)";
  } else if (ids.size() > 1 && ids[0] == bos && ids[1] == bos) {
    f.cause = "bos-doubled";
    f.message = fmt::format("the prompt starts with BOS ({}) twice", bos);
    f.advice = "either the template or the tokenizer adds BOS, not both";
  } else {
    f.cause = "tokens-differ";
    f.message = fmt::format("token {} of the prompt is {:.0f}, the tokenizer gives {:.0f}", at,
                            f.value, f.threshold);
    f.advice = "compare special tokens: they are often split into pieces";
  }
  report.add(std::move(f));
}

}  // namespace layerscope::diagnose
