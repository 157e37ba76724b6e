// What every pass makes in the same way: descriptor set layouts, pipeline layouts, shader modules
// and compute pipelines. Errors (kDevice) name the Vulkan call.
#pragma once

#include <cstdint>
#include <span>

#include "engine/base/result.h"
#include "gui/vulkan/handles.h"

namespace layerscope::gui {

Result<UniqueDescriptorSetLayout> make_set_layout(
    VkDevice device, std::span<const VkDescriptorSetLayoutBinding> bindings);

/// Of `sets` in their order and `push_bytes` bytes of push constants, from offset 0, for `stage`.
Result<UniquePipelineLayout> make_pipeline_layout(VkDevice device,
                                                  std::span<const VkDescriptorSetLayout> sets,
                                                  VkShaderStageFlags stage,
                                                  std::uint32_t push_bytes);

/// `code`: SPIR-V.
Result<UniqueShaderModule> make_shader_module(VkDevice device, std::span<const std::uint32_t> code);

/// `code`: SPIR-V with the entry point main.
Result<UniquePipeline> make_compute_pipeline(VkDevice device, std::span<const std::uint32_t> code,
                                             VkPipelineLayout layout);

}  // namespace layerscope::gui
