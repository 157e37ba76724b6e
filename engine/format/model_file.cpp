#include "engine/format/model_file.h"

#include <fmt/format.h>

#include <limits>
#include <type_traits>

#include "engine/format/byte_reader.h"

namespace layerscope::format {
namespace {

const char* kind_of(const MetaValue& value) {
  constexpr const char* kNames[] = {"a bool",
                                    "a signed integer",
                                    "an unsigned integer",
                                    "a float",
                                    "a string",
                                    "an array of bools",
                                    "an array of signed integers",
                                    "an array of unsigned integers",
                                    "an array of floats",
                                    "an array of strings"};
  static_assert(std::size(kNames) == std::variant_size_v<MetaValue>);
  return kNames[value.index()];
}

Error wrong_type(std::string_view key, const char* wanted, const MetaValue& value) {
  return invalid_input(fmt::format("metadata key {} must be {}, but is {}", quote_name(key), wanted,
                                   kind_of(value)));
}

}  // namespace

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void ModelFile::index() {
  key_index_.clear();
  tensor_index_.clear();
  for (std::size_t i = 0; i < metadata.size(); ++i) {
    key_index_.emplace(metadata[i].key, i);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensor_index_.emplace(tensors[i].name, i);
  }
}

const MetaValue* ModelFile::find(std::string_view key) const {
  const auto it = key_index_.find(key);
  return it == key_index_.end() ? nullptr : &metadata[it->second].value;
}

const TensorInfo* ModelFile::find_tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors[it->second];
}

Result<std::optional<std::string>> ModelFile::get_string(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) {
    return std::optional<std::string>();
  }
  if (const auto* text = std::get_if<std::string>(value)) {
    return std::optional<std::string>(*text);
  }
  return wrong_type(key, "a string", *value);
}

Result<std::optional<std::int64_t>> ModelFile::get_int(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) {
    return std::optional<std::int64_t>();
  }
  if (const auto* number = std::get_if<std::int64_t>(value)) {
    return std::optional<std::int64_t>(*number);
  }
  if (const auto* number = std::get_if<std::uint64_t>(value)) {
    if (*number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return invalid_input(
          fmt::format("metadata key {} is {}, which is out of range", quote_name(key), *number));
    }
    return std::optional<std::int64_t>(static_cast<std::int64_t>(*number));
  }
  return wrong_type(key, "an integer", *value);
}

Result<std::optional<double>> ModelFile::get_float(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) {
    return std::optional<double>();
  }
  // Converters written in other languages store 10000 as an integer now and then.
  if (const auto* number = std::get_if<double>(value)) {
    return std::optional<double>(*number);
  }
  if (const auto* number = std::get_if<std::int64_t>(value)) {
    return std::optional<double>(static_cast<double>(*number));
  }
  if (const auto* number = std::get_if<std::uint64_t>(value)) {
    return std::optional<double>(static_cast<double>(*number));
  }
  return wrong_type(key, "a number", *value);
}

Result<std::optional<bool>> ModelFile::get_bool(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) {
    return std::optional<bool>();
  }
  if (const auto* flag = std::get_if<bool>(value)) {
    return std::optional<bool>(*flag);
  }
  return wrong_type(key, "a bool", *value);
}

const std::vector<std::string>* ModelFile::get_strings(std::string_view key) const {
  const MetaValue* value = find(key);
  return value == nullptr ? nullptr : std::get_if<std::vector<std::string>>(value);
}

std::optional<std::vector<std::int64_t>> ModelFile::get_ints(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(value)) {
    return *numbers;
  }
  if (const auto* numbers = std::get_if<std::vector<std::uint64_t>>(value)) {
    std::vector<std::int64_t> out;
    out.reserve(numbers->size());
    for (const std::uint64_t number : *numbers) {
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return std::nullopt;
      }
      out.push_back(static_cast<std::int64_t>(number));
    }
    return out;
  }
  return std::nullopt;
}

std::optional<std::vector<double>> ModelFile::get_floats(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  const auto* numbers = std::get_if<std::vector<double>>(value);
  return numbers == nullptr ? std::nullopt : std::optional(*numbers);
}

}  // namespace layerscope::format
