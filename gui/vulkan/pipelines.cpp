#include "gui/vulkan/pipelines.h"

#include "gui/vulkan/check.h"

namespace layerscope::gui {

Result<UniqueDescriptorSetLayout> make_set_layout(
    VkDevice device, std::span<const VkDescriptorSetLayoutBinding> bindings) {
  VkDescriptorSetLayoutCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  info.bindingCount = static_cast<std::uint32_t>(bindings.size());
  info.pBindings = bindings.data();
  VkDescriptorSetLayout raw = VK_NULL_HANDLE;
  LS_VK(vkCreateDescriptorSetLayout(device, &info, nullptr, &raw));
  return UniqueDescriptorSetLayout(device, raw);
}

Result<UniquePipelineLayout> make_pipeline_layout(VkDevice device,
                                                  std::span<const VkDescriptorSetLayout> sets,
                                                  VkShaderStageFlags stage,
                                                  std::uint32_t push_bytes) {
  const VkPushConstantRange push{stage, 0, push_bytes};
  VkPipelineLayoutCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  info.setLayoutCount = static_cast<std::uint32_t>(sets.size());
  info.pSetLayouts = sets.data();
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &push;
  VkPipelineLayout raw = VK_NULL_HANDLE;
  LS_VK(vkCreatePipelineLayout(device, &info, nullptr, &raw));
  return UniquePipelineLayout(device, raw);
}

Result<UniqueShaderModule> make_shader_module(VkDevice device,
                                              std::span<const std::uint32_t> code) {
  VkShaderModuleCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  info.codeSize = code.size_bytes();
  info.pCode = code.data();
  VkShaderModule raw = VK_NULL_HANDLE;
  LS_VK(vkCreateShaderModule(device, &info, nullptr, &raw));
  return UniqueShaderModule(device, raw);
}

Result<UniquePipeline> make_compute_pipeline(VkDevice device, std::span<const std::uint32_t> code,
                                             VkPipelineLayout layout) {
  LS_TRY(const UniqueShaderModule module, make_shader_module(device, code));
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module.get();
  info.stage.pName = "main";
  info.layout = layout;
  VkPipeline raw = VK_NULL_HANDLE;
  LS_VK(vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &info, nullptr, &raw));
  return UniquePipeline(device, raw);
}

}  // namespace layerscope::gui
