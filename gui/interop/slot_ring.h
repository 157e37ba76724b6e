// SlotRing: who may touch which of three slots, so that neither side waits for the other.
//
// The worker acquires a free slot, lets kernels write it and publishes it with the timeline value
// that its stream will signal. The window takes the newest published slot whose value is reached
// and draws from it until a newer one is there; a slot that frames in flight still read is not
// free. If none is free the worker goes on without drawing, and that is counted. Any thread: the
// mutex is held for a few comparisons only. Pure: it knows neither CUDA nor Vulkan.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

namespace layerscope::gui::interop {

class SlotRing {
 public:
  static constexpr int kSlots = 3;

  struct Published {
    int slot = -1;
    std::uint64_t value = 0;  ///< of the timeline when the kernels have written it
  };

  // Worker.
  /// A slot to write into; none: the frame is dropped, and counted.
  std::optional<int> acquire();
  /// The value that the stream must signal after the writing. `slot` came from `acquire`.
  std::uint64_t publish(int slot);
  /// Gives an acquired slot back unwritten.
  void abandon(int slot);

  // Window.
  /// The slot to draw from: the newest published one with a value ≤ `reached`, or the one taken
  /// before; none before the first. Frames up to `finished` have been drawn.
  std::optional<Published> take(std::uint64_t reached, std::uint64_t finished);
  /// Frame `frame` reads the slot taken last.
  void used_by(std::uint64_t frame);

  [[nodiscard]] std::uint64_t dropped() const;
  [[nodiscard]] std::uint64_t published() const;

 private:
  enum class State : std::uint8_t { kFree, kWriting, kReady, kShown, kRetiring };
  struct Slot {
    State state = State::kFree;
    std::uint64_t value = 0;
    std::uint64_t last_frame = 0;  ///< that reads it
  };

  mutable std::mutex mutex_;
  std::array<Slot, kSlots> slots_;
  int shown_ = -1;
  std::uint64_t value_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace layerscope::gui::interop
