// The tensor section of a GGUF header, and where its tensors lie.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_set>

#include "engine/format/gguf_parts.h"

namespace layerscope::format::detail {
namespace {

Result<std::string_view> read_name(ByteReader& reader, std::uint64_t i) {
  reader.set_subject(fmt::format("tensor {}", i));
  const std::uint64_t start = reader.offset();
  LS_TRY(const std::string_view name, reader.read_string("tensor name", kMaxTensorNameBytes));
  if (name.empty()) {
    return reader.fail_at(start, "the tensor has no name");
  }
  reader.set_subject("tensor " + quote_name(name));
  return name;
}

/// Reads the dimensions (fastest first in the file) into `tensor.shape` (slowest first).
Status read_shape(ByteReader& reader, TensorInfo& tensor) {
  LS_TRY(const auto n_dims, reader.read<std::uint32_t>("number of dimensions"));
  if (n_dims == 0 || n_dims > kMaxDimensions) {
    return reader.fail_at(
        reader.offset() - 4,
        fmt::format("the tensor has {} dimensions, but must have 1 to {}", n_dims, kMaxDimensions));
  }
  tensor.n_elements = 1;
  for (std::uint32_t i = 0; i < n_dims; ++i) {
    LS_TRY(const auto length, reader.read<std::uint64_t>("dimension"));
    if (length == 0) {
      return reader.fail_at(reader.offset() - 8, fmt::format("dimension {} is zero", i));
    }
    if (!checked_multiply(tensor.n_elements, length, tensor.n_elements)) {
      return reader.fail_at(reader.offset() - 8,
                            "the product of the dimensions does not fit 64 bits");
    }
    tensor.shape.insert(tensor.shape.begin(), length);
  }
  return {};
}

Status read_dtype(ByteReader& reader, TensorInfo& tensor) {
  LS_TRY(const auto raw, reader.read<std::uint32_t>("tensor type"));
  const auto known = find_dtype(raw);
  if (!known) {
    return reader.fail_at(reader.offset() - 4,
                          fmt::format("tensor type number {} is unknown to this program", raw));
  }
  tensor.dtype = known->dtype;
  if (tensor.shape.back() % known->block != 0) {
    return reader.fail_at(reader.offset() - 4,
                          fmt::format("rows of {} elements do not divide into the blocks of {} "
                                      "elements that type {} consists of",
                                      tensor.shape.back(), known->block, known->name));
  }
  return {};
}

/// Bytes of a tensor's data, or false when the product does not fit 64 bits.
bool data_bytes(const TensorInfo& tensor, std::uint64_t& bytes) {
  const DTypeInfo& type = dtype_info(tensor.dtype);
  return checked_multiply(tensor.n_elements / type.block, type.block_bytes, bytes);
}

Status place_tensor(const ByteReader& reader, std::span<const std::byte> bytes,
                    std::uint64_t data_start, std::uint64_t alignment, TensorInfo& tensor) {
  const std::string subject = "tensor " + quote_name(tensor.name);
  if (tensor.offset % alignment != 0) {
    return reader.fail_file(
        fmt::format("{}: its data offset {} is not a multiple of the alignment {}", subject,
                    tensor.offset, alignment));
  }
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::uint64_t end = 0;
  if (!data_bytes(tensor, size) || !checked_add(data_start, tensor.offset, begin) ||
      !checked_add(begin, size, end)) {
    return reader.fail_file(fmt::format("{}: shape {} at data offset {} does not fit 64 bits",
                                        subject, shape_text(tensor.shape), tensor.offset));
  }
  if (end > bytes.size()) {
    return reader.fail_file(
        fmt::format("{}: its {} bytes of data begin at offset {} and would end at {}, but the file "
                    "ends at {}; it was cut short",
                    subject, size, begin, end, bytes.size()));
  }
  tensor.offset = begin;
  tensor.data = bytes.subspan(begin, size);
  return {};
}

Status check_overlap(const ByteReader& reader, const ModelFile& file) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(file.tensors.size());
  for (const TensorInfo& tensor : file.tensors) {
    by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& first = *by_offset[i - 1];
    const TensorInfo& second = *by_offset[i];
    if (first.offset + first.data.size() > second.offset) {
      return reader.fail_file(
          fmt::format("the data of tensors {} (offset {}, {} bytes) and {} "
                      "(offset {}) overlap",
                      quote_name(first.name), first.offset, first.data.size(),
                      quote_name(second.name), second.offset));
    }
  }
  return {};
}

}  // namespace

Status read_tensor_infos(ByteReader& reader, std::uint64_t count, ModelFile& file) {
  std::unordered_set<std::string_view> seen;  // views into the file
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t start = reader.offset();
    LS_TRY(const std::string_view name, read_name(reader, i));
    if (!seen.insert(name).second) {
      return reader.fail_at(start, "the tensor's name appears twice");
    }
    TensorInfo tensor;
    tensor.name = std::string(name);
    LS_CHECK(read_shape(reader, tensor));
    LS_CHECK(read_dtype(reader, tensor));
    LS_TRY(tensor.offset, reader.read<std::uint64_t>("data offset"));
    file.tensors.push_back(std::move(tensor));
  }
  reader.set_subject("");
  return {};
}

Status place_tensors(const ByteReader& reader, std::span<const std::byte> bytes,
                     std::uint64_t data_start, std::uint64_t alignment, ModelFile& file) {
  for (TensorInfo& tensor : file.tensors) {
    LS_CHECK(place_tensor(reader, bytes, data_start, alignment, tensor));
  }
  return check_overlap(reader, file);
}

}  // namespace layerscope::format::detail
