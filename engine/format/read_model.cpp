// read_model_file: finds out what a path holds, by content, and calls the reader for it.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "engine/format/gguf.h"
#include "engine/format/model_file.h"
#include "engine/format/open_model.h"

namespace layerscope::format {
namespace {

constexpr const char* kSupported = "open a GGUF file (.gguf)";

/// A safetensors file starts with the 64-bit length of its JSON header, then '{'.
bool looks_like_safetensors(std::span<const std::byte> bytes) {
  if (bytes.size() < 10) {
    return false;
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return length >= 2 && length <= bytes.size() - 8 && bytes[8] == std::byte{'{'};
}

bool starts_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

/// What a file that we cannot open seems to be, as the middle of a sentence.
std::string describe(std::span<const std::byte> bytes) {
  if (looks_like_safetensors(bytes)) {
    return "is a safetensors file, which cannot be opened as a model yet";
  }
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

Result<MappedFile> open_model_file(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return invalid_input(fmt::format("'{}' is a folder, and model folders cannot be opened yet; {}",
                                     path, kSupported));
  }
  LS_TRY(MappedFile mapping, MappedFile::open(path));
  if (!looks_like_gguf(mapping.bytes())) {
    return invalid_input(fmt::format("'{}' {}; {}", path, describe(mapping.bytes()), kSupported));
  }
  return mapping;
}

Result<std::shared_ptr<const ModelFile>> read_model_file(const std::string& path) {
  LS_TRY(MappedFile mapping, open_model_file(path));
  LS_TRY(const std::shared_ptr<ModelFile> file, read_gguf(std::move(mapping), path));
  return std::shared_ptr<const ModelFile>(file);
}

}  // namespace layerscope::format
