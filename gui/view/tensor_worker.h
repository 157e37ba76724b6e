// TensorWorker: reads tensors on a thread of its own, so that no frame waits for them: statistics,
// histogram and value maps. Like TensorScan's owner, the UI thread calls all members.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "gui/view/tensor_scan.h"
#include "gui/view/value_map.h"

namespace layerscope::gui::view {

class TensorWorker {
 public:
  /// Tensors looked at together: one, another, and their difference.
  static constexpr std::size_t kSlots = 3;

  TensorWorker();
  ~TensorWorker();
  TensorWorker(const TensorWorker&) = delete;
  TensorWorker& operator=(const TensorWorker&) = delete;

  /// Looks at `source` in `slot` from now on; null clears it. The same source again does nothing.
  void look_at(std::size_t slot, TensorSource::Ptr source);
  /// Asks for a map; a newer request of the slot replaces an older one, also one at work.
  void want_map(std::size_t slot, const MapRequest& request);

  /// The newest results; null before the first.
  [[nodiscard]] std::shared_ptr<const TensorScan> scan(std::size_t slot) const;
  [[nodiscard]] std::shared_ptr<const ValueMap> map(std::size_t slot) const;
  [[nodiscard]] bool busy() const;

 private:
  struct Slot {
    TensorSource::Ptr source;
    bool scan_wanted = false;
    std::optional<MapRequest> map_wanted;
    MapRequest map_asked;  ///< the last one, whether done or not
    std::shared_ptr<const TensorScan> scan;
    std::shared_ptr<const ValueMap> map;
  };
  void work(const std::stop_token& stop);
  bool do_map(std::unique_lock<std::mutex>& lock, const std::stop_token& stop);
  bool do_scan(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::array<Slot, kSlots> slots_;
  bool at_work_ = false;
  std::uint64_t version_ = 0;
  std::array<TensorScan, kSlots> scans_;  ///< worker thread only
  std::jthread thread_;                   ///< last: stops before the rest goes
};

}  // namespace layerscope::gui::view
