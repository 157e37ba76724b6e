#include "gui/view/tensor_worker.h"

#include <algorithm>
#include <utility>

#include "engine/base/priority.h"

namespace layerscope::gui::view {
namespace {

/// Values per slice of a scan: a few milliseconds, so that a map that is asked for comes first.
constexpr std::uint64_t kScanSlice = 1U << 20U;

}  // namespace

TensorWorker::TensorWorker() : thread_([this](const std::stop_token& stop) { work(stop); }) {}

TensorWorker::~TensorWorker() {
  thread_.request_stop();
  wake_.notify_all();
}

void TensorWorker::look_at(std::size_t slot, TensorSource::Ptr source) {
  {
    const std::lock_guard lock(mutex_);
    Slot& s = slots_[slot];
    if (s.source == source) {
      return;
    }
    s = Slot{};
    s.scan_wanted = source != nullptr;
    s.source = std::move(source);
  }
  wake_.notify_all();
}

void TensorWorker::want_map(std::size_t slot, const MapRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    Slot& s = slots_[slot];
    if (s.map_asked == request) {
      return;
    }
    s.map_asked = request;
    s.map_wanted = request;
  }
  wake_.notify_all();
}

std::shared_ptr<const TensorScan> TensorWorker::scan(std::size_t slot) const {
  const std::lock_guard lock(mutex_);
  return slots_[slot].scan;
}

std::shared_ptr<const ValueMap> TensorWorker::map(std::size_t slot) const {
  const std::lock_guard lock(mutex_);
  return slots_[slot].map;
}

bool TensorWorker::busy() const {
  const std::lock_guard lock(mutex_);
  return at_work_ || std::any_of(slots_.begin(), slots_.end(),
                                 [](const Slot& s) { return s.scan_wanted || s.map_wanted; });
}

bool TensorWorker::do_map(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
  for (std::size_t i = 0; i < kSlots; ++i) {
    if (!slots_[i].map_wanted) {
      continue;
    }
    const MapRequest request = *std::exchange(slots_[i].map_wanted, std::nullopt);
    lock.unlock();
    ValueMap map;
    const auto publish = [this, i, &request](const ValueMap& state) {
      auto copy = std::make_shared<ValueMap>(state);
      const std::lock_guard guard(mutex_);
      copy->version = ++version_;
      if (slots_[i].source == request.source) {
        slots_[i].map = std::move(copy);
      }
    };
    compute_map(request, map, publish, [this, i, &stop] {
      const std::lock_guard guard(mutex_);
      return stop.stop_requested() || slots_[i].map_wanted.has_value();
    });
    lock.lock();
    return true;
  }
  return false;
}

bool TensorWorker::do_scan(std::unique_lock<std::mutex>& lock) {
  for (std::size_t i = 0; i < kSlots; ++i) {
    if (!slots_[i].scan_wanted) {
      continue;
    }
    const TensorSource::Ptr source = slots_[i].source;
    lock.unlock();
    TensorScan& scan = scans_[i];
    if (scan.source() != source) {
      scan.start(source);
    }
    const bool done = scan.advance(kScanSlice);
    auto copy = std::make_shared<const TensorScan>(scan);
    lock.lock();
    if (slots_[i].source == source) {
      slots_[i].scan = std::move(copy);
      slots_[i].scan_wanted = !done;
    }
    return true;
  }
  return false;
}

void TensorWorker::work(const std::stop_token& stop) {
  lower_own_priority();  // decoding a large tensor must not delay frames
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    at_work_ = true;
    if (do_map(lock, stop) || do_scan(lock)) {
      continue;
    }
    at_work_ = false;
    wake_.wait(lock, stop, [this] {
      return std::any_of(slots_.begin(), slots_.end(),
                         [](const Slot& s) { return s.scan_wanted || s.map_wanted; });
    });
  }
}

}  // namespace layerscope::gui::view
