// A tokenizer from the files of a Hugging Face model folder: vocab.json, merges.txt and, where
// present, added_tokens.json, tokenizer_config.json and config.json.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {

/// Byte-level BPE folders of the Qwen2 and GPT-2 tokenizer classes. Errors (kInvalidInput): a file
/// missing or damaged (named), ids that clash or leave large holes, another tokenizer class.
Result<std::shared_ptr<const Tokenizer>> from_hf_files(const std::string& folder);

}  // namespace layerscope::tokenizer
