// Importer of transformers' model_addition_debugger_context: CLASS_debug_tree_FULL_TENSORS.json, a
// tree of modules with inputs and outputs. With use_repr=False each tensor is a safetensors file
// beside it; with use_repr=True (the default) it is the text that PyTorch prints, the first and
// last three values of each dimension when there are more than 1,000 elements.
//
// Tensors get the module's path and where they stand: "model.layers.0.mlp.down_proj.inputs".
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/compare/importers.h"

namespace layerscope::compare {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kSummarised = 1000;  ///< PyTorch shortens tensors beyond
constexpr int kShown = 3;

/// "torch.Size([1, 11, 64])"
bool read_shape(const std::string& text, std::vector<std::int64_t>& shape) {
  const char* at = text.data();
  const char* end = at + text.size();
  while (at != end) {
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    std::int64_t d = 0;
    const auto read = std::from_chars(at, end, d);
    if (read.ec != std::errc()) {
      return false;
    }
    shape.push_back(d);
    at = read.ptr;
  }
  return true;
}

/// Numbers between the brackets of "tensor([[ 1.2e+00, …]])".
std::vector<float> read_numbers(const std::string& text) {
  std::vector<float> values;
  const std::size_t open = text.find('[');
  const std::size_t close = text.rfind(']');
  for (std::size_t i = open; i < close && close != std::string::npos;) {
    const char c = text[i];
    const bool starts = c == '-' || c == 'n' || c == 'i' || (c >= '0' && c <= '9');
    if (!starts) {
      ++i;
      continue;
    }
    char* rest = nullptr;
    values.push_back(std::strtof(text.c_str() + i, &rest));
    i = std::max(i + 1, static_cast<std::size_t>(rest - text.c_str()));
  }
  return values;
}

class TreeReader {
 public:
  TreeReader(const std::filesystem::path& folder, Trace& trace) : folder_(folder), trace_(trace) {}

  Status node(const ordered_json& entry, int depth) {
    constexpr int kDeepest = 64;
    if (depth > kDeepest || !entry.is_object()) {
      return invalid_input("the tree has a node that is no object, or is nested too deeply");
    }
    std::string path;
    if (entry.contains("module_path") && entry["module_path"].is_string()) {
      path = entry["module_path"].get<std::string>();
    }
    const std::size_t dot = path.find('.');  // the class's name
    const std::string module = dot == std::string::npos ? std::string() : path.substr(dot + 1);
    if (entry.contains("inputs")) {
      LS_CHECK(value(entry["inputs"], module + ".inputs", depth));
    }
    if (entry.contains("children") && entry["children"].is_array()) {
      for (const ordered_json& child : entry["children"]) {
        LS_CHECK(node(child, depth + 1));
      }
    }
    if (entry.contains("outputs")) {
      LS_CHECK(value(entry["outputs"], module + ".outputs", depth));
    }
    return {};
  }

 private:
  /// Lists and dictionaries hold tensors; only a module's first tensor keeps the plain name.
  Status value(const ordered_json& entry, const std::string& name, int depth) {
    constexpr int kDeepest = 96;
    if (depth > kDeepest) {
      return invalid_input("the tree is nested too deeply");
    }
    if (entry.is_object() && entry.contains("shape") && entry.contains("dtype")) {
      return tensor(entry, name);
    }
    if (entry.is_array() || entry.is_object()) {
      for (const auto& [key, item] : entry.items()) {
        const bool plain = key == "args" || key == "kwargs" || key == "0" || key == "hidden_states";
        LS_CHECK(value(item, plain ? name : fmt::format("{}.{}", name, key), depth + 1));
      }
    }
    return {};
  }

