#include "engine/format/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "engine/format/gguf_parts.h"

namespace layerscope::format {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;         // "GGUF"
constexpr std::uint32_t kMagicSwapped = 0x47475546;  // "FUGG"

struct Header {
  std::uint32_t version = 0;
  std::uint64_t n_tensors = 0;
  std::uint64_t n_keys = 0;
};

Error big_endian(const ByteReader& reader) {
  return reader.fail_at(4,
                        "the file is big-endian GGUF, which is not supported; convert it to "
                        "little-endian");
}

Result<std::uint32_t> read_version(ByteReader& reader) {
  LS_TRY(const std::uint32_t magic, reader.read<std::uint32_t>("magic number"));
  if (magic == kMagicSwapped) {
    return big_endian(reader);
  }
  if (magic != kMagic) {
    return reader.fail_at(0, "the file does not start with 'GGUF'");
  }
  LS_TRY(const std::uint32_t version, reader.read<std::uint32_t>("version"));
  if (version != 0 && (version & 0xFFFFU) == 0) {
    return big_endian(reader);  // a version is a small number: these are its bytes swapped
  }
  if (version < 2 || version > 3) {
    return reader.fail_at(
        4, fmt::format("GGUF version {} is not supported (2 and 3 are); convert the model again "
                       "with a current converter",
                       version));
  }
  return version;
}

Result<Header> read_header(ByteReader& reader) {
  Header header;
  LS_TRY(header.version, read_version(reader));
  LS_TRY(header.n_tensors, reader.read<std::uint64_t>("number of tensors"));
  LS_TRY(header.n_keys, reader.read<std::uint64_t>("number of metadata keys"));
  const std::uint64_t left = reader.remaining();
  if (header.n_keys > detail::kMaxKeys || header.n_keys > left / detail::kMinKeyValueBytes) {
    return reader.fail_at(16, fmt::format("the header claims {} metadata keys, which cannot stand "
                                          "in the {} bytes that follow (or is above {})",
                                          header.n_keys, left, detail::kMaxKeys));
  }
  if (header.n_tensors > detail::kMaxTensors ||
      header.n_tensors > left / detail::kMinTensorInfoBytes) {
    return reader.fail_at(8, fmt::format("the header claims {} tensors, which cannot stand in the "
                                         "{} bytes that follow (or is above {})",
                                         header.n_tensors, left, detail::kMaxTensors));
  }
  return header;
}

Result<std::uint64_t> read_alignment(const ByteReader& reader, const ModelFile& file) {
  const MetaValue* value = file.find("general.alignment");
  if (value == nullptr) {
    return detail::kDefaultAlignment;
  }
  const auto* alignment = std::get_if<std::uint64_t>(value);
  if (alignment == nullptr) {
    return reader.fail_file("key 'general.alignment' must be an unsigned integer");
  }
  if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0 ||
      *alignment > detail::kMaxAlignment) {
    return reader.fail_file(
        fmt::format("key 'general.alignment' is {}, but must be a power of two up to {}",
                    *alignment, detail::kMaxAlignment));
  }
  return *alignment;
}

}  // namespace

bool looks_like_gguf(std::span<const std::byte> bytes) {
  if (bytes.size() < 4) {
    return false;
  }
  std::uint32_t magic = 0;
  std::memcpy(&magic, bytes.data(), sizeof(magic));
  return magic == kMagic || magic == kMagicSwapped;
}

Result<std::shared_ptr<ModelFile>> parse_gguf(std::span<const std::byte> bytes,
                                              const std::string& file_name,
                                              const GgufOptions& options) {
  ByteReader reader(bytes, file_name);
  auto file = std::make_shared<ModelFile>();
  file->path = file_name;
  file->file_bytes = bytes.size();
  LS_TRY(const Header header, read_header(reader));
  file->container = fmt::format("GGUF v{}", header.version);
  LS_CHECK(detail::read_metadata(reader, header.n_keys, options, *file));
  LS_CHECK(detail::read_tensor_infos(reader, header.n_tensors, *file));
  file->index();

  LS_TRY(const std::uint64_t alignment, read_alignment(reader, *file));
  // No overflow: offset() is at most the size of a mapped file, alignment at most 1 MiB.
  const std::uint64_t data_start = (reader.offset() + alignment - 1) / alignment * alignment;
  file->header_bytes = std::min<std::uint64_t>(data_start, bytes.size());
  LS_CHECK(detail::place_tensors(reader, bytes, data_start, alignment, *file));
  return file;
}

Result<std::shared_ptr<ModelFile>> read_gguf(MappedFile mapping, const std::string& path,
                                             const GgufOptions& options) {
  const std::string name = std::filesystem::path(path).filename().string();
  LS_TRY(std::shared_ptr<ModelFile> file, parse_gguf(mapping.bytes(), name, options));
  file->path = path;
  file->mapping = std::move(mapping);  // the mapped address, and so every view, stays the same
  return file;
}

}  // namespace layerscope::format
