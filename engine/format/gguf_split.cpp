// join_gguf_parts: the parts of a split GGUF as one ModelFile (names and keys as llama.cpp's
// gguf-split writes them: `split.no`, `split.count`, `split.tensors.count`).
#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "engine/format/model_folder.h"

namespace layerscope::format {
namespace {

constexpr std::int64_t kMaxParts = 1000;

struct PartName {
  std::string prefix;  ///< path up to "-00001-of-00003.gguf"
  std::int64_t number = 0;
};

/// `path` as a part's name, when it ends like one of `count` parts.
Result<PartName> part_name(const std::string& path, std::int64_t count) {
  const std::string ending = fmt::format("-of-{:05}.gguf", count);
  const std::size_t size = path.size();
  const std::size_t digits = ending.size() + 5;
  const bool fits =
      size > digits && path.ends_with(ending) && path[size - digits - 1] == '-' &&
      path.substr(size - digits, 5).find_first_not_of("0123456789") == std::string::npos;
  if (!fits) {
    return invalid_input(
        fmt::format("'{}' is one of {} parts, but its name does not end in -0000N{}: rename the "
                    "parts as they were, or the others cannot be found",
                    path, count, ending));
  }
  return PartName{path.substr(0, size - digits - 1), std::stoll(path.substr(size - digits, 5))};
}

Result<std::int64_t> read_count(const ModelFile& file, const char* key) {
  LS_TRY(const auto value, file.get_int(key));
  return value.value_or(0);
}

Result<std::shared_ptr<ModelFile>> read_part(const std::string& path, std::int64_t number,
                                             std::int64_t count, const GgufOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return invalid_input(
        fmt::format("part {} of {} is missing: '{}'; all parts have to stand in one folder", number,
                    count, path));
  }
  LS_TRY(MappedFile mapping, MappedFile::open(path));
  if (!looks_like_gguf(mapping.bytes())) {
    return invalid_input(fmt::format("part {} of {}, '{}', is not a GGUF file; download it again",
                                     number, count, path));
  }
  LS_TRY(std::shared_ptr<ModelFile> part, read_gguf(std::move(mapping), path, options));
  LS_TRY(const std::int64_t no, read_count(*part, "split.no"));
  LS_TRY(const std::int64_t parts, read_count(*part, "split.count"));
  if (no != number - 1 || parts != count) {
    return invalid_input(
        fmt::format("'{}' says that it is part {} of {}, but its name says part {} of {}", path,
                    no + 1, parts, number, count));
  }
  return part;
}

Status check_together(const ModelFile& whole) {
  LS_TRY(const std::int64_t tensors, read_count(whole, "split.tensors.count"));
  if (tensors != 0 && tensors != static_cast<std::int64_t>(whole.tensors.size())) {
    return invalid_input(
        fmt::format("'{}': the parts together hold {} tensors, but 'split.tensors.count' is {}; "
                    "they are not of one model",
                    whole.path, whole.tensors.size(), tensors));
  }
  for (const TensorInfo& tensor : whole.tensors) {
    if (whole.find_tensor(tensor.name) != &tensor) {
      return invalid_input(
          fmt::format("'{}': tensor '{}' is in two of the parts", whole.path, tensor.name));
    }
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<ModelFile>> join_gguf_parts(std::shared_ptr<ModelFile> part,
                                                   const GgufOptions& options) {
  LS_TRY(const std::int64_t count, read_count(*part, "split.count"));
  if (count <= 1) {
    return part;
  }
  if (count > kMaxParts) {
    return invalid_input(
        fmt::format("'{}': the key 'split.count' is {}, more than the {} parts "
                    "that are accepted",
                    part->path, count, kMaxParts));
  }
  LS_TRY(const PartName name, part_name(part->path, count));
  auto whole = std::make_shared<ModelFile>();
  for (std::int64_t i = 1; i <= count; ++i) {
    const std::string path = fmt::format("{}-{:05}-of-{:05}.gguf", name.prefix, i, count);
    std::shared_ptr<ModelFile> next = i == name.number ? part : nullptr;
    if (next == nullptr) {
      LS_TRY(next, read_part(path, i, count, options));
    }
    if (i == 1) {
      whole->path = path;
      whole->container = fmt::format("{}, {} parts", next->container, count);
      whole->metadata = next->metadata;
    }
    whole->file_bytes += next->file_bytes;
    whole->header_bytes += next->header_bytes;
    whole->tensors.insert(whole->tensors.end(), next->tensors.begin(), next->tensors.end());
    whole->keeps.push_back(std::move(next));
  }
  whole->index();
  LS_CHECK(check_together(*whole));
  return whole;
}

}  // namespace layerscope::format
