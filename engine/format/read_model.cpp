// read_model_file: finds out what a path holds, by content, and calls the reader for it.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "engine/format/gguf.h"
#include "engine/format/model_folder.h"
#include "engine/format/open_model.h"
#include "engine/format/safetensors.h"

namespace layerscope::format {
namespace {

constexpr const char* kSupported =
    "open a GGUF file (.gguf) or a folder with config.json and safetensors files";

bool starts_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

/// What a file that we cannot open seems to be, as the middle of a sentence.
std::string describe(std::span<const std::byte> bytes) {
  for (const std::string_view magic : {"lmgg", "fmgg", "tjgg"}) {
    if (starts_with(bytes, magic)) {
      return "is an old GGML file, the predecessor of GGUF; convert the original model again";
    }
  }
  if (starts_with(bytes, "PK\x03\x04") || starts_with(bytes, "\x80\x02")) {
    return "seems to be a PyTorch checkpoint, which is not supported; convert it to GGUF";
  }
  if (starts_with(bytes, "version https://git-lfs")) {
    return "is a Git LFS pointer, not the model itself; download it with `git lfs pull`";
  }
  return "is not a model file that this program knows (no GGUF magic at offset 0)";
}

}  // namespace

Result<std::shared_ptr<ModelFile>> open_model(const std::string& path, const GgufOptions& options) {
  if (const auto folder = model_folder_of(path)) {
    return read_model_folder(*folder);
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return invalid_input(
        fmt::format("'{}' is a folder without a config.json; {}", path, kSupported));
  }
  LS_TRY(MappedFile mapping, MappedFile::open(path));
  if (looks_like_safetensors(mapping.bytes())) {
    return read_safetensors_file(std::move(mapping), path);
  }
  if (!looks_like_gguf(mapping.bytes())) {
    return invalid_input(fmt::format("'{}' {}; {}", path, describe(mapping.bytes()), kSupported));
  }
  LS_TRY(std::shared_ptr<ModelFile> file, read_gguf(std::move(mapping), path, options));
  return join_gguf_parts(std::move(file), options);
}

Result<std::shared_ptr<const ModelFile>> read_model_file(const std::string& path) {
  LS_TRY(const std::shared_ptr<ModelFile> file, open_model(path, {}));
  return std::shared_ptr<const ModelFile>(file);
}

}  // namespace layerscope::format
