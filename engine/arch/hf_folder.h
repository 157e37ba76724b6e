// Hugging Face folders in GGUF's words, so that one reader per architecture serves both.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"

namespace layerscope::arch {

/// Whether Q and K are stored for rotary pairs (i, i + half) where the architecture's GGUF files
/// have them for adjacent pairs.
inline constexpr const char* kHalfPairing = "layerscope.rope.half_pairing";

/// Translates a folder's tensor names and config keys (hf_names.h); the original keys follow the
/// translated ones, TensorInfo::source has the original names. Tensors are copied only where their
/// order changes. Anything else than a folder comes back as it is. Errors (kInvalidInput): an
/// architecture or feature that no table row describes, named; tensors that do not fit together.
Result<std::shared_ptr<const format::ModelFile>> translate_hf(
    std::shared_ptr<const format::ModelFile> file);

/// read_model_file, then translate_hf. What cannot be translated stays as it is for the inspector,
/// with the reason in `note` (when not null).
Result<std::shared_ptr<const format::ModelFile>> read_for_inspection(const std::string& path,
                                                                     std::string* note = nullptr);

/// Corrects a spec that was read from a translated folder.
void apply_storage(const format::ModelFile& file, model::DecoderSpec& spec);

}  // namespace layerscope::arch
