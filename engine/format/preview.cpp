#include "engine/format/preview.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/format/gguf.h"
#include "engine/format/open_model.h"

namespace layerscope::format {
namespace {

/// Matrices decide: norms and biases stay in F32 in every quantised file.
bool is_matrix(const TensorInfo& tensor) {
  return std::count_if(tensor.shape.begin(), tensor.shape.end(),
                       [](std::uint64_t n) { return n > 1; }) >= 2;
}

std::string dominant_type(const ModelFile& file) {
  std::map<DType, std::uint64_t> elements;
  for (const TensorInfo& tensor : file.tensors) {
    if (is_matrix(tensor)) {
      elements[tensor.dtype] += tensor.n_elements;
    }
  }
  if (elements.empty()) {
    return "";
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  std::string text(dtype_info(most->first).name);
  return elements.size() > 1 ? text + " mixed" : text;
}

void add_undecodable(const ModelFile& file, FilePreview& preview) {
  for (const TensorInfo& tensor : file.tensors) {
    const DTypeInfo& type = dtype_info(tensor.dtype);
    auto& list = preview.undecodable;
    if (!type.decodable && std::find(list.begin(), list.end(), type.name) == list.end()) {
      list.emplace_back(type.name);
    }
  }
}

}  // namespace

Result<FilePreview> preview_model(const std::string& path) {
  LS_TRY(const std::shared_ptr<ModelFile> file, open_model(path, GgufOptions{.skip_arrays = true}));
  FilePreview preview;
  preview.container = file->container;
  preview.file_bytes = file->file_bytes;
  preview.n_tensors = file->tensors.size();
  const bool folder = !file->folder.empty();
  LS_TRY(const auto architecture,
         file->get_string(folder ? "config.model_type" : "general.architecture"));
  LS_TRY(const auto name, file->get_string(folder ? "config._name_or_path" : "general.name"));
  preview.architecture = architecture.value_or("");
  preview.name = name.value_or("");
  LS_TRY(const auto context, file->get_int(folder ? "config.max_position_embeddings"
                                                  : preview.architecture + ".context_length"));
  LS_TRY(const auto layers, file->get_int(folder ? "config.num_hidden_layers"
                                                 : preview.architecture + ".block_count"));
  preview.context_length = context.value_or(0);
  preview.n_layers = layers.value_or(0);
  for (const TensorInfo& tensor : file->tensors) {
    preview.n_parameters += tensor.n_elements;
  }
  preview.quantisation = dominant_type(*file);
  add_undecodable(*file, preview);
  return preview;
}

}  // namespace layerscope::format
