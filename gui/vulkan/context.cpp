#include "gui/vulkan/context.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "gui/vulkan/check.h"

namespace layerscope::gui {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

bool has_layer(const char* name) {
  std::uint32_t count = 0;
  vkEnumerateInstanceLayerProperties(&count, nullptr);
  std::vector<VkLayerProperties> layers(count);
  vkEnumerateInstanceLayerProperties(&count, layers.data());
  return std::any_of(layers.begin(), layers.end(), [name](const VkLayerProperties& layer) {
    return std::strcmp(layer.layerName, name) == 0;
  });
}

bool layer_offers(const char* layer, const char* extension) {
  std::uint32_t count = 0;
  vkEnumerateInstanceExtensionProperties(layer, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateInstanceExtensionProperties(layer, &count, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(), [extension](const auto& offered) {
    return std::strcmp(offered.extensionName, extension) == 0;
  });
}

const char* type_name(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return "discrete GPU";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return "integrated GPU";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return "virtual GPU";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return "software";
    default:
      return "other device";
  }
}

int type_rank(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 4;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 3;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    default:
      return 1;
  }
}

struct Candidate {
  VkPhysicalDevice device = VK_NULL_HANDLE;
  VkPhysicalDeviceProperties properties{};
  std::uint32_t family = 0;
  std::string unusable;  ///< why not; empty when usable
};

bool has_extension(VkPhysicalDevice device, const char* name) {
  std::uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(), [name](const auto& extension) {
    return std::strcmp(extension.extensionName, name) == 0;
  });
}

/// A family for graphics, compute and (when asked) presentation.
bool find_family(VkInstance instance, const ContextOptions& options, Candidate& candidate) {
  std::uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(candidate.device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(candidate.device, &count, families.data());
  constexpr VkQueueFlags kWanted = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
  for (std::uint32_t i = 0; i < count; ++i) {
    if ((families[i].queueFlags & kWanted) == kWanted &&
        (!options.can_present || options.can_present(instance, candidate.device, i))) {
      candidate.family = i;
      return true;
    }
  }
  return false;
}

/// Opaque file descriptors for buffers and for timeline semaphores.
bool can_export(VkPhysicalDevice device) {
  if (!has_extension(device, VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME) ||
      !has_extension(device, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME)) {
    return false;
  }
  VkPhysicalDeviceExternalBufferInfo buffer{};
  buffer.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO;
  buffer.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  buffer.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
  VkExternalBufferProperties memory{};
  memory.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES;
  vkGetPhysicalDeviceExternalBufferProperties(device, &buffer, &memory);

  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkPhysicalDeviceExternalSemaphoreInfo info{};
  info.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO;
  info.pNext = &type;
  info.handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT;
  VkExternalSemaphoreProperties semaphore{};
  semaphore.sType = VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES;
  vkGetPhysicalDeviceExternalSemaphoreProperties(device, &info, &semaphore);
  return (memory.externalMemoryProperties.externalMemoryFeatures &
          VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT) != 0 &&
         (semaphore.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT) != 0;
}

Candidate examine(VkInstance instance, VkPhysicalDevice device, const ContextOptions& options) {
  Candidate candidate;
  candidate.device = device;
  vkGetPhysicalDeviceProperties(device, &candidate.properties);
  if (candidate.properties.apiVersion < VK_API_VERSION_1_3) {
    candidate.unusable = fmt::format("it offers Vulkan {}.{}, 1.3 is needed",
                                     VK_API_VERSION_MAJOR(candidate.properties.apiVersion),
                                     VK_API_VERSION_MINOR(candidate.properties.apiVersion));
    return candidate;
  }
  VkPhysicalDeviceVulkan13Features v13{};
  v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  VkPhysicalDeviceVulkan12Features v12{};
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  v12.pNext = &v13;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &v12;
  vkGetPhysicalDeviceFeatures2(device, &features);
  if (v13.dynamicRendering == VK_FALSE || v13.synchronization2 == VK_FALSE ||
      v12.timelineSemaphore == VK_FALSE) {
    candidate.unusable = "it lacks dynamic rendering, synchronization2 or timeline semaphores";
  } else if (!find_family(instance, options, candidate)) {
    candidate.unusable = options.can_present
                             ? "no queue draws, computes and presents to this window"
                             : "no queue both draws and computes";
  } else if (options.can_present && !has_extension(device, VK_KHR_SWAPCHAIN_EXTENSION_NAME)) {
    candidate.unusable = "it cannot present to a window";
  }
  return candidate;
}

}  // namespace

