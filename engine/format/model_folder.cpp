#include "engine/format/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/format/byte_reader.h"
#include "engine/format/safetensors.h"

namespace layerscope::format {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::uint64_t kMaxConfigBytes = 16U << 20U;
constexpr std::uint64_t kMaxIndexBytes = 256U << 20U;
constexpr std::size_t kMaxShards = 1000;
constexpr int kMaxDepth = 8;
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Result<ordered_json> read_json(const fs::path& path, std::uint64_t max_bytes) {
  LS_TRY(const MappedFile mapping, MappedFile::open(path));
  const auto bytes = mapping.bytes();
  if (bytes.size() > max_bytes) {
    return invalid_input(fmt::format("'{}' has {} bytes, more than the {} that are accepted",
                                     path.string(), bytes.size(), max_bytes));
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  ordered_json object =
      ordered_json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return invalid_input(fmt::format(
        "'{}' is not a JSON object; it may have been cut short, download it again", path.string()));
  }
  return object;
}

/// A list of one type of element as metadata; other lists as their JSON text.
MetaEntry list_entry(const std::string& key, const ordered_json& list) {
  const auto all = [&](auto&& is) {
    return !list.empty() && std::all_of(list.begin(), list.end(), is);
  };
  if (all([](const ordered_json& v) { return v.is_boolean(); })) {
    return {key, "array of bool", list.get<std::vector<bool>>()};
  }
  if (all([](const ordered_json& v) { return v.is_number_integer() && !v.is_number_unsigned(); }) ||
      all([](const ordered_json& v) {
        return v.is_number_unsigned() && v.get<std::uint64_t>() <= INT64_MAX;
      })) {
    return {key, "array of integer", list.get<std::vector<std::int64_t>>()};
  }
  if (all([](const ordered_json& v) { return v.is_number(); })) {
    return {key, "array of number", list.get<std::vector<double>>()};
  }
  if (all([](const ordered_json& v) { return v.is_string(); })) {
    return {key, "array of string", list.get<std::vector<std::string>>()};
  }
  return {key, "json", list.dump(-1, ' ', false, ordered_json::error_handler_t::replace)};
}

void flatten(const std::string& key, const ordered_json& value, int depth,
             std::vector<MetaEntry>& out) {
  if (value.is_object() && depth < kMaxDepth) {
    for (const auto& [name, inner] : value.items()) {
      flatten(fmt::format("{}.{}", key, name), inner, depth + 1, out);
    }
  } else if (value.is_array()) {
    out.push_back(list_entry(key, value));
  } else if (value.is_boolean()) {
    out.push_back({key, "bool", value.get<bool>()});
  } else if (value.is_number_unsigned()) {
    out.push_back({key, "integer", value.get<std::uint64_t>()});
  } else if (value.is_number_integer()) {
    out.push_back({key, "integer", value.get<std::int64_t>()});
  } else if (value.is_number()) {
    out.push_back({key, "number", value.get<double>()});
  } else if (value.is_string()) {
    out.push_back({key, "string", value.get<std::string>()});
  } else if (!value.is_null()) {
    out.push_back(
        {key, "json", value.dump(-1, ' ', false, ordered_json::error_handler_t::replace)});
  }
}

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr std::array<DTypeName, 17> kDTypes{{{"F64", DType::kF64},
                                             {"F32", DType::kF32},
                                             {"F16", DType::kF16},
                                             {"BF16", DType::kBF16},
                                             {"I64", DType::kI64},
                                             {"I32", DType::kI32},
                                             {"I16", DType::kI16},
                                             {"I8", DType::kI8},
                                             {"U64", DType::kU64},
                                             {"U32", DType::kU32},
                                             {"U16", DType::kU16},
                                             {"U8", DType::kU8},
                                             {"BOOL", DType::kBool},
                                             {"F8_E4M3", DType::kF8E4M3},
                                             {"F8_E5M2", DType::kF8E5M2},
                                             {"F8_E8M0", DType::kF8E8M0},
                                             {"C64", DType::kC64}}};

/// Appends the tensors of one file; returns their names.
Result<std::set<std::string>> add_tensors(MappedFile mapping, const fs::path& path,
                                          ModelFile& file) {
  LS_TRY(const Safetensors parsed, parse_safetensors(mapping.bytes(), path.string()));
  std::set<std::string> names;
  std::uint64_t first = mapping.bytes().size();
  for (const SafetensorsTensor& from : parsed.tensors) {
    const auto* type = std::find_if(kDTypes.begin(), kDTypes.end(),
                                    [&](const DTypeName& each) { return each.name == from.dtype; });
    if (type == kDTypes.end()) {
      return invalid_input(
          fmt::format("'{}': tensor {} has type '{}', which this program does not "
                      "know",
                      path.string(), quote_name(from.name), from.dtype));
    }
    TensorInfo tensor;
    tensor.name = from.name;
    tensor.dtype = type->dtype;
    tensor.shape = from.shape.empty() ? std::vector<std::uint64_t>{1} : from.shape;
    tensor.n_elements = from.n_elements;
    tensor.offset = from.offset;
    tensor.data = from.data;
    first = std::min(first, from.offset);
    names.insert(from.name);
    file.tensors.push_back(std::move(tensor));
  }
  file.file_bytes += mapping.bytes().size();
  file.header_bytes += first;
  if (file.container.empty()) {
    for (const auto& [key, value] : parsed.metadata) {
      file.metadata.push_back({key, "string", value});
    }
  }
  auto keep = std::make_shared<ModelFile>();
  keep->mapping = std::move(mapping);  // the mapped address, and so every view, stays the same
  file.keeps.push_back(std::move(keep));
  return names;
}

/// Which tensors the index expects in which file.
Result<std::map<std::string, std::set<std::string>>> read_index(const fs::path& path) {
  LS_TRY(const ordered_json index, read_json(path, kMaxIndexBytes));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return invalid_input(fmt::format(
        "'{}' has no 'weight_map' that says which file holds which tensor", path.string()));
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    const bool plain = name.ends_with(".safetensors") && name.size() <= 255 &&
                       name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
    if (!plain) {
      return invalid_input(fmt::format(
          "'{}': tensor {} is said to be in {}, which is not the name of a safetensors "
          "file in this folder",
          path.string(), quote_name(tensor),
          quote_name(shard.dump(-1, ' ', false, ordered_json::error_handler_t::replace))));
    }
    shards[name].insert(tensor);
    if (shards.size() > kMaxShards) {
      return invalid_input(fmt::format("'{}' names more than {} files", path.string(), kMaxShards));
    }
  }
  return shards;
}

