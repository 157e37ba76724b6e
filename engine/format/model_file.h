// ModelFile: what a model file holds, independent of its container (GGUF, safetensors).
//
// Immutable after reading; may be shared between threads. Tensor data are views into the mapping,
// so a ModelFile must outlive everything that computes with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "engine/base/mapped_file.h"
#include "engine/base/result.h"
#include "kernels/dtype.h"

namespace layerscope::format {

/// One metadata value. Integers of every width become int64 or uint64, floats become double;
/// `MetaEntry::type` keeps the type's name in the file.
using MetaValue =
    std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<bool>,
                 std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<double>,
                 std::vector<std::string>>;

struct MetaEntry {
  std::string key;
  std::string type;  ///< As in the file: "u32", "f32", "string", "array of string", …
  MetaValue value;
};

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::uint64_t> shape;  ///< Row-major, slowest dimension first: [rows, columns].
  std::uint64_t offset = 0;          ///< Bytes from the start of the file.
  std::uint64_t n_elements = 0;
  std::span<const std::byte> data;  ///< View into the mapped file.
  std::string source{};  ///< Its name in the file, where a reader translated names; else empty.
};

/// "[4864, 896]"
std::string shape_text(const std::vector<std::uint64_t>& shape);

/// Where an error names a place it uses the file's name.
class ModelFile {
 public:
  std::string path;
  std::string folder;     ///< Of a Hugging Face model: where its tokenizer files stand; else empty.
  std::string container;  ///< "GGUF v3", "safetensors folder, 4 files"
  std::uint64_t file_bytes = 0;
  std::uint64_t header_bytes = 0;   ///< Everything before the tensor data.
  std::vector<MetaEntry> metadata;  ///< In file order.
  std::vector<TensorInfo> tensors;  ///< In file order.

  [[nodiscard]] const MetaValue* find(std::string_view key) const;
  [[nodiscard]] const TensorInfo* find_tensor(std::string_view name) const;

  /// Typed reads. Absent keys give nothing from `get_*`; a value of the wrong type or out of range
  /// is an error (kInvalidInput) naming the key. Any integer type that fits is accepted.
  [[nodiscard]] Result<std::optional<std::string>> get_string(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::int64_t>> get_int(std::string_view key) const;
  [[nodiscard]] Result<std::optional<double>> get_float(std::string_view key) const;
  [[nodiscard]] Result<std::optional<bool>> get_bool(std::string_view key) const;

  /// Array of strings / integers (either signedness) / floats; null when absent or of another type.
  [[nodiscard]] const std::vector<std::string>* get_strings(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<std::int64_t>> get_ints(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<double>> get_floats(std::string_view key) const;

  /// Builds the lookup tables; called once by readers after filling the members above.
  void index();

  MappedFile mapping;
  /// Files of which this one is made (parts, shards), and bytes that its readers made themselves
  /// (rearranged tensors): what the tensors' views point into besides `mapping`.
  std::vector<std::shared_ptr<const ModelFile>> keeps;
  std::vector<std::shared_ptr<const std::vector<std::byte>>> made;

 private:
  std::unordered_map<std::string_view, std::size_t> key_index_;
  std::unordered_map<std::string_view, std::size_t> tensor_index_;
};

/// Decodes `count` elements starting at element `first` of a tensor of a decodable type to float32
/// (any range, block boundaries handled). Errors: dtype not decodable, range out of bounds.
Result<std::vector<float>> decode_values(const TensorInfo& tensor, std::uint64_t first,
                                         std::uint64_t count);

/// Reads any model file that we can open, by its content: a GGUF (whole, or any part of a split
/// one), a Hugging Face model folder or any of its files, a safetensors file. Errors
/// (kInvalidInput) are one sentence with file, key or tensor, and offset. The tensors' dtype may be
/// one that kernels cannot decode: the inspector lists it, loading refuses it.
Result<std::shared_ptr<const ModelFile>> read_model_file(const std::string& path);

}  // namespace layerscope::format