VKAPI_ATTR VkBool32 VKAPI_CALL Context::on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                   VkDebugUtilsMessageTypeFlagsEXT /*types*/,
                                                   const VkDebugUtilsMessengerCallbackDataEXT* data,
                                                   void* user) {
  auto* self = static_cast<Context*>(user);
  if (severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT) {
    self->validation_errors_.fetch_add(1);
    if (self->problems_ != nullptr) {
      self->problems_->fetch_add(1);
    }
    spdlog::error("Vulkan validation: {}", data->pMessage);
  }
  return VK_FALSE;
}

Result<std::unique_ptr<Context>> Context::create(const ContextOptions& options) {
  if (options.rehearse.call == DeviceCall::kCreate) {
    return device_error("no graphics device can be started (rehearsed)");
  }
  std::unique_ptr<Context> context(new Context());
  context->problems_ = options.problems;
  context->rehearse_ = options.rehearse;
  LS_CHECK(context->create_instance(options));
  LS_CHECK(context->choose_device(options));
  return context;
}

Status Context::create_instance(const ContextOptions& options) {
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "Layerscope";
  application.apiVersion = VK_API_VERSION_1_3;

  std::vector<const char*> extensions = options.instance_extensions;
  std::vector<const char*> layers;
  if (options.validation) {
    if (has_layer(kValidationLayer)) {
      layers.push_back(kValidationLayer);
      extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    } else {
      spdlog::warn("Vulkan validation was asked for, but the layer {} is not installed",
                   kValidationLayer);
    }
  }
  VkDebugUtilsMessengerCreateInfoEXT messenger{};
  messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messenger.pfnUserCallback = &Context::on_message;
  messenger.pUserData = this;

  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pNext = layers.empty() ? nullptr : &messenger;
  // Races between commands too, where the layer knows of them.
  constexpr std::array kChecks{VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkValidationFeaturesEXT features{};
  features.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT;
  features.pNext = &messenger;
  features.enabledValidationFeatureCount = kChecks.size();
  features.pEnabledValidationFeatures = kChecks.data();
  if (!layers.empty() &&
      layer_offers(kValidationLayer, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME)) {
    extensions.push_back(VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
    info.pNext = &features;
  }
  info.pApplicationInfo = &application;
  info.enabledLayerCount = static_cast<std::uint32_t>(layers.size());
  info.ppEnabledLayerNames = layers.data();
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  if (const Status status =
          vk_check(vkCreateInstance(&info, nullptr, &instance_), "vkCreateInstance");
      !status.ok()) {
    return device_error(status.error().message +
                        "; install a Vulkan driver (on Debian: mesa-vulkan-drivers)");
  }
  if (!layers.empty()) {
    const auto make = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
        vkGetInstanceProcAddr(instance_, "vkCreateDebugUtilsMessengerEXT"));
    if (make != nullptr) {
      LS_VK(make(instance_, &messenger, nullptr, &messenger_));
    }
  }
  return {};
}

Status Context::choose_device(const ContextOptions& options) {
  std::uint32_t count = 0;
  LS_VK(vkEnumeratePhysicalDevices(instance_, &count, nullptr));
  std::vector<VkPhysicalDevice> devices(count);
  LS_VK(vkEnumeratePhysicalDevices(instance_, &count, devices.data()));
  std::vector<Candidate> usable;
  std::string refused;
  for (VkPhysicalDevice device : devices) {
    Candidate candidate = examine(instance_, device, options);
    if (!candidate.unusable.empty()) {
      spdlog::debug("Vulkan device {}: {}", candidate.properties.deviceName, candidate.unusable);
      refused += fmt::format("; {}: {}", candidate.properties.deviceName, candidate.unusable);
    } else {
      usable.push_back(candidate);
    }
  }
  std::stable_sort(usable.begin(), usable.end(), [](const Candidate& a, const Candidate& b) {
    return type_rank(a.properties.deviceType) > type_rank(b.properties.deviceType);
  });
  // One that was just lost may not start again: then the next best has to do.
  for (const Candidate& candidate : usable) {
    physical_ = candidate.device;
    queue_family_ = candidate.family;
    const char* name = candidate.properties.deviceName;
    exports_ = can_export(physical_);
    const Status started = create_device(static_cast<bool>(options.can_present));
    if (started.ok()) {
      describe_device(candidate.properties, count, refused);
      return {};
    }
    spdlog::warn("{} does not start: {}", name, started.error().message);
    refused += fmt::format("; {}: {}", name, started.error().message);
  }
  return device_error("no usable Vulkan device" + refused +
                      "; install a Vulkan 1.3 driver (on Debian: mesa-vulkan-drivers)");
}

void Context::describe_device(const VkPhysicalDeviceProperties& known, std::uint32_t count,
                              const std::string& refused) {
  limits_ = known.limits;
  device_name_ = known.deviceName;
  software_ = known.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  device_reason_ =
      software_ ? fmt::format("no hardware device offers Vulkan 1.3 here{}", refused)
                : fmt::format("best of {} device(s): {}", count, type_name(known.deviceType));
  vkGetPhysicalDeviceMemoryProperties(physical_, &memory_);
  VkPhysicalDeviceIDProperties id{};
  id.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES;
  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &id;
  vkGetPhysicalDeviceProperties2(physical_, &properties);
  std::copy(std::begin(id.deviceUUID), std::end(id.deviceUUID), uuid_.begin());
  spdlog::debug("Vulkan device: {} ({})", device_name_, device_reason_);
}

Status Context::create_device(bool presents) {
  const float priority = 1.0F;
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = queue_family_;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;

  VkPhysicalDeviceVulkan13Features v13{};
  v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  v13.dynamicRendering = VK_TRUE;
  v13.synchronization2 = VK_TRUE;
  v13.maintenance4 =
      VK_TRUE;  // shaders for 1.3 give their work group size by id; 1.3 has it always
  VkPhysicalDeviceVulkan12Features v12{};
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  v12.pNext = &v13;
  v12.timelineSemaphore = VK_TRUE;

  // The extension's name is listed although 1.3 includes it: Dear ImGui's backend looks up the
  // functions by their KHR names, which only an enabled extension promises.
  std::vector<const char*> extensions{VK_KHR_DYNAMIC_RENDERING_EXTENSION_NAME};
  if (presents) {
    extensions.push_back(VK_KHR_SWAPCHAIN_EXTENSION_NAME);
  }
  if (exports_) {
    extensions.insert(extensions.end(), {VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME,
                                         VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME});
  }
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &v12;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  LS_VK(vkCreateDevice(physical_, &info, nullptr, &device_));
  vkGetDeviceQueue(device_, queue_family_, 0, &queue_);
  return {};
}

Context::~Context() {
  if (device_ != VK_NULL_HANDLE) {
    vkDestroyDevice(device_, nullptr);
  }
  if (messenger_ != VK_NULL_HANDLE) {
    const auto destroy = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
        vkGetInstanceProcAddr(instance_, "vkDestroyDebugUtilsMessengerEXT"));
    destroy(instance_, messenger_, nullptr);
  }
  if (instance_ != VK_NULL_HANDLE) {
    vkDestroyInstance(instance_, nullptr);
  }
}

