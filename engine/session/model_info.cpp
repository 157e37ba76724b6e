#include "engine/session/model_info.h"

#include <algorithm>
#include <filesystem>

#include "engine/diagnose/fault.h"
#include "engine/format/preview.h"

namespace layerscope::session {

std::shared_ptr<const ModelInfo> make_model_info(const model::Model& model) {
  auto info = std::make_shared<ModelInfo>();
  const model::DecoderSpec& spec = model.spec;
  info->path = model.file->path;
  info->name = model.name();
  info->architecture = spec.architecture;
  info->quantization = model.quantization();
  info->n_params = model.n_params();
  info->weight_bytes = model.weight_bytes();
  info->n_layers = spec.n_layers;
  info->n_heads = spec.n_heads;
  info->n_kv_heads = spec.n_kv_heads;
  info->head_dim = spec.head_dim;
  info->hidden = spec.hidden;
  info->ffn = spec.ffn;
  info->vocab_rows = spec.vocab_rows;
  info->n_tokens = model.tokenizer->n_tokens();
  const std::vector<bool> usable = model.usable_rows();
  info->n_padded = static_cast<int>(std::count(usable.begin(), usable.end(), false));
  info->train_context = spec.train_context;
  info->file = model.file;
  info->tokenizer = model.tokenizer;
  for (const diagnose::Fault& fault : diagnose::faults()) {
    const std::string example = diagnose::fault_example(fault, model);
    const auto made = diagnose::parse_faults(std::span(&example, 1), model);
    info->faults.push_back({fault.name, diagnose::fault_usage(fault), fault.title, fault.story,
                            example, made.ok() ? std::string() : made.error().message});
  }
  return info;
}

Result<std::shared_ptr<const ModelInfo>> list_model_file(const std::string& path) {
  LS_TRY(const format::FilePreview preview, format::preview_model(path));
  auto info = std::make_shared<ModelInfo>();
  LS_TRY(info->file, format::read_model_file(path));
  info->path = path;
  info->name = preview.name.empty() ? std::filesystem::path(path).stem().string() : preview.name;
  info->architecture = preview.architecture;
  info->quantization = preview.quantisation;
  info->n_params = preview.n_parameters;
  info->weight_bytes = preview.file_bytes;
  info->n_layers = static_cast<int>(preview.n_layers);
  info->train_context = static_cast<int>(preview.context_length);
  return std::shared_ptr<const ModelInfo>(std::move(info));
}

}  // namespace layerscope::session
