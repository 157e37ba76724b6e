#include "engine/model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "engine/arch/hf_folder.h"
#include "engine/arch/registry.h"
#include "engine/base/log.h"

namespace layerscope::model {
namespace {

/// Reads one byte of every page of the tensors, so that the operating system brings the files in.
Status touch_pages(const format::ModelFile& file, const std::stop_token& stop,
                   const std::function<void(double)>& progress) {
  constexpr std::size_t kPage = 4096;
  constexpr std::size_t kChunk = 4U
                                 << 20U;  // at 100 MB/s a chunk takes 40 ms: cancelling stays quick
  std::size_t total = 1;
  for (const format::TensorInfo& tensor : file.tensors) {
    total += tensor.data.size();
  }
  volatile std::byte sink{};
  std::size_t done = 0;
  for (const format::TensorInfo& tensor : file.tensors) {
    for (std::size_t begin = 0; begin < tensor.data.size(); begin += kChunk) {
      if (stop.stop_requested()) {
        return cancelled_error();
      }
      const std::size_t end = std::min(tensor.data.size(), begin + kChunk);
      for (std::size_t i = begin; i < end; i += kPage) {
        sink = tensor.data[i];
      }
      done += end - begin;
      if (progress) {
        progress(static_cast<double>(done) / static_cast<double>(total));
      }
    }
  }
  static_cast<void>(sink);
  if (progress) {
    progress(1.0);
  }
  return {};
}

}  // namespace

std::string Model::name() const {
  const auto named = file->get_string("general.name");
  if (named.ok() && named.value() && !named.value()->empty()) {
    return *named.value();
  }
  return std::filesystem::path(file->path).stem().string();
}

std::string Model::quantization() const {
  std::map<std::string_view, std::uint64_t> bytes;
  for (const auto& tensor : file->tensors) {
    if (tensor.shape.size() >= 2) {
      bytes[dtype_info(tensor.dtype).name] += tensor.data.size();
    }
  }
  std::vector<std::pair<std::uint64_t, std::string_view>> order;
  order.reserve(bytes.size());
  for (const auto& [type, count] : bytes) {
    order.emplace_back(count, type);
  }
  std::sort(order.rbegin(), order.rend());
  std::string text;
  for (const auto& [count, type] : order) {
    text += text.empty() ? std::string(type) : fmt::format(" + {}", type);
  }
  return text;
}

std::uint64_t Model::n_params() const {
  std::uint64_t n = 0;
  for (const auto& tensor : file->tensors) {
    n += tensor.n_elements;
  }
  return n;
}

std::uint64_t Model::weight_bytes() const {
  std::uint64_t n = 0;
  for (const auto& tensor : file->tensors) {
    n += tensor.data.size();
  }
  return n;
}

std::vector<bool> Model::usable_rows() const {
  std::vector<bool> usable(static_cast<std::size_t>(spec.vocab_rows));
  for (std::size_t row = 0; row < usable.size(); ++row) {
    usable[row] = tokenizer->is_usable(static_cast<std::int32_t>(row));
  }
  return usable;
}

Result<std::shared_ptr<const Model>> load_model(const std::string& path, std::stop_token stop,
                                                const std::function<void(double)>& progress) {
  auto model = std::make_shared<Model>();
  LS_TRY(const std::shared_ptr<const format::ModelFile> file, format::read_model_file(path));
  LS_TRY(model->file, arch::translate_hf(file));
  if (stop.stop_requested()) {
    return cancelled_error();
  }
  LS_TRY(model->spec, arch::read_spec(*model->file));
  LS_TRY(model->weights, bind_weights(*model->file, model->spec));
  LS_TRY(model->tokenizer, tokenizer::Tokenizer::from_model(*model->file, stop));
  if (model->tokenizer->n_tokens() > model->spec.vocab_rows) {
    return invalid_input(
        fmt::format("{}: the tokenizer has {} tokens but the embedding only {} rows", path,
                    model->tokenizer->n_tokens(), model->spec.vocab_rows));
  }
  for (const std::string& name : model->weights.unread) {
    spdlog::warn("{}: tensor '{}' is not used by architecture '{}'", path, name,
                 model->spec.architecture);
  }
  LS_CHECK(touch_pages(*model->file, stop, progress));
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace layerscope::model
