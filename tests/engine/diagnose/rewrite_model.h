// RewrittenModel: a golden model written anew with changed values, other types, or one more tensor.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/half.h"
#include "engine/format/model_file.h"
#include "tests/engine/format/gguf_writer.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {

/// A tensor on its way into the new file: values as F32, F16 or BF16, or the bytes of any type.
struct Converted {
  DType dtype = DType::kF32;
  std::vector<float> values;
  std::string raw = {};  ///< not empty: written as it is
  /// Not empty: written in equal parts of these names and types, as tensors of their own.
  std::vector<std::pair<std::string, DType>> parts = {};
};

class RewrittenModel {
 public:
  using Change = std::function<void(const format::TensorInfo&, Converted&)>;

  explicit RewrittenModel(const std::string& source, const Change& change = {},
                          const std::string& extra_tensor = {}) {
    const auto file = format::read_model_file(source).value();
    GgufWriter writer;
    for (const format::MetaEntry& entry : file->metadata) {
      put(writer, entry);
    }
    for (const format::TensorInfo& tensor : file->tensors) {
      Converted out{DType::kF32, format::decode_values(tensor, 0, tensor.n_elements).value()};
      if (change) {
        change(tensor, out);
      }
      std::vector<std::uint64_t> dims(tensor.shape.rbegin(), tensor.shape.rend());
      if (!out.parts.empty()) {
        dims.pop_back();
        const std::size_t n = out.values.size() / out.parts.size();
        for (std::size_t i = 0; i < out.parts.size(); ++i) {
          const auto begin = out.values.begin() + static_cast<std::ptrdiff_t>(i * n);
          const Converted part{out.parts[i].second,
                               {begin, begin + static_cast<std::ptrdiff_t>(n)}};
          writer.tensor(out.parts[i].first, dims, static_cast<std::uint32_t>(part.dtype),
                        bytes(part));
        }
        continue;
      }
      writer.tensor(tensor.name, dims, static_cast<std::uint32_t>(out.dtype), bytes(out));
    }
    if (!extra_tensor.empty()) {
      writer.tensor(extra_tensor, {4}, 0, bytes_of<float>({1, 2, 3, 4}));
    }
    static int count = 0;  // NOLINT: names of temporary files
    path_ = std::filesystem::temp_directory_path() /
            ("layerscope-rewritten-" + std::to_string(::getpid()) + "-" + std::to_string(count++) +
             ".gguf");
    std::ofstream(path_, std::ios::binary) << writer.build();
  }
  ~RewrittenModel() { std::filesystem::remove(path_); }
  RewrittenModel(const RewrittenModel&) = delete;
  RewrittenModel& operator=(const RewrittenModel&) = delete;

  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  static std::string bytes(const Converted& tensor) {
    if (!tensor.raw.empty()) {
      return tensor.raw;
    }
    if (tensor.dtype == DType::kF32) {
      return bytes_of(tensor.values);
    }
    std::vector<std::uint16_t> half;
    for (const float v : tensor.values) {
      half.push_back(tensor.dtype == DType::kF16 ? f32_to_f16(v) : f32_to_bf16(v));
    }
    return bytes_of(half);
  }

  /// Scalars and arrays of the types that the goldens use.
  static void put(GgufWriter& writer, const format::MetaEntry& entry) {
    if (const auto* text = std::get_if<std::string>(&entry.value)) {
      writer.string(entry.key, *text);
    } else if (const auto* flag = std::get_if<bool>(&entry.value)) {
      writer.boolean(entry.key, *flag);
    } else if (const auto* real = std::get_if<double>(&entry.value)) {
      writer.f32(entry.key, static_cast<float>(*real));
    } else if (const auto* natural = std::get_if<std::uint64_t>(&entry.value)) {
      writer.u32(entry.key, static_cast<std::uint32_t>(*natural));
    } else if (const auto* integer = std::get_if<std::int64_t>(&entry.value)) {
      writer.u32(entry.key, static_cast<std::uint32_t>(*integer));
    } else if (const auto* texts = std::get_if<std::vector<std::string>>(&entry.value)) {
      writer.strings(entry.key, *texts);
    } else if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&entry.value)) {
      writer.array(entry.key, kGgufI32,
                   std::vector<std::int32_t>(integers->begin(), integers->end()));
    } else if (const auto* naturals = std::get_if<std::vector<std::uint64_t>>(&entry.value)) {
      writer.array(entry.key, kGgufU32,
                   std::vector<std::uint32_t>(naturals->begin(), naturals->end()));
    } else if (const auto* reals = std::get_if<std::vector<double>>(&entry.value)) {
      writer.array(entry.key, kGgufF32, std::vector<float>(reals->begin(), reals->end()));
    }
  }

  std::filesystem::path path_;
};

}  // namespace layerscope::testing