Status add_shards(const fs::path& folder, ModelFile& file) {
  const fs::path index = folder / kIndex;
  LS_TRY(const auto shards, read_index(index));
  std::size_t number = 0;
  for (const auto& [name, expected] : shards) {
    const fs::path path = folder / name;
    ++number;
    if (!is_there(path)) {
      return invalid_input(
          fmt::format("'{}' is missing: {} names it as one of {} files of the model (tensor {} and "
                      "{} others); download it",
                      path.string(), kIndex, shards.size(), quote_name(*expected.begin()),
                      expected.size() - 1));
    }
    LS_TRY(MappedFile mapping, MappedFile::open(path));
    LS_TRY(const std::set<std::string> found, add_tensors(std::move(mapping), path, file));
    for (const std::string& tensor : expected) {
      if (!found.contains(tensor)) {
        return invalid_input(fmt::format("'{}' does not hold tensor {}, which {} says is there",
                                         path.string(), quote_name(tensor), kIndex));
      }
    }
    for (const std::string& tensor : found) {
      if (!expected.contains(tensor)) {
        return invalid_input(
            fmt::format("'{}' holds tensor {}, which {} does not name there: the files are not of "
                        "one model",
                        path.string(), quote_name(tensor), kIndex));
      }
    }
  }
  file.container = fmt::format("safetensors folder, {} files", number);
  return {};
}

/// model.safetensors, or the only safetensors file there is.
Result<fs::path> single_file(const fs::path& folder) {
  if (is_there(folder / "model.safetensors")) {
    return folder / "model.safetensors";
  }
  std::vector<fs::path> found;
  bool pytorch = false;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".safetensors") {
      found.push_back(entry.path());
    }
    pytorch = pytorch || extension == ".bin" || extension == ".pt" || extension == ".pth";
  }
  if (found.size() == 1) {
    return found.front();
  }
  const std::string where = folder.string();
  if (!found.empty()) {
    return invalid_input(
        fmt::format("'{}' holds {} safetensors files but no {} that says how they belong together",
                    where, found.size(), kIndex));
  }
  return invalid_input(
      pytorch ? fmt::format("'{}' holds PyTorch weights only; convert them to safetensors", where)
              : fmt::format("'{}' has a config.json but no safetensors file; download the weights",
                            where));
}

}  // namespace

std::optional<std::string> model_folder_of(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return is_there(fs::path(path) / "config.json") ? std::optional(path) : std::nullopt;
  }
  const fs::path file(path);
  const std::string name = file.filename().string();
  constexpr std::array<std::string_view, 12> kNames{"config.json",
                                                    "generation_config.json",
                                                    "tokenizer.json",
                                                    "tokenizer_config.json",
                                                    "vocab.json",
                                                    "merges.txt",
                                                    "special_tokens_map.json",
                                                    "added_tokens.json",
                                                    "chat_template.jinja",
                                                    "tokenizer.model",
                                                    "chat_template.json",
                                                    kIndex};
  const bool known = std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
                     file.extension() == ".safetensors";
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  return known && is_there(file) && is_there(folder / "config.json")
             ? std::optional(folder.string())
             : std::nullopt;
}

Result<std::shared_ptr<ModelFile>> read_model_folder(const std::string& folder) {
  auto file = std::make_shared<ModelFile>();
  file->path = folder;
  file->folder = folder;
  file->container = "safetensors folder";
  const fs::path at(folder);
  LS_TRY(const ordered_json config, read_json(at / "config.json", kMaxConfigBytes));
  flatten("config", config, 0, file->metadata);
  if (is_there(at / "generation_config.json")) {
    LS_TRY(const ordered_json generation,
           read_json(at / "generation_config.json", kMaxConfigBytes));
    flatten("generation_config", generation, 0, file->metadata);
  }
  if (is_there(at / kIndex)) {
    LS_CHECK(add_shards(at, *file));
  } else {
    LS_TRY(const fs::path path, single_file(at));
    LS_TRY(MappedFile mapping, MappedFile::open(path));
    LS_TRY([[maybe_unused]] const auto names, add_tensors(std::move(mapping), path, *file));
  }
  file->index();
  return file;
}

Result<std::shared_ptr<ModelFile>> read_safetensors_file(MappedFile mapping,
                                                         const std::string& path) {
  auto file = std::make_shared<ModelFile>();
  file->path = path;
  LS_TRY([[maybe_unused]] const auto names, add_tensors(std::move(mapping), path, *file));
  file->container = "safetensors";
  file->index();
  return file;
}

}  // namespace layerscope::format
