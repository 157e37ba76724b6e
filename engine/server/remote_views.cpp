// RemoteSession: views that were asked for and came in parts. The connection's thread only.
#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "engine/server/remote_session.h"

namespace layerscope::server {
namespace {

/// The tensor with its bytes as a file of its own, so that whatever looks at a model's tensors can
/// look at it; null where the bytes are not what its type and shape take.
std::shared_ptr<const format::ModelFile> one_tensor_file(const format::TensorInfo& described,
                                                         const std::string& path,
                                                         const std::string& bytes) {
  std::uint64_t n = 1;
  for (const std::uint64_t dimension : described.shape) {
    if (dimension == 0 || n > described.n_elements / dimension) {
      return nullptr;
    }
    n *= dimension;
  }
  const DTypeInfo& type = dtype_info(described.dtype);
  if (n != described.n_elements || n % type.block != 0 ||
      n / type.block * type.block_bytes != bytes.size()) {
    return nullptr;
  }
  auto file = std::make_shared<format::ModelFile>();
  file->path = path;
  auto copy = std::make_shared<std::vector<std::byte>>(bytes.size());
  std::memcpy(copy->data(), bytes.data(), bytes.size());
  format::TensorInfo tensor = described;
  tensor.data = *copy;
  file->made.push_back(std::move(copy));
  file->tensors.push_back(std::move(tensor));
  file->index();
  return file;
}

}  // namespace

Status RemoteSession::take_part(const Record& record) {
  std::optional<PartReader::View> view;
  if (!parts_.take(record.payload, view)) {
    return usage_error("the worker sent a malformed record (part)");
  }
  return view ? take_view(*view) : Status{};
}

Status RemoteSession::take_view(const PartReader::View& view) {
  constexpr auto kNonsense = "the worker sent a malformed record (view)";
  constexpr std::uint64_t kEpochSerials = std::uint64_t{1} << 44U;
  const std::uint64_t epoch = epoch_ * kEpochSerials;
  switch (view.kind) {
    case ViewKind::kToken: {
      auto detail = decode_detail(view.bytes, *state_.model);
      if (detail == nullptr) {
        return usage_error(kNonsense);
      }
      detail->serial += epoch;
      state_.token_detail = std::move(detail);
      const std::lock_guard lock(mutex_);
      token_wish_.reset();
      return {};
    }
    case ViewKind::kCache: {
      auto cache = decode_cache(view.bytes, *state_.model);
      if (cache == nullptr) {
        return usage_error(kNonsense);
      }
      cache->last_serial += epoch;
      state_.cache_view = std::move(cache);
      const std::lock_guard lock(mutex_);
      cache_wish_.reset();
      return {};
    }
    case ViewKind::kTensor:
      return take_tensor(view.bytes) ? Status{} : Status(usage_error(kNonsense));
  }
  return usage_error(kNonsense);
}

bool RemoteSession::take_tensor(const std::string& bytes) {
  auto answer = decode_tensor(bytes);
  if (!answer) {
    return false;
  }
  auto report = std::make_shared<session::TensorReport>();
  report->error = std::move(answer->error);
  report->stats = answer->stats;
  report->first = std::move(answer->first);
  const format::ModelFile* file = state_.model->file.get();
  const auto* described = file != nullptr ? file->find_tensor(answer->name) : nullptr;
  if (!answer->data.empty()) {
    report->file =
        described != nullptr ? one_tensor_file(*described, file->path, answer->data) : nullptr;
    if (report->file == nullptr) {
      return false;
    }
  } else if (report->error.empty()) {
    report->note = fmt::format("its values are not sent: a worker sends tensors of up to {} MiB",
                               kMostViewValues >> 20U);
  }
  {
    const std::lock_guard lock(mutex_);
    const auto found = tensors_.find(answer->name);
    if (found == tensors_.end() || found->second != nullptr) {
      return true;  // only what was asked for is kept
    }
    found->second = std::move(report);
    tensor_order_.push_back(answer->name);
    tensor_bytes_ += answer->data.size();
    while (tensor_bytes_ > kMostTensorBytes) {
      const auto oldest = tensors_.find(tensor_order_.front());
      if (oldest->second->file != nullptr) {
        tensor_bytes_ -= oldest->second->file->tensors.front().data.size();
      }
      tensors_.erase(oldest);
      tensor_order_.pop_front();
    }
  }
  if (options_.on_change) {
    options_.on_change();
  }
  return true;
}

}  // namespace layerscope::server
