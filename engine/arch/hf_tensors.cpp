#include "engine/arch/hf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "engine/format/byte_reader.h"

namespace layerscope::arch {
namespace {

using format::ModelFile;
using format::quote_name;
using format::TensorInfo;

constexpr std::uint64_t kMaxStacked = 4096;

/// A tensor's name taken apart.
struct Found {
  const HfTensor* row = nullptr;
  std::string name;                     ///< in GGUF's words
  std::optional<std::uint64_t> number;  ///< of the expert or head
};

/// Reads a decimal number at `text`, which it shortens; nothing when there is none.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  std::size_t n = 0;
  while (n < text.size() && n < 6 && text[n] >= '0' && text[n] <= '9') {
    value = value * 10 + static_cast<std::uint64_t>(text[n++] - '0');
  }
  text.remove_prefix(n);
  return n == 0 ? std::nullopt : std::optional(value);
}

/// Whether `stem` is the row's name, with a number where the row has `{}`.
bool matches(std::string_view stem, std::string_view pattern,
             std::optional<std::uint64_t>& number) {
  const std::size_t gap = pattern.find("{}");
  if (gap == std::string_view::npos) {
    return stem == pattern;
  }
  if (!stem.starts_with(pattern.substr(0, gap))) {
    return false;
  }
  stem.remove_prefix(gap);
  number = take_number(stem);
  return number && stem == pattern.substr(gap + 2);
}

Found find_row(std::span<const HfTensor> rows, std::string_view stem, const std::string& prefix,
               std::string_view suffix) {
  Found found;
  for (const HfTensor& row : rows) {
    if (matches(stem, row.hf, found.number)) {
      found.row = &row;
      found.name = prefix + std::string(row.gguf) + std::string(suffix);
      return found;
    }
  }
  return {};
}

Found find_name(const std::string& given, const HfArchitecture& architecture) {
  // Wrappers put their own names before or into the text model's.
  std::string own = given;
  for (const auto& [wrapper, instead] : {std::pair{"model.language_model.", "model."},
                                         {"language_model.", ""},
                                         {"transformer.", ""}}) {
    if (own.starts_with(wrapper)) {
      own = instead + own.substr(std::string_view(wrapper).size());
    }
  }
  const std::string_view name = own;
  const bool weight = name.ends_with(".weight");
  if (!weight && !name.ends_with(".bias")) {
    return {};
  }
  const std::string_view suffix = weight ? ".weight" : ".bias";
  std::string_view stem = name.substr(0, name.size() - suffix.size());
  if (stem.starts_with(architecture.layers)) {
    stem.remove_prefix(architecture.layers.size());
    const auto layer = take_number(stem);
    if (!layer || !stem.starts_with('.')) {
      return {};
    }
    return find_row(architecture.layer_tensors, stem.substr(1), fmt::format("blk.{}.", *layer),
                    suffix);
  }
  return find_row(architecture.model_tensors, stem, "", suffix);
}

class Translator {
 public:
  Translator(const HfSizes& sizes, ModelFile& to) : sizes_(sizes), to_(to) {}

  Status add(const TensorInfo& from, const Found& found) {
    TensorInfo tensor = from;
    tensor.source = from.name;
    tensor.name = found.name;
    switch (found.row->change) {
      case HfChange::kNone:
        break;
      case HfChange::kAddOne:
        LS_CHECK(add_one(tensor));
        break;
      case HfChange::kTranspose:
        transpose(tensor);
        break;
      case HfChange::kNeoxQkv:
      case HfChange::kFalconQkv:
        LS_CHECK(regroup(tensor, found.row->change));
        break;
      case HfChange::kStackExperts:
      case HfChange::kStackHeads:
        stacks_[found.name].emplace(*found.number, from);
        return {};
    }
    // A header of odd length leaves elements at odd addresses, which kernels do not read.
    const std::size_t element = dtype_info(tensor.dtype).block_bytes;
    if (reinterpret_cast<std::uintptr_t>(tensor.data.data()) % element != 0) {
      std::memcpy(make(tensor, tensor.data.size()), from.data.data(), tensor.data.size());
    }
    to_.tensors.push_back(std::move(tensor));
    return {};
  }