  Status tensor(const ordered_json& entry, const std::string& name) {
    TraceTensor t;
    t.name = name;
    const auto text = [&](const char* key) {
      const auto found = entry.find(key);
      return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    if (!read_shape(text("shape"), t.shape)) {
      return invalid_input(fmt::format("'{}' has a shape that cannot be read", name));
    }
    LS_TRY(const std::uint64_t n, count_elements(t.shape));
    t.dtype = text("dtype");
    const auto found = entry.find("value");
    if (found == entry.end()) {
      return invalid_input(fmt::format(
          "'{}' has no values: give the _FULL_TENSORS.json, not the _SUMMARY.json", name));
    }
    if (found->is_string()) {
      LS_CHECK(from_file(found->get<std::string>(), t));
    } else {
      LS_CHECK(from_text(*found, n, t));
    }
    if (trace_.ids.empty() &&
        (name.ends_with("input_ids") || name == "model.embed_tokens.inputs")) {
      take_ids(t);
      return {};
    }
    trace_.tensors.push_back(std::move(t));
    return {};
  }

  Status from_file(const std::string& relative, TraceTensor& t) {
    const std::filesystem::path name = std::filesystem::path(relative).filename();
    LS_TRY(MappedFile mapped, MappedFile::open(folder_ / name));
    const auto file = std::make_shared<const MappedFile>(std::move(mapped));
    LS_TRY(const format::Safetensors content,
           format::parse_safetensors(file->bytes(), name.string()));
    const format::SafetensorsTensor* data = content.find("data");
    if (data == nullptr) {
      return invalid_input(fmt::format("'{}' has no tensor \"data\"", name.string()));
    }
    t.shape.assign(data->shape.begin(), data->shape.end());
    t.dtype = data->dtype;
    t.stored = *data;
    trace_.files.push_back(file);
    return {};
  }

  static Status from_text(const ordered_json& lines, std::uint64_t n, TraceTensor& t) {
    std::string text;
    if (lines.is_array()) {
      for (const ordered_json& line : lines) {
        text += line.is_string() ? line.get<std::string>() + "\n" : std::string();
      }
    }
    t.values = read_numbers(text);
    std::vector<std::uint64_t> shown;
    if (n > kSummarised) {
      LS_TRY(shown, shown_indices(t.shape, kShown));
    }
    const std::size_t expected = n > kSummarised ? shown.size() : n;
    if (t.values.size() != expected) {
      return invalid_input(fmt::format("'{}' shows {} values where {} are expected", t.name,
                                       t.values.size(), expected));
    }
    t.known = std::move(shown);
    // Four decimals in scientific notation: relative, so the largest value decides.
    float largest = 0.0F;
    for (const float v : t.values) {
      largest = std::isfinite(v) ? std::max(largest, std::fabs(v)) : largest;
    }
    t.printed = 5e-5 * static_cast<double>(largest);
    return {};
  }

  void take_ids(const TraceTensor& t) {
    if (t.stored) {
      const auto values = format::safetensors_integers(*t.stored);
      for (const std::int64_t id : values.ok() ? values.value() : std::vector<std::int64_t>{}) {
        trace_.ids.push_back(static_cast<std::int32_t>(id));
      }
    } else if (t.known.empty()) {
      for (const float id : t.values) {
        trace_.ids.push_back(static_cast<std::int32_t>(id));
      }
    }
  }

  const std::filesystem::path& folder_;
  Trace& trace_;
};

/// The tree in a folder; empty when there is none.
std::filesystem::path find_tree(const std::filesystem::path& folder) {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
    if (entry.path().filename().string().ends_with("_debug_tree_FULL_TENSORS.json")) {
      return entry.path();
    }
  }
  return {};
}

}  // namespace

bool accepts_transformers(const Source& source) {
  return source.folder ? !find_tree(source.path).empty()
                       : source.head.find("\"module_path\"") != std::string::npos;
}

Result<Trace> import_transformers(const Source& source) {
  const std::filesystem::path path = source.folder ? find_tree(source.path) : source.path;
  LS_TRY(const std::string text, read_text(path));
  const ordered_json tree = ordered_json::parse(text, nullptr, false);
  if (tree.is_discarded()) {
    return trace_error(path, "is not whole JSON: it is cut short or damaged");
  }
  Trace trace;
  const std::filesystem::path folder = path.parent_path();
  if (const Status status = TreeReader(folder, trace).node(tree, 0); !status.ok()) {
    return trace_error(path, status.error().message);
  }
  if (trace.tensors.empty()) {
    return trace_error(path, "holds no tensors");
  }
  return trace;
}

}  // namespace layerscope::compare
