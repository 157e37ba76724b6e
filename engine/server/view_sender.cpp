#include "engine/server/view_sender.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "engine/format/tensor_stats.h"

namespace layerscope::server {
namespace {

using session::CacheView;
using session::InspectCache;
using session::InspectToken;
using session::TokenDetail;

constexpr std::size_t kMostTensors = 64;
constexpr std::size_t kFirstValues = 16;
/// A request that Stop cancelled, or whose answer another window's replaced, is made again.
constexpr std::chrono::milliseconds kAskAgain{300};

bool fits(const InspectToken& asked, const TokenDetail& view) {
  return view.position == asked.position &&
         (asked.lens_top == 0 || !view.lens.empty() || !view.error.empty());
}

/// The session clamps a place that the cache does not have.
bool fits(const InspectCache& asked, const CacheView& view) {
  const auto same = [](int wanted, int got, int count) {
    return std::clamp(wanted, 0, std::max(count - 1, 0)) == got;
  };
  const capture::CacheStats& s = view.stats;
  return !view.error.empty() || (same(asked.layer, view.layer, s.n_layers) &&
                                 same(asked.kv_head, view.kv_head, s.n_kv_heads) &&
                                 same(asked.slot, view.slot, s.n_slots));
}

}  // namespace

bool ViewSender::take(const session::Command& command) {
  if (const auto* token = std::get_if<InspectToken>(&command)) {
    token_.waiting = *token;
    return true;
  }
  if (const auto* cache = std::get_if<InspectCache>(&command)) {
    cache_.waiting = *cache;
    return true;
  }
  return false;
}

bool ViewSender::want_tensor(std::string name) {
  tensors_.push_back(std::move(name));
  return tensors_.size() <= kMostTensors;
}

/// Asks the session where that is still to do; true once, when the answer is here.
template <typename Ask, typename View>
bool ViewSender::answered(Wish<Ask, View>& wish, const std::shared_ptr<const View>& now,
                          bool idle) {
  if (wish.asked && now != nullptr && now != wish.before && fits(*wish.asked, *now)) {
    wish.asked.reset();
    return true;
  }
  const bool lost = wish.asked && idle && Clock::now() - wish.at > kAskAgain;
  if (lost || (!wish.asked && wish.waiting)) {
    if (!lost) {
      wish.asked = std::exchange(wish.waiting, std::nullopt);
    }
    wish.before = now;
    wish.at = Clock::now();
    session_.send(*wish.asked);
  }
  return false;
}

/// Chooses what is sent next.
void ViewSender::begin(const session::Snapshot& now, bool idle) {
  if (answered(token_, now.token_detail, idle)) {
    sending_.emplace(ViewKind::kToken, encode(*now.token_detail));
  } else if (answered(cache_, now.cache_view, idle)) {
    sending_.emplace(ViewKind::kCache, encode(*now.cache_view));
  } else if (!tensors_.empty()) {
    sending_.emplace(ViewKind::kTensor, encode(tensor(now, tensors_.front())));
    tensors_.pop_front();
  }
}

std::optional<std::string> ViewSender::next(const session::Snapshot& now, bool idle) {
  whole_ = false;
  if (!sending_) {
    begin(now, idle);
  }
  if (!sending_) {
    return std::nullopt;
  }
  std::string part = sending_->next();
  if (sending_->done()) {
    sending_.reset();
    whole_ = true;
  }
  return part;
}

TensorAnswer ViewSender::tensor(const session::Snapshot& now, const std::string& name) const {
  TensorAnswer answer;
  answer.name = name;
  const format::TensorInfo* tensor = now.model->file->find_tensor(name);
  if (tensor == nullptr) {
    answer.error = "the worker's model has no such tensor";
    return answer;
  }
  auto stats = format::tensor_stats(*tensor);
  if (!stats.ok()) {
    answer.error = stats.error().message;
    return answer;
  }
  answer.stats = stats.value();
  auto first =
      format::decode_values(*tensor, 0, std::min<std::uint64_t>(tensor->n_elements, kFirstValues));
  if (first.ok()) {
    answer.first = std::move(first).value();
  }
  if (tensor->data.size() <= kMostViewValues) {
    answer.data.assign(reinterpret_cast<const char*>(tensor->data.data()), tensor->data.size());
  }
  return answer;
}

}  // namespace layerscope::server
