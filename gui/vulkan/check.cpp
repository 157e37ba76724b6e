#include "gui/vulkan/check.h"

#include <fmt/format.h>

namespace layerscope::gui {

std::string vk_result_name(VkResult result) {
  switch (result) {
    case VK_SUCCESS:
      return "VK_SUCCESS";
    case VK_TIMEOUT:
      return "VK_TIMEOUT";
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED:
      return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST:
      return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_LAYER_NOT_PRESENT:
      return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
      return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT:
      return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
      return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_SURFACE_LOST_KHR:
      return "VK_ERROR_SURFACE_LOST_KHR";
    case VK_ERROR_OUT_OF_DATE_KHR:
      return "VK_ERROR_OUT_OF_DATE_KHR";
    case VK_SUBOPTIMAL_KHR:
      return "VK_SUBOPTIMAL_KHR";
    default:
      return fmt::format("VkResult {}", static_cast<int>(result));
  }
}

Status vk_check(VkResult result, const char* call) {
  if (result == VK_SUCCESS || result == VK_SUBOPTIMAL_KHR) {
    return {};
  }
  const std::string_view whole(call);
  const std::string_view function = whole.substr(0, whole.find('('));
  const std::string name = vk_result_name(result);
  switch (result) {
    case VK_ERROR_DEVICE_LOST:
      return device_error(
          fmt::format("the graphics device stopped answering ({} in {})", name, function));
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return device_error(fmt::format(
          "the graphics device is out of memory ({} in {}); close other programs", name, function));
    default:
      return device_error(fmt::format("Vulkan: {} failed with {}", function, name));
  }
}

}  // namespace layerscope::gui
