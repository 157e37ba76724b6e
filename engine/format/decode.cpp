// decode_values: any range of a tensor as float32, for the inspector.
#include <fmt/format.h>

#include <algorithm>

#include "engine/format/byte_reader.h"
#include "engine/format/model_file.h"
#include "kernels/ops.h"

namespace layerscope::format {

Result<std::vector<float>> decode_values(const TensorInfo& tensor, std::uint64_t first,
                                         std::uint64_t count) {
  const DTypeInfo& type = dtype_info(tensor.dtype);
  if (!type.decodable) {
    return invalid_input(fmt::format("tensor {} has type {}, which cannot be decoded yet",
                                     quote_name(tensor.name), type.name));
  }
  if (first > tensor.n_elements || count > tensor.n_elements - first) {
    return invalid_input(
        fmt::format("tensor {} has {} elements: {} elements from {} are out of range",
                    quote_name(tensor.name), tensor.n_elements, count, first));
  }
  std::vector<float> values;
  if (count == 0) {
    return values;
  }
  const std::uint64_t first_block = first / type.block;
  const std::uint64_t end_block = (first + count - 1) / type.block + 1;
  if (tensor.data.size() / type.block_bytes < end_block) {
    return invalid_input(fmt::format("tensor {} has only {} bytes of data", quote_name(tensor.name),
                                     tensor.data.size()));
  }
  values.resize((end_block - first_block) * type.block);
  kernels::dequantize_row(tensor.dtype, tensor.data.data() + first_block * type.block_bytes,
                          values.size(), values.data());
  const auto skipped = static_cast<std::ptrdiff_t>(first - first_block * type.block);
  values.erase(values.begin(), values.begin() + skipped);
  values.resize(count);
  return values;
}

}  // namespace layerscope::format
