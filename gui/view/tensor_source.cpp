#include "gui/view/tensor_source.h"

#include <fmt/format.h>

#include <utility>

namespace layerscope::gui::view {

void TensorSource::set_shape(std::vector<std::uint64_t> dimensions) {
  shape = std::move(dimensions);
  count = shape.empty() ? 0 : 1;
  for (const std::uint64_t dimension : shape) {
    count *= dimension;  // checked by whoever made the tensor
  }
  cols = shape.empty() ? 0 : shape.back();
  rows = cols > 0 ? count / cols : 0;
}

TensorSource::Ptr TensorSource::weight(std::shared_ptr<const format::ModelFile> file,
                                       const format::TensorInfo& tensor) {
  auto source = std::make_shared<TensorSource>();
  source->file_ = std::move(file);
  source->info_ = &tensor;
  source->key = tensor.name;
  source->name = tensor.name;
  source->type = dtype_info(tensor.dtype).name;
  source->set_shape(tensor.shape.empty() ? std::vector<std::uint64_t>{tensor.n_elements}
                                         : tensor.shape);
  return source;
}

TensorSource::Ptr TensorSource::tap(std::shared_ptr<const session::TokenDetail> detail,
                                    std::size_t index) {
  const capture::FullTensor& tensor = detail->pass.tensors[index];
  auto source = std::make_shared<TensorSource>();
  source->values_ = &tensor.values;
  source->key = tap_key(tensor.tap, tensor.layer);
  source->name = tensor.layer < 0
                     ? std::string(capture::tap_name(tensor.tap))
                     : fmt::format("layer {} · {}", tensor.layer, capture::tap_name(tensor.tap));
  source->type = "captured F32";
  std::vector<std::uint64_t> dimensions;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    // One token: its own dimension says nothing.
    if (tensor.shape[i] != 1 || i + 1 == tensor.shape.size()) {
      dimensions.push_back(static_cast<std::uint64_t>(tensor.shape[i]));
    }
  }
  source->set_shape(std::move(dimensions));
  source->detail_ = std::move(detail);
  return source;
}

Result<TensorSource::Ptr> TensorSource::difference(Ptr a, Ptr b) {
  if (a->rows != b->rows || a->cols != b->cols) {
    return usage_error(
        fmt::format("{} is {} and {} is {}: only tensors of one shape have a "
                    "difference",
                    a->name, format::shape_text(a->shape), b->name, format::shape_text(b->shape)));
  }
  auto source = std::make_shared<TensorSource>();
  source->key = fmt::format("difference/{}/{}", a->key, b->key);
  source->name = fmt::format("{} − {}", a->name, b->name);
  source->type = "difference";
  source->set_shape(a->shape);
  source->a_ = std::move(a);
  source->b_ = std::move(b);
  return Ptr(std::move(source));
}

Result<std::vector<float>> TensorSource::read(std::uint64_t first, std::uint64_t n) const {
  if (info_ != nullptr) {
    return format::decode_values(*info_, first, n);
  }
  if (first > count || n > count - first) {
    return usage_error(fmt::format("{} has no values {} … {}", name, first, first + n));
  }
  if (values_ != nullptr) {
    if (values_->size() < count) {
      return internal_error(
          fmt::format("{} was captured with {} of {} values", name, values_->size(), count));
    }
    const auto begin = values_->begin() + static_cast<std::ptrdiff_t>(first);
    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(n));
  }
  if (a_ == nullptr || b_ == nullptr) {
    return std::vector<float>();
  }
  LS_TRY(std::vector<float> values, a_->read(first, n));
  LS_TRY(const std::vector<float> others, b_->read(first, n));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] -= others[i];
  }
  return values;
}

std::string tap_key(capture::Tap tap, int layer) {
  return layer < 0 ? fmt::format("tap/{}", capture::tap_name(tap))
                   : fmt::format("tap/{}/{}", layer, capture::tap_name(tap));
}

std::string index_text(const std::vector<std::uint64_t>& shape, std::uint64_t flat) {
  std::vector<std::uint64_t> index(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    const std::uint64_t dimension = shape[i] > 0 ? shape[i] : 1;
    index[i] = flat % dimension;
    flat /= dimension;
  }
  return fmt::format("[{}]", fmt::join(index, ", "));
}

}  // namespace layerscope::gui::view
