// SharedTimeline: one timeline semaphore that Vulkan queues and CUDA streams both wait on and
// signal.
//
// Orders what a kernel writes into a SharedBuffer before what a shader reads from it, and the
// shader's reading before the next writing. Created and destroyed on the UI thread while neither
// side has work under way that names it. Signalling and waiting belong to the thread that owns the
// stream.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/base/result.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui::interop {

class SharedTimeline {
 public:
  /// Starts at 0. Errors (kDevice): refused by either side.
  static Result<SharedTimeline> create(const Context& context, int cuda_device);
  SharedTimeline(SharedTimeline&&) noexcept;
  SharedTimeline& operator=(SharedTimeline&&) noexcept;
  ~SharedTimeline();

  /// As SharedBuffer::forget_import.
  void forget_import();

  [[nodiscard]] VkSemaphore semaphore() const { return semaphore_.get(); }
  /// The value reached so far, asked without waiting.
  [[nodiscard]] Result<std::uint64_t> value() const;

  /// The stream (a cudaStream_t) sets `value` when everything before has finished.
  Status signal(void* stream, std::uint64_t value) const;
  /// Everything after in the stream starts when `value` is reached.
  Status wait(void* stream, std::uint64_t value) const;

 private:
  struct Import;
  SharedTimeline();

  VkDevice device_ = VK_NULL_HANDLE;
  UniqueSemaphore semaphore_;  ///< declared first: destroyed after CUDA's import
  std::unique_ptr<Import> import_;
};

}  // namespace layerscope::gui::interop
