// The importers' entry points, for registry.cpp, and what several of them share.
#pragma once

#include <string>
#include <string_view>

#include "engine/compare/registry.h"

namespace layerscope::compare {

bool accepts_safetensors(const Source& source);
Result<Trace> import_safetensors(const Source& source);  ///< own traces and any others

bool accepts_npy(const Source& source);
Result<Trace> import_npy(const Source& source);
bool accepts_npz(const Source& source);
Result<Trace> import_npz(const Source& source);

bool accepts_eval_callback(const Source& source);
Result<Trace> import_eval_callback(const Source& source);

bool accepts_logits(const Source& source);
Result<Trace> import_logits(const Source& source);

bool accepts_transformers(const Source& source);
Result<Trace> import_transformers(const Source& source);

bool accepts_json_lines(const Source& source);
Result<Trace> import_json_lines(const Source& source);

/// The whole text of a file. Error: not readable, or larger than 4 GiB.
Result<std::string> read_text(const std::filesystem::path& path);

/// The bytes of one .npy array as a tensor. Errors name the array.
Result<TraceTensor> parse_npy(std::string_view bytes, const std::string& name);

/// An error that starts with the file's path.
Error trace_error(const std::filesystem::path& path, std::string_view sentence);

/// Splits "p3.l2.q" and fills pass, layer (−1) and the tap's name; false for other names.
bool parse_own_name(std::string_view name, int& pass, int& layer, std::string_view& tap);

/// Fills passes that the source did not give: one pass whose length is the ids' number, or what the
/// tensors' shapes suggest (the size that most of their second-last dimensions have).
void guess_passes(Trace& trace);

}  // namespace layerscope::compare
