// The one helper that checks Vulkan results: a VkResult becomes a Status with a sentence.
#pragma once

#include <vulkan/vulkan.h>

#include "engine/base/result.h"

namespace layerscope::gui {

/// "VK_ERROR_DEVICE_LOST"; unknown codes give their number.
std::string vk_result_name(VkResult result);

/// Success (and VK_SUBOPTIMAL_KHR) is ok; everything else is an Error (kDevice) naming `call`.
Status vk_check(VkResult result, const char* call);

}  // namespace layerscope::gui

/// Returns the error of a Vulkan call from the enclosing function.
#define LS_VK(call) LS_CHECK(::layerscope::gui::vk_check((call), #call))
