// Importer of logits alone: headerless little-endian float32, as llama-debug --save-logits writes
// llamacpp-MODEL.bin, with MODEL-tokens.bin (int32) or MODEL-prompt.txt beside it.
#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "engine/compare/importers.h"

namespace layerscope::compare {
namespace {

bool has_logits_name(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".f32" || extension == ".logits";
}

template <typename T>
std::vector<T> as_numbers(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) {
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  }
  return values;
}

/// "token ids: 1, 2, 3"
std::vector<std::int32_t> ids_of_text(std::string_view text) {
  constexpr std::string_view kKey = "token ids: ";
  std::vector<std::int32_t> ids;
  std::size_t at = text.rfind(kKey);  // the prompt before it may contain anything
  if (at == std::string_view::npos) {
    return ids;
  }
  at += kKey.size();
  while (at < text.size()) {
    std::int32_t id = 0;
    const auto read = std::from_chars(text.data() + at, text.data() + text.size(), id);
    if (read.ec != std::errc()) {
      break;
    }
    ids.push_back(id);
    at = static_cast<std::size_t>(read.ptr - text.data()) + 2;  // ", "
  }
  return ids;
}

}  // namespace

bool accepts_logits(const Source& source) {
  std::error_code code;
  const auto size = std::filesystem::file_size(source.path, code);
  return !source.folder && has_logits_name(source.path) && !code && size >= sizeof(float) &&
         size % sizeof(float) == 0;
}

Result<Trace> import_logits(const Source& source) {
  LS_TRY(const std::string bytes, read_text(source.path));
  Trace trace;
  TraceTensor& tensor = trace.tensors.emplace_back();
  tensor.name = "logits";
  tensor.values = as_numbers<float>(bytes);
  tensor.shape = {1, static_cast<std::int64_t>(tensor.values.size())};
  const std::filesystem::path stem = source.path.parent_path() / source.path.stem();
  const std::string tokens = stem.string() + "-tokens.bin";
  const std::string prompt = stem.string() + "-prompt.txt";
  if (std::filesystem::exists(tokens)) {
    LS_TRY(const std::string raw, read_text(tokens));
    trace.ids = as_numbers<std::int32_t>(raw);
  } else if (std::filesystem::exists(prompt)) {
    LS_TRY(const std::string text, read_text(prompt));
    trace.ids = ids_of_text(text);
  }
  return trace;
}

}  // namespace layerscope::compare
