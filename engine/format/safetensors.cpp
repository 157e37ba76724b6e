#include "engine/format/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "engine/base/half.h"
#include "engine/format/byte_reader.h"

namespace layerscope::format {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "elements are read as they are stored");

constexpr std::uint64_t kPrefix = 8;  ///< bytes of the header's length

struct DTypeSize {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array<DTypeSize, 17> kDTypes{{{"F64", 8},
                                             {"F32", 4},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I64", 8},
                                             {"I32", 4},
                                             {"I16", 2},
                                             {"I8", 1},
                                             {"U64", 8},
                                             {"U32", 4},
                                             {"U16", 2},
                                             {"U8", 1},
                                             {"BOOL", 1},
                                             {"F8_E4M3", 1},
                                             {"F8_E5M2", 1},
                                             {"F8_E8M0", 1},
                                             {"C64", 8}}};

/// Parses one file; errors start with its name.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  Result<Safetensors> run() {
    LS_TRY(const json header, read_header());
    Safetensors result;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        LS_CHECK(read_metadata(entry, result));
      } else {
        LS_TRY(SafetensorsTensor tensor, read_tensor(name, entry));
        result.tensors.push_back(std::move(tensor));
      }
    }
    LS_CHECK(check_layout(result));
    return result;
  }

 private:
  [[nodiscard]] Error fail(std::string_view sentence) const {
    return invalid_input(fmt::format("'{}': {}", file_, sentence));
  }
  [[nodiscard]] Error fail(std::string_view tensor, std::string_view sentence) const {
    return invalid_input(fmt::format("'{}': tensor {}: {}", file_, quote_name(tensor), sentence));
  }

  Result<json> read_header() {
    if (bytes_.size() < kPrefix) {
      return fail(
          fmt::format("the file has {} bytes, too few for a safetensors header; it is cut "
                      "short or another kind of file",
                      bytes_.size()));
    }
    std::uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), kPrefix);
    if (length > kMaxSafetensorsHeader) {
      return fail(
          fmt::format("the header claims {} bytes, more than the {} that are allowed; this "
                      "is not a safetensors file",
                      length, kMaxSafetensorsHeader));
    }
    if (length > bytes_.size() - kPrefix) {
      return fail(fmt::format("the header has {} bytes but the file ends after {}: it is cut short",
                              length, bytes_.size() - kPrefix));
    }
    data_begin_ = kPrefix + length;
    return parse_json(std::string_view(
        reinterpret_cast<const char*>(bytes_.data()) + kPrefix,  // NOLINT: bytes as text
        length));
  }

  Result<json> parse_json(std::string_view text) {
    constexpr int kDeepest = 4;  // tensor → shape → number, with one level to spare
    std::unordered_set<std::string> seen;
    std::string problem;
    const auto watch = [&](int depth, json::parse_event_t event, json& value) {
      if (depth > kDeepest && problem.empty()) {
        problem = "its header is nested too deeply";
      }
      if (event == json::parse_event_t::key && depth == 1 &&
          !seen.insert(value.get<std::string>()).second && problem.empty()) {
        problem = fmt::format("the name {} stands in the header twice",
                              quote_name(value.get<std::string>()));
      }
      return problem.empty();
    };
    json header = json::parse(text, watch, false);
    if (!problem.empty()) {
      return fail(problem);
    }
    if (header.is_discarded() || !header.is_object()) {
      return fail("its header is not a JSON object; the file is damaged or of another kind");
    }
    return header;
  }

  Status read_metadata(const json& entry, Safetensors& result) const {
    if (!entry.is_object()) {
      return fail("__metadata__ is not an object of strings");
    }
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) {
        return fail(fmt::format("__metadata__ key {} is not a string", quote_name(key)));
      }
      result.metadata.emplace_back(key, value.get<std::string>());
    }
    return {};
  }

  static bool unsigned_list(const json& entry, const char* key, std::vector<std::uint64_t>& out) {
    const auto found = entry.find(key);
    if (found == entry.end() || !found->is_array()) {
      return false;
    }
    for (const json& item : *found) {
      if (!item.is_number_unsigned()) {
        return false;
      }
      out.push_back(item.get<std::uint64_t>());
    }
    return true;
  }

  Result<SafetensorsTensor> read_tensor(const std::string& name, const json& entry) const {
    SafetensorsTensor tensor;
    tensor.name = name;
    std::vector<std::uint64_t> offsets;
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !unsigned_list(entry, "shape", tensor.shape) ||
        !unsigned_list(entry, "data_offsets", offsets) || offsets.size() != 2) {
      return fail(name,
                  "its entry lacks dtype, shape or data_offsets, or has them in another form");
    }
    tensor.dtype = entry["dtype"].get<std::string>();
    const auto width = safetensors_dtype_bytes(tensor.dtype);
    if (!width) {
      return fail(name, fmt::format("dtype {} is not known", quote_name(tensor.dtype)));
    }
    tensor.n_elements = 1;
    for (const std::uint64_t n : tensor.shape) {
      if (!checked_multiply(tensor.n_elements, n, tensor.n_elements)) {
        return fail(name, "its shape has more elements than 64 bits can count");
      }
    }
    std::uint64_t size = 0;
    const std::uint64_t available = bytes_.size() - data_begin_;
    if (!checked_multiply(tensor.n_elements, *width, size) || offsets[0] > offsets[1] ||
        offsets[1] - offsets[0] != size) {
      return fail(name, fmt::format("data_offsets [{}, {}] do not fit {} elements of {}",
                                    offsets[0], offsets[1], tensor.n_elements, tensor.dtype));
    }
    if (offsets[1] > available) {
      return fail(name, fmt::format("its data end at byte {} but the file has {} bytes of data: it "
                                    "is cut short; copy or write it again",
                                    offsets[1], available));
    }
    tensor.offset = data_begin_ + offsets[0];
    tensor.data = bytes_.subspan(tensor.offset, size);
    return tensor;
  }

  /// The format allows neither gaps nor overlaps: both are places to hide bytes in.
  Status check_layout(Safetensors& result) const {
    std::stable_sort(result.tensors.begin(), result.tensors.end(),
                     [](const auto& a, const auto& b) { return a.offset < b.offset; });
    std::uint64_t at = data_begin_;
    for (const SafetensorsTensor& tensor : result.tensors) {
      if (tensor.offset != at) {
        return fail(tensor.name, tensor.offset < at ? "its data overlap another tensor's"
                                                    : "there is a gap before its data");
      }
      at += tensor.data.size();
    }
    if (at != bytes_.size()) {
      return fail(fmt::format("{} bytes follow the last tensor", bytes_.size() - at));
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::uint64_t data_begin_ = 0;
};

/// One element of a plain type, from bytes that need not be aligned.
template <typename T>
T element(const SafetensorsTensor& tensor, std::uint64_t i) {
  T value;
  std::memcpy(&value, tensor.data.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T, typename Convert>
std::vector<float> convert(const SafetensorsTensor& tensor, std::uint64_t first,
                           std::uint64_t count, const Convert& to_float) {
  std::vector<float> values(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    values[i] = to_float(element<T>(tensor, first + i));
  }
  return values;
}

template <typename T>
std::vector<std::int64_t> integers(const SafetensorsTensor& tensor) {
  std::vector<std::int64_t> values(tensor.n_elements);
  for (std::uint64_t i = 0; i < tensor.n_elements; ++i) {
    // NOLINTNEXTLINE(bugprone-signed-char-misuse): I8 holds signed numbers, not text
    values[i] = static_cast<std::int64_t>(element<T>(tensor, i));
  }
  return values;
}

}  // namespace

const SafetensorsTensor* Safetensors::find(std::string_view name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [name](const auto& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

const std::string* Safetensors::find_metadata(std::string_view key) const {
  const auto found = std::find_if(metadata.begin(), metadata.end(),
                                  [key](const auto& pair) { return pair.first == key; });
  return found == metadata.end() ? nullptr : &found->second;
}

std::optional<std::uint64_t> safetensors_dtype_bytes(std::string_view dtype) {
  for (const DTypeSize& row : kDTypes) {
    if (row.name == dtype) {
      return row.bytes;
    }
  }
  return std::nullopt;
}

bool looks_like_safetensors(std::span<const std::byte> bytes) {
  std::uint64_t length = 0;
  if (bytes.size() <= kPrefix) {
    return false;
  }
  std::memcpy(&length, bytes.data(), kPrefix);
  return length >= 2 && length <= kMaxSafetensorsHeader && bytes[kPrefix] == std::byte{'{'};
}

Result<Safetensors> parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  return Parser(bytes, file).run();
}

Result<std::vector<float>> safetensors_values(const SafetensorsTensor& tensor, std::uint64_t first,
                                              std::uint64_t count) {
  if (first > tensor.n_elements || count > tensor.n_elements - first) {
    return invalid_input(
        fmt::format("tensor {} has {} elements: {} elements from {} are out of range",
                    quote_name(tensor.name), tensor.n_elements, count, first));
  }
  const std::string_view type = tensor.dtype;
  const auto plain = [](auto v) { return static_cast<float>(v); };
  if (type == "F32") return convert<float>(tensor, first, count, plain);
  if (type == "F16") return convert<std::uint16_t>(tensor, first, count, f16_to_f32);
  if (type == "BF16") return convert<std::uint16_t>(tensor, first, count, bf16_to_f32);
  if (type == "F64") return convert<double>(tensor, first, count, plain);
  if (type == "I64") return convert<std::int64_t>(tensor, first, count, plain);
  if (type == "I32") return convert<std::int32_t>(tensor, first, count, plain);
  if (type == "I16") return convert<std::int16_t>(tensor, first, count, plain);
  if (type == "I8") return convert<std::int8_t>(tensor, first, count, plain);
  if (type == "U64") return convert<std::uint64_t>(tensor, first, count, plain);
  if (type == "U32") return convert<std::uint32_t>(tensor, first, count, plain);
  if (type == "U16") return convert<std::uint16_t>(tensor, first, count, plain);
  if (type == "U8" || type == "BOOL") return convert<std::uint8_t>(tensor, first, count, plain);
  return invalid_input(fmt::format("tensor {} has type {}, which cannot be read as numbers here",
                                   quote_name(tensor.name), tensor.dtype));
}

Result<std::vector<std::int64_t>> safetensors_integers(const SafetensorsTensor& tensor) {
  const std::string_view type = tensor.dtype;
  if (type == "I64") return integers<std::int64_t>(tensor);
  if (type == "I32") return integers<std::int32_t>(tensor);
  if (type == "I16") return integers<std::int16_t>(tensor);
  if (type == "I8") return integers<std::int8_t>(tensor);
  if (type == "U32") return integers<std::uint32_t>(tensor);
  if (type == "U16") return integers<std::uint16_t>(tensor);
  if (type == "U8" || type == "BOOL") return integers<std::uint8_t>(tensor);
  if (type == "U64") {
    std::vector<std::int64_t> values = integers<std::uint64_t>(tensor);
    if (std::any_of(values.begin(), values.end(), [](std::int64_t v) { return v < 0; })) {
      return invalid_input(
          fmt::format("tensor {} holds numbers beyond 63 bits", quote_name(tensor.name)));
    }
    return values;
  }
  return invalid_input(fmt::format("tensor {} has type {}, expected integers",
                                   quote_name(tensor.name), tensor.dtype));
}

}  // namespace layerscope::format
