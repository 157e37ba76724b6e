// Context: Vulkan instance, device and queue. Owned by the UI thread; outlives every other Vulkan
// object of the program.
//
// Needs Vulkan 1.3 with dynamic rendering, synchronization2 and timeline semaphores. Exporting
// memory and semaphores is used where the device offers both (`exports`) and never required:
// software Vulkan has only half of it.
#pragma once

#include <vulkan/vulkan.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "gui/vulkan/handles.h"

namespace layerscope::gui {

/// Where the loss of a device shows itself.
enum class DeviceCall : std::uint8_t { kNone, kCreate, kSubmit, kPresent, kWait };

/// A loss to rehearse: the `at`-th such call, counted from 1, finds the device lost, and so does
/// every one after it. kCreate: no device can be made.
struct LossPlan {
  DeviceCall call = DeviceCall::kNone;
  std::uint32_t at = 1;
};

struct ContextOptions {
  bool validation = false;  ///< the validation layer, with its checks of synchronisation
  /// Also counts what the layer reports, up to the very end of the context.
  std::shared_ptr<std::atomic<std::uint32_t>> problems;
  LossPlan rehearse;
  std::vector<const char*> instance_extensions;  ///< what the window system asks for
  /// Whether a queue family can present; empty when nothing is presented.
  std::function<bool(VkInstance, VkPhysicalDevice, std::uint32_t)> can_present;
};

/// A buffer with its own memory; `mapped` is set when the memory is visible to the host.
struct Buffer {
  UniqueMemory memory;  ///< declared first, so freed after the buffer
  UniqueBuffer buffer;
  VkDeviceSize size = 0;
  void* mapped = nullptr;
};

/// A device-local buffer whose memory other programming interfaces can import.
struct ExportedBuffer {
  Buffer buffer;
  VkDeviceSize memory_size = 0;  ///< of the allocation, which the importer must name
  int fd = -1;                   ///< opaque; the caller hands it on or closes it
};

/// A timeline semaphore that other programming interfaces can import.
struct ExportedSemaphore {
  UniqueSemaphore semaphore;
  int fd = -1;  ///< opaque; the caller hands it on or closes it
};

class Context {
 public:
  /// Errors (kDevice): no Vulkan loader, no device with what is needed (each device's reason
  /// named).
  static Result<std::unique_ptr<Context>> create(const ContextOptions& options);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  [[nodiscard]] VkInstance instance() const { return instance_; }
  [[nodiscard]] VkPhysicalDevice physical() const { return physical_; }
  [[nodiscard]] VkDevice device() const { return device_; }
  [[nodiscard]] VkQueue queue() const { return queue_; }
  [[nodiscard]] std::uint32_t queue_family() const { return queue_family_; }
  [[nodiscard]] const VkPhysicalDeviceLimits& limits() const { return limits_; }

  [[nodiscard]] const std::string& device_name() const { return device_name_; }
  [[nodiscard]] const std::string& device_reason() const { return device_reason_; }
  [[nodiscard]] bool software() const { return software_; }
  [[nodiscard]] const std::array<std::uint8_t, VK_UUID_SIZE>& device_uuid() const { return uuid_; }
  /// Whether memory and timeline semaphores can be exported as opaque file descriptors.
  [[nodiscard]] bool exports() const { return exports_; }
  [[nodiscard]] bool validating() const { return messenger_ != VK_NULL_HANDLE; }
  /// Errors and warnings that the validation layer reported so far.
  [[nodiscard]] std::uint32_t validation_errors() const { return validation_errors_; }

  /// Index of a memory type of `bits` with all of `flags`. Error (kDevice): none.
  [[nodiscard]] Result<std::uint32_t> memory_type(std::uint32_t bits,
                                                  VkMemoryPropertyFlags flags) const;
  /// A buffer with its own memory, mapped when `flags` include host-visible.
  [[nodiscard]] Result<Buffer> make_buffer(VkDeviceSize size, VkBufferUsageFlags usage,
                                           VkMemoryPropertyFlags flags) const;
  /// A mapped buffer that the host writes and the device reads: in device memory where the host
  /// sees all or a window of that, else in host memory.
  [[nodiscard]] Result<Buffer> make_upload_buffer(VkDeviceSize size,
                                                  VkBufferUsageFlags usage) const;
  /// Device-local, exportable, with an allocation of its own. Error (kDevice): `exports` is false.
  [[nodiscard]] Result<ExportedBuffer> make_exported_buffer(VkDeviceSize size,
                                                            VkBufferUsageFlags usage) const;
  /// Exportable, starting at 0. Error (kDevice): `exports` is false.
  [[nodiscard]] Result<ExportedSemaphore> make_exported_timeline() const;
  /// Waits until the device has finished everything; errors are logged (used in tear-down).
  void wait_idle() const;

  /// vkQueueSubmit2 of one batch, without a fence.
  [[nodiscard]] Status submit(const VkSubmitInfo2& batch) const;
  /// vkQueuePresentKHR and vkAcquireNextImageKHR: results as they are, for the caller to judge.
  [[nodiscard]] VkResult present(const VkPresentInfoKHR& info) const;
  [[nodiscard]] VkResult acquire(VkSwapchainKHR swapchain, std::uint64_t timeout_ns,
                                 VkSemaphore signal, std::uint32_t& index) const;
  /// Until the queue has finished everything.
  [[nodiscard]] Status wait_queue() const;
  /// Until a timeline has reached `value`.
  [[nodiscard]] Status wait(VkSemaphore timeline, std::uint64_t value) const;
  /// The value that a timeline has reached.
  [[nodiscard]] Result<std::uint64_t> reached(VkSemaphore timeline) const;
  /// Asked after an error: whether the device, or the surface drawn to, is lost. Nothing that
  /// belongs to this context can work then; destroying it does.
  [[nodiscard]] bool lost() const;

 private:
  Context() = default;
  Status create_instance(const ContextOptions& options);
  /// The best device that starts.
  Status choose_device(const ContextOptions& options);
  void describe_device(const VkPhysicalDeviceProperties& known, std::uint32_t count,
                       const std::string& refused);
  Status create_device(bool presents);
  /// Every call that can find the device lost goes through here.
  template <typename Call>
  VkResult attempt(DeviceCall kind, Call&& call) const;
  static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                   VkDebugUtilsMessageTypeFlagsEXT types,
                                                   const VkDebugUtilsMessengerCallbackDataEXT* data,
                                                   void* user);

  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  std::uint32_t queue_family_ = 0;
  VkPhysicalDeviceLimits limits_{};
  VkPhysicalDeviceMemoryProperties memory_{};
  std::string device_name_;
  std::string device_reason_;
  std::array<std::uint8_t, VK_UUID_SIZE> uuid_{};
  bool software_ = false;
  bool exports_ = false;
  std::atomic<std::uint32_t> validation_errors_{0};
  std::shared_ptr<std::atomic<std::uint32_t>> problems_;
  LossPlan rehearse_;
  mutable std::uint32_t rehearsed_calls_ = 0;
  mutable bool lost_ = false;  ///< seen by the UI thread
};

}  // namespace layerscope::gui
