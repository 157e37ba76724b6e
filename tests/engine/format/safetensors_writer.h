// Builds safetensors bytes for tests, right ones and, through `raw`, wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace layerscope::testing {

class SafetensorsWriter {
 public:
  SafetensorsWriter& metadata(const std::string& key, const std::string& value) {
    header_["__metadata__"][key] = value;
    return *this;
  }
  /// Bytes as they are, with whatever dtype and shape.
  SafetensorsWriter& raw(const std::string& name, const std::string& dtype,
                         const std::vector<std::uint64_t>& shape, const std::string& bytes) {
    header_[name] = {{"dtype", dtype},
                     {"shape", shape},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
    return *this;
  }
  template <typename T>
  SafetensorsWriter& tensor(const std::string& name, const std::string& dtype,
                            const std::vector<std::uint64_t>& shape, const std::vector<T>& values) {
    std::string bytes(values.size() * sizeof(T), '\0');
    if (!values.empty()) {
      std::memcpy(bytes.data(), values.data(), bytes.size());
    }
    return raw(name, dtype, shape, bytes);
  }
  [[nodiscard]] std::string build() const { return with_header(header_.dump(), data_); }

  static std::string with_header(const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    return bytes + header + data;
  }

 private:
  nlohmann::ordered_json header_ = nlohmann::ordered_json::object();
  std::string data_;
};

}  // namespace layerscope::testing
