#include "gui/view/tensor_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

#include "gui/view/tensor_source.h"
#include "gui/view/text.h"

namespace layerscope::gui::view {
namespace {

using Kind = TreeRow::Kind;

struct Entry {
  std::string label;
  std::string key;
  std::size_t index = 0;
};

std::string shape_of(const capture::FullTensor& tensor) {
  std::vector<std::uint64_t> shape(tensor.shape.begin(), tensor.shape.end());
  return format::shape_text(shape);
}

/// "blk.3.attn_q.weight" → "attn_q.weight": the group says the rest.
std::string short_name(const std::string& name, int layer) {
  const std::string number = fmt::format(".{}.", layer);
  const std::size_t at = layer < 0 ? std::string::npos : name.find(number);
  return at == std::string::npos ? name : name.substr(at + number.size());
}

class Builder {
 public:
  Builder(const std::set<std::string>& open, bool searching) : open_(open), searching_(searching) {}

  void group(int depth, std::string label, const std::string& key, std::size_t inside,
             const std::function<void()>& contents) {
    if (inside == 0) {
      return;
    }
    const bool open = searching_ || open_.contains(key);
    rows.push_back({Kind::kGroup, depth, std::move(label), key, 0, inside, open});
    if (open) {
      contents();
    }
  }
  void leaves(int depth, Kind kind, const std::vector<Entry>& entries) {
    for (const Entry& entry : entries) {
      rows.push_back({kind, depth, entry.label, entry.key, entry.index, 0, false});
    }
  }

  std::vector<TreeRow> rows;

 private:
  const std::set<std::string>& open_;
  bool searching_;
};

using Layers = std::map<int, std::vector<Entry>>;

/// Layer −1 first, then a group for each layer.
void add_layers(Builder& tree, Kind kind, const char* prefix, const Layers& layers) {
  for (const auto& [layer, entries] : layers) {
    if (layer < 0) {
      tree.leaves(1, kind, entries);
      continue;
    }
    tree.group(1, fmt::format("layer {}", layer), fmt::format("{}/{}", prefix, layer),
               entries.size(), [&tree, kind, &list = entries] { tree.leaves(2, kind, list); });
  }
}

std::size_t total(const Layers& layers) {
  std::size_t n = 0;
  for (const auto& [layer, entries] : layers) {
    n += entries.size();
  }
  return n;
}

}  // namespace

int layer_of_name(std::string_view name) {
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos;
       dot = name.find('.', dot + 1)) {
    const char* begin = name.data() + dot + 1;
    const char* end = name.data() + name.size();
    int layer = 0;
    const auto [after, failed] = std::from_chars(begin, end, layer);
    if (failed == std::errc() && after != end && *after == '.' && layer >= 0) {
      return layer;
    }
  }
  return -1;
}

std::vector<TreeRow> tensor_tree(const format::ModelFile* file, const session::TokenDetail* taps,
                                 const std::set<std::string>& open, std::string_view search) {
  Builder tree(open, !search.empty());
  Layers weights;
  for (std::size_t i = 0; file != nullptr && i < file->tensors.size(); ++i) {
    const format::TensorInfo& t = file->tensors[i];
    if (contains_ci(t.name, search) || contains_ci(dtype_info(t.dtype).name, search) ||
        contains_ci(format::shape_text(t.shape), search)) {
      const int layer = layer_of_name(t.name);
      weights[layer].push_back({short_name(t.name, layer), t.name, i});
    }
  }
  tree.group(0, "weights of the file", "weights", total(weights),
             [&] { add_layers(tree, Kind::kWeight, "weights", weights); });
  Layers captured;
  for (std::size_t i = 0; taps != nullptr && i < taps->pass.tensors.size(); ++i) {
    const capture::FullTensor& t = taps->pass.tensors[i];
    const std::string name(capture::tap_name(t.tap));
    const std::string whole = t.layer < 0 ? name : fmt::format("layer {} {}", t.layer, name);
    if (contains_ci(whole, search) || contains_ci(shape_of(t), search)) {
      captured[t.layer].push_back({name, tap_key(t.tap, t.layer), i});
    }
  }
  if (taps != nullptr) {
    tree.group(0, fmt::format("captured at token {}", taps->position), "taps", total(captured),
               [&] { add_layers(tree, Kind::kTap, "taps", captured); });
  }
  return std::move(tree.rows);
}

}  // namespace layerscope::gui::view
