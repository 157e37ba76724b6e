// Tensor tree: the file's tensors by layer and the captured taps of one token, as rows of a list
// with groups that open and close. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/format/model_file.h"
#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

struct TreeRow {
  enum class Kind : std::uint8_t { kGroup, kWeight, kTap };
  Kind kind = Kind::kGroup;
  int depth = 0;
  std::string label;       ///< "layer 3", "attn_q.weight"
  std::string key;         ///< of the group, or of the tensor (TensorSource::key)
  std::size_t index = 0;   ///< among the file's tensors or the token's
  std::size_t inside = 0;  ///< group: tensors in it
  bool open = false;       ///< group
};

/// Rows to list. Groups whose key is in `open` show what they hold; with a search every match is
/// shown, with its groups. A search looks at names, types and shapes. Either source may be null.
std::vector<TreeRow> tensor_tree(const format::ModelFile* file, const session::TokenDetail* taps,
                                 const std::set<std::string>& open, std::string_view search);

/// The layer that a tensor's name speaks of ("blk.3.attn_q.weight" → 3); −1 when none.
int layer_of_name(std::string_view name);

}  // namespace layerscope::gui::view
