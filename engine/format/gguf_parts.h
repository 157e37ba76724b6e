// The two sections of a GGUF header, each read by its own file; used by gguf.cpp only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/format/byte_reader.h"
#include "engine/format/gguf.h"
#include "engine/format/model_file.h"

namespace layerscope::format::detail {

/// Bounds that no real file comes near; they keep absurd files from costing memory or time.
constexpr std::uint64_t kMaxKeys = 1U << 16U;
constexpr std::uint64_t kMaxTensors = 1U << 17U;
constexpr std::uint64_t kMaxKeyBytes = 64U << 10U;
constexpr std::uint64_t kMaxStringBytes = 64U << 20U;
constexpr std::uint64_t kMaxArrayElements = 1U << 25U;
constexpr std::uint64_t kMaxTensorNameBytes = 1024;
constexpr std::uint64_t kMaxAlignment = 1U << 20U;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint32_t kMaxDimensions = 4;

/// Smallest encodings: key length 8, key 1, type 4, value 1 — name length 8, name 1, dimension
/// count 4, one dimension 8, type 4, offset 8.
constexpr std::uint64_t kMinKeyValueBytes = 14;
constexpr std::uint64_t kMinTensorInfoBytes = 33;

/// Reads `count` key–value pairs into `file.metadata`.
Status read_metadata(ByteReader& reader, std::uint64_t count, const GgufOptions& options,
                     ModelFile& file);

/// Reads `count` tensor descriptions into `file.tensors`; `offset` is still relative to the data.
Status read_tensor_infos(ByteReader& reader, std::uint64_t count, ModelFile& file);

/// Makes offsets absolute, checks alignment, bounds and overlap, and sets the data views.
Status place_tensors(const ByteReader& reader, std::span<const std::byte> bytes,
                     std::uint64_t data_start, std::uint64_t alignment, ModelFile& file);

}  // namespace layerscope::format::detail