Result<std::uint32_t> Context::memory_type(std::uint32_t bits, VkMemoryPropertyFlags flags) const {
  for (std::uint32_t i = 0; i < memory_.memoryTypeCount; ++i) {
    if (((bits >> i) & 1U) != 0 && (memory_.memoryTypes[i].propertyFlags & flags) == flags) {
      return i;
    }
  }
  return device_error(
      fmt::format("{} has no memory type with properties {:#x}", device_name_, flags));
}

Result<Buffer> Context::make_buffer(VkDeviceSize size, VkBufferUsageFlags usage,
                                    VkMemoryPropertyFlags flags) const {
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = size;
  info.usage = usage;
  VkBuffer raw = VK_NULL_HANDLE;
  LS_VK(vkCreateBuffer(device_, &info, nullptr, &raw));
  Buffer result;
  result.size = size;
  result.buffer = UniqueBuffer(device_, raw);
  VkMemoryRequirements needs{};
  vkGetBufferMemoryRequirements(device_, raw, &needs);
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.allocationSize = needs.size;
  LS_TRY(allocate.memoryTypeIndex, memory_type(needs.memoryTypeBits, flags));
  VkDeviceMemory memory = VK_NULL_HANDLE;
  LS_VK(vkAllocateMemory(device_, &allocate, nullptr, &memory));
  result.memory = UniqueMemory(device_, memory);
  LS_VK(vkBindBufferMemory(device_, raw, memory, 0));
  if ((flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0) {
    LS_VK(vkMapMemory(device_, memory, 0, VK_WHOLE_SIZE, 0, &result.mapped));
  }
  return result;
}

Result<Buffer> Context::make_upload_buffer(VkDeviceSize size, VkBufferUsageFlags usage) const {
  constexpr VkMemoryPropertyFlags kHost =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  // The window of older GPUs is small and may be full.
  auto near = make_buffer(size, usage, kHost | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  return near.ok() ? std::move(near) : make_buffer(size, usage, kHost);
}

void Context::wait_idle() const {
  const VkResult result = vkDeviceWaitIdle(device_);  // also when lost by rehearsal: it still works
  if (result == VK_ERROR_DEVICE_LOST) {
    lost_ = true;
    return;
  }
  if (const Status status = vk_check(result, "vkDeviceWaitIdle"); !status.ok()) {
    spdlog::error("{}", status.error().message);
  }
}

template <typename Call>
VkResult Context::attempt(DeviceCall kind, Call&& call) const {
  if (kind != DeviceCall::kNone && kind == rehearse_.call && ++rehearsed_calls_ == rehearse_.at) {
    lost_ = true;
  }
  if (lost_) {
    return VK_ERROR_DEVICE_LOST;
  }
  const VkResult result = call();
  lost_ = result == VK_ERROR_DEVICE_LOST || result == VK_ERROR_SURFACE_LOST_KHR;
  return result;
}

Status Context::submit(const VkSubmitInfo2& batch) const {
  return vk_check(attempt(DeviceCall::kSubmit,
                          [&] { return vkQueueSubmit2(queue_, 1, &batch, VK_NULL_HANDLE); }),
                  "vkQueueSubmit2");
}

VkResult Context::present(const VkPresentInfoKHR& info) const {
  return attempt(DeviceCall::kPresent, [&] { return vkQueuePresentKHR(queue_, &info); });
}

VkResult Context::acquire(VkSwapchainKHR swapchain, std::uint64_t timeout_ns, VkSemaphore signal,
                          std::uint32_t& index) const {
  return attempt(DeviceCall::kNone, [&] {
    return vkAcquireNextImageKHR(device_, swapchain, timeout_ns, signal, VK_NULL_HANDLE, &index);
  });
}

Status Context::wait_queue() const {
  return vk_check(attempt(DeviceCall::kWait, [&] { return vkQueueWaitIdle(queue_); }),
                  "vkQueueWaitIdle");
}

Status Context::wait(VkSemaphore timeline, std::uint64_t value) const {
  VkSemaphoreWaitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline;
  info.pValues = &value;
  return vk_check(
      attempt(DeviceCall::kWait, [&] { return vkWaitSemaphores(device_, &info, UINT64_MAX); }),
      "vkWaitSemaphores");
}

Result<std::uint64_t> Context::reached(VkSemaphore timeline) const {
  std::uint64_t value = 0;
  LS_CHECK(vk_check(attempt(DeviceCall::kNone,
                            [&] { return vkGetSemaphoreCounterValue(device_, timeline, &value); }),
                    "vkGetSemaphoreCounterValue"));
  return value;
}

bool Context::lost() const {
  // An error of another call (an allocation, a copy of Dear ImGui's) may be the first sign.
  lost_ = lost_ || vkDeviceWaitIdle(device_) == VK_ERROR_DEVICE_LOST;
  return lost_;
}

}  // namespace layerscope::gui