  Status add_stacks() {
    for (const auto& [name, parts] : stacks_) {
      const TensorInfo& first = parts.begin()->second;
      for (const auto& [number, part] : parts) {
        if (parts.rbegin()->first != parts.size() - 1 || parts.size() > kMaxStacked ||
            part.shape != first.shape || part.dtype != first.dtype) {
          return invalid_input(fmt::format(
              "'{}': the tensors that make up '{}' do not fit together: {} are there, the last one "
              "is number {}, {} has shape {} and {} shape {}",
              to_.path, name, parts.size(), parts.rbegin()->first, quote_name(first.name),
              format::shape_text(first.shape), quote_name(part.name),
              format::shape_text(part.shape)));
        }
      }
      TensorInfo tensor = first;
      tensor.name = name;
      tensor.source = first.name + " …";
      tensor.shape.insert(tensor.shape.begin(), parts.size());
      tensor.n_elements = first.n_elements * parts.size();
      std::byte* out = make(tensor, first.data.size() * parts.size());
      for (const auto& [number, part] : parts) {
        std::memcpy(out + number * first.data.size(), part.data.data(), first.data.size());
      }
      to_.tensors.push_back(std::move(tensor));
    }
    return {};
  }

 private:
  /// New bytes for a tensor.
  std::byte* make(TensorInfo& tensor, std::size_t n) {
    auto bytes = std::make_shared<std::vector<std::byte>>(n);
    std::byte* data = bytes->data();
    tensor.data = std::span(data, n);
    to_.made.push_back(std::move(bytes));
    return data;
  }

  Status add_one(TensorInfo& tensor) {
    LS_TRY(std::vector<float> values, format::decode_values(tensor, 0, tensor.n_elements));
    for (float& v : values) {
      v += 1.0F;
    }
    tensor.dtype = DType::kF32;
    std::memcpy(make(tensor, values.size() * sizeof(float)), values.data(),
                values.size() * sizeof(float));
    return {};
  }

  void transpose(TensorInfo& tensor) {
    if (tensor.shape.size() != 2) {
      return;  // a bias
    }
    const std::span<const std::byte> from = tensor.data;
    const std::uint64_t rows = tensor.shape[0];
    const std::uint64_t cols = tensor.shape[1];
    const std::size_t size = dtype_info(tensor.dtype).block_bytes;
    std::byte* out = make(tensor, from.size());
    for (std::uint64_t r = 0; r < rows; ++r) {
      for (std::uint64_t c = 0; c < cols; ++c) {
        std::memcpy(out + (c * rows + r) * size, from.data() + (r * cols + c) * size, size);
      }
    }
    std::swap(tensor.shape[0], tensor.shape[1]);
  }

  /// Sorts the rows (or the elements of a bias) of a fused Q, K, V.
  Status regroup(TensorInfo& tensor, HfChange change) {
    const bool neox = change == HfChange::kNeoxQkv;
    const std::uint64_t groups = neox ? sizes_.heads : sizes_.kv_heads;
    const std::uint64_t queries = groups == 0 ? 0 : sizes_.heads / groups;
    const std::uint64_t heads = groups * (queries + 2);
    const std::uint64_t rows = tensor.shape[0];
    if (heads == 0 || rows % heads != 0) {
      return invalid_input(
          fmt::format("'{}': tensor {} has {} rows, which do not divide into {} heads", to_.path,
                      quote_name(tensor.source), rows, heads));
    }
    const std::span<const std::byte> from = tensor.data;
    const std::size_t head_bytes = from.size() / heads;
    std::byte* out = make(tensor, from.size());
    for (std::uint64_t g = 0; g < groups; ++g) {
      for (std::uint64_t i = 0; i < queries + 2; ++i) {
        const std::uint64_t to = i < queries    ? g * queries + i
                                 : i == queries ? groups * queries + g
                                                : groups * (queries + 1) + g;
        std::memcpy(out + to * head_bytes, from.data() + (g * (queries + 2) + i) * head_bytes,
                    head_bytes);
      }
    }
    return {};
  }

  HfSizes sizes_;
  ModelFile& to_;
  std::map<std::string, std::map<std::uint64_t, TensorInfo>> stacks_;
};

}  // namespace

Status translate_tensors(const ModelFile& from, const HfArchitecture& architecture,
                         const HfSizes& sizes, bool tied, ModelFile& to) {
  Translator translator(sizes, to);
  for (const TensorInfo& tensor : from.tensors) {
    const Found found = find_name(tensor.name, architecture);
    if (found.row == nullptr || (tied && found.name == "output.weight")) {
      to.tensors.push_back(tensor);
    } else {
      LS_CHECK(translator.add(tensor, found));
    }
  }
  return translator.add_stacks();
}

}  // namespace layerscope::arch
