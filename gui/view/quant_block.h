// Quantised blocks as the file stores them: scale, minimum and codes around one value, for the
// inspector. Pure.
//
// Layouts follow the GGUF specification's block types; each value is scale · code + minimum.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/format/model_file.h"

namespace layerscope::gui::view {

struct QuantBlock {
  std::uint64_t block = 0;   ///< which block of the tensor
  std::uint64_t offset = 0;  ///< bytes from the start of the file
  int bytes = 0;             ///< size of the block
  int place = 0;             ///< the value's place in it
  int group = 0;             ///< the sub-block with a scale of its own; 0 where there is one scale
  int group_first = 0;       ///< place of the sub-block's first value
  float block_scale = 0.0F;  ///< d
  float block_min = 0.0F;    ///< dmin or m; 0 where the type has none
  float scale = 0.0F;        ///< what the code is multiplied by
  float minimum = 0.0F;      ///< what is added then
  int code = 0;              ///< offset already taken off
  bool has_minimum = false;
  std::vector<int> codes;  ///< of the value's sub-block
  [[nodiscard]] float value() const { return scale * static_cast<float>(code) + minimum; }
};

/// False: the type has no blocks, or one that is not described here.
bool has_quant_block(DType dtype);

/// The block around value `flat` (< n_elements) of a tensor of such a type. Nothing when the
/// tensor's bytes end before it.
std::optional<QuantBlock> quant_block(const format::TensorInfo& tensor, std::uint64_t flat);

}  // namespace layerscope::gui::view
