// A tokenizer from the files of a Hugging Face model folder: tokenizer.json, or vocab.json with
// merges.txt; and, where present, added_tokens.json, tokenizer_config.json, generation_config.json,
// config.json and the chat template.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "engine/base/result.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {

/// Errors (kInvalidInput): a file missing or damaged (named), ids that clash or leave large holes,
/// a kind of tokenizer that is not supported. `stop` is polled while it is built (kCancelled).
Result<std::shared_ptr<const Tokenizer>> from_hf_files(const std::string& folder,
                                                       std::stop_token stop = {});

}  // namespace layerscope::tokenizer
