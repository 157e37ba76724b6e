#include "gui/vulkan/interface_pass.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "gui/vulkan/check.h"
#include "gui/vulkan/pipelines.h"
#include "shaders/interface.frag.spv.h"
#include "shaders/interface.vert.spv.h"

namespace layerscope::gui {
namespace {

constexpr VkDeviceSize kLeastBytes = VkDeviceSize{1} << 20U;

struct Push {
  float scale[2];
  float translate[2];
};

/// The part of the window that `command` may touch, in pixels; empty: nothing.
VkRect2D scissor_of(const ImDrawCmd& command, const ImDrawData& data, VkExtent2D extent) {
  const ImVec2 offset = data.DisplayPos;
  const ImVec2 scale = data.FramebufferScale;
  const float left = std::max((command.ClipRect.x - offset.x) * scale.x, 0.0F);
  const float top = std::max((command.ClipRect.y - offset.y) * scale.y, 0.0F);
  const float right =
      std::min((command.ClipRect.z - offset.x) * scale.x, static_cast<float>(extent.width));
  const float bottom =
      std::min((command.ClipRect.w - offset.y) * scale.y, static_cast<float>(extent.height));
  if (!(right > left) || !(bottom > top)) {
    return {};
  }
  return {{static_cast<std::int32_t>(left), static_cast<std::int32_t>(top)},
          {static_cast<std::uint32_t>(right - left), static_cast<std::uint32_t>(bottom - top)}};
}

VkExtent2D extent_of(const ImDrawData& data) {
  return {static_cast<std::uint32_t>(std::max(data.DisplaySize.x * data.FramebufferScale.x, 0.0F)),
          static_cast<std::uint32_t>(std::max(data.DisplaySize.y * data.FramebufferScale.y, 0.0F))};
}

}  // namespace

Result<InterfacePass> InterfacePass::create(const Context& context, VkFormat format) {
  InterfacePass pass(context);
  LS_CHECK(pass.create_layout());
  LS_CHECK(pass.create_pipeline(format));
  return pass;
}

Status InterfacePass::create_layout() {
  VkDevice device = context_->device();
  VkDescriptorSetLayoutBinding binding{};
  binding.descriptorType = VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER;
  binding.descriptorCount = 1;
  binding.stageFlags = VK_SHADER_STAGE_FRAGMENT_BIT;
  LS_TRY(set_layout_, make_set_layout(device, {&binding, 1}));
  VkDescriptorSetLayout set = set_layout_.get();
  LS_TRY(layout_,
         make_pipeline_layout(device, {&set, 1}, VK_SHADER_STAGE_VERTEX_BIT, sizeof(Push)));
  return {};
}

Status InterfacePass::create_pipeline(VkFormat format) {
  VkDevice device = context_->device();
  LS_TRY(const UniqueShaderModule vertex, make_shader_module(device, kInterfaceVert));
  LS_TRY(const UniqueShaderModule fragment, make_shader_module(device, kInterfaceFrag));
  std::array<VkPipelineShaderStageCreateInfo, 2> stages{};
  for (auto& stage : stages) {
    stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
    stage.pName = "main";
  }
  stages[0].stage = VK_SHADER_STAGE_VERTEX_BIT;
  stages[0].module = vertex.get();
  stages[1].stage = VK_SHADER_STAGE_FRAGMENT_BIT;
  stages[1].module = fragment.get();

  const VkVertexInputBindingDescription binding{0, sizeof(ImDrawVert), VK_VERTEX_INPUT_RATE_VERTEX};
  const std::array<VkVertexInputAttributeDescription, 3> attributes{{
      {0, 0, VK_FORMAT_R32G32_SFLOAT, offsetof(ImDrawVert, pos)},
      {1, 0, VK_FORMAT_R32G32_SFLOAT, offsetof(ImDrawVert, uv)},
      {2, 0, VK_FORMAT_R8G8B8A8_UNORM, offsetof(ImDrawVert, col)},
  }};
  VkPipelineVertexInputStateCreateInfo input{};
  input.sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO;
  input.vertexBindingDescriptionCount = 1;
  input.pVertexBindingDescriptions = &binding;
  input.vertexAttributeDescriptionCount = static_cast<std::uint32_t>(attributes.size());
  input.pVertexAttributeDescriptions = attributes.data();
  VkPipelineInputAssemblyStateCreateInfo assembly{};
  assembly.sType = VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO;
  assembly.topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST;
  VkPipelineViewportStateCreateInfo viewport{};
  viewport.sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO;
  viewport.viewportCount = 1;
  viewport.scissorCount = 1;
  VkPipelineRasterizationStateCreateInfo raster{};
  raster.sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO;
  raster.polygonMode = VK_POLYGON_MODE_FILL;
  raster.cullMode = VK_CULL_MODE_NONE;
  raster.lineWidth = 1.0F;
  VkPipelineMultisampleStateCreateInfo samples{};
  samples.sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO;
  samples.rasterizationSamples = VK_SAMPLE_COUNT_1_BIT;
  VkPipelineColorBlendAttachmentState blend{};
  blend.blendEnable = VK_TRUE;
  blend.srcColorBlendFactor = VK_BLEND_FACTOR_SRC_ALPHA;
  blend.dstColorBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA;
  blend.colorBlendOp = VK_BLEND_OP_ADD;
  blend.srcAlphaBlendFactor = VK_BLEND_FACTOR_ONE;
  blend.dstAlphaBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA;
  blend.alphaBlendOp = VK_BLEND_OP_ADD;
  blend.colorWriteMask = VK_COLOR_COMPONENT_R_BIT | VK_COLOR_COMPONENT_G_BIT |
                         VK_COLOR_COMPONENT_B_BIT | VK_COLOR_COMPONENT_A_BIT;
  VkPipelineColorBlendStateCreateInfo blending{};
  blending.sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO;
  blending.attachmentCount = 1;
  blending.pAttachments = &blend;
  const std::array<VkDynamicState, 2> dynamic{VK_DYNAMIC_STATE_VIEWPORT, VK_DYNAMIC_STATE_SCISSOR};
  VkPipelineDynamicStateCreateInfo changing{};
  changing.sType = VK_STRUCTURE_TYPE_PIPELINE_DYNAMIC_STATE_CREATE_INFO;
  changing.dynamicStateCount = static_cast<std::uint32_t>(dynamic.size());
  changing.pDynamicStates = dynamic.data();
  VkPipelineRenderingCreateInfo rendering{};
  rendering.sType = VK_STRUCTURE_TYPE_PIPELINE_RENDERING_CREATE_INFO;
  rendering.colorAttachmentCount = 1;
  rendering.pColorAttachmentFormats = &format;
  VkGraphicsPipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO;
  info.pNext = &rendering;
  info.stageCount = static_cast<std::uint32_t>(stages.size());
  info.pStages = stages.data();
  info.pVertexInputState = &input;
  info.pInputAssemblyState = &assembly;
  info.pViewportState = &viewport;
  info.pRasterizationState = &raster;
  info.pMultisampleState = &samples;
  info.pColorBlendState = &blending;
  info.pDynamicState = &changing;
  info.layout = layout_.get();
  VkPipeline raw = VK_NULL_HANDLE;
  LS_VK(vkCreateGraphicsPipelines(device, VK_NULL_HANDLE, 1, &info, nullptr, &raw));
  pipeline_ = UniquePipeline(device, raw);
  return {};
}

Status InterfacePass::reserve(Buffer& buffer, VkDeviceSize bytes, VkBufferUsageFlags usage) const {
  if (buffer.size >= bytes) {
    return {};
  }
  buffer = {};
  LS_TRY(buffer, context_->make_upload_buffer(std::max(kLeastBytes, bytes + bytes / 2), usage));
  return {};
}

Status InterfacePass::upload(const ImDrawData& data, std::uint32_t slot) {
  Slot& here = slots_[slot];
  LS_CHECK(reserve(here.vertices,
                   static_cast<VkDeviceSize>(data.TotalVtxCount) * sizeof(ImDrawVert),
                   VK_BUFFER_USAGE_VERTEX_BUFFER_BIT));
  LS_CHECK(reserve(here.indices, static_cast<VkDeviceSize>(data.TotalIdxCount) * sizeof(ImDrawIdx),
                   VK_BUFFER_USAGE_INDEX_BUFFER_BIT));
  auto* vertices = static_cast<std::byte*>(here.vertices.mapped);
  auto* indices = static_cast<std::byte*>(here.indices.mapped);
  for (const ImDrawList* list : data.CmdLists) {
    const auto vertex_bytes = static_cast<std::size_t>(list->VtxBuffer.size_in_bytes());
    const auto index_bytes = static_cast<std::size_t>(list->IdxBuffer.size_in_bytes());
    if (vertex_bytes != 0) {
      std::memcpy(vertices, list->VtxBuffer.Data, vertex_bytes);
    }
    if (index_bytes != 0) {
      std::memcpy(indices, list->IdxBuffer.Data, index_bytes);
    }
    vertices += vertex_bytes;
    indices += index_bytes;
  }
  return {};
}

void InterfacePass::record(VkCommandBuffer commands, const ImDrawData& data,
                           std::uint32_t slot) const {
  const VkExtent2D extent = extent_of(data);
  if (data.TotalVtxCount <= 0 || extent.width == 0 || extent.height == 0) {
    return;
  }
  const Slot& here = slots_[slot];
  VkBuffer vertices = here.vertices.buffer.get();
  const VkDeviceSize start = 0;
  vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, pipeline_.get());
  vkCmdBindVertexBuffers(commands, 0, 1, &vertices, &start);
  vkCmdBindIndexBuffer(commands, here.indices.buffer.get(), 0,
                       sizeof(ImDrawIdx) == 2 ? VK_INDEX_TYPE_UINT16 : VK_INDEX_TYPE_UINT32);
  const VkViewport viewport{
      0.0F, 0.0F, static_cast<float>(extent.width), static_cast<float>(extent.height), 0.0F, 1.0F};
  vkCmdSetViewport(commands, 0, 1, &viewport);
  Push push{};
  push.scale[0] = 2.0F / data.DisplaySize.x;
  push.scale[1] = 2.0F / data.DisplaySize.y;
  push.translate[0] = -1.0F - data.DisplayPos.x * push.scale[0];
  push.translate[1] = -1.0F - data.DisplayPos.y * push.scale[1];
  vkCmdPushConstants(commands, layout_.get(), VK_SHADER_STAGE_VERTEX_BIT, 0, sizeof(push), &push);

  VkDescriptorSet bound = VK_NULL_HANDLE;
  std::int32_t first_vertex = 0;
  std::uint32_t first_index = 0;
  for (const ImDrawList* list : data.CmdLists) {
    for (const ImDrawCmd& command : list->CmdBuffer) {
      const VkRect2D scissor = scissor_of(command, data, extent);
      if (command.UserCallback != nullptr || scissor.extent.width == 0 ||
          scissor.extent.height == 0) {
        continue;  // no panel uses callbacks
      }
      vkCmdSetScissor(commands, 0, 1, &scissor);
      auto set = std::bit_cast<VkDescriptorSet>(command.GetTexID());
      if (set != bound) {
        vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, layout_.get(), 0, 1,
                                &set, 0, nullptr);
        bound = set;
      }
      vkCmdDrawIndexed(commands, command.ElemCount, 1, first_index + command.IdxOffset,
                       first_vertex + static_cast<std::int32_t>(command.VtxOffset), 0);
    }
    first_index += static_cast<std::uint32_t>(list->IdxBuffer.Size);
    first_vertex += list->VtxBuffer.Size;
  }
}

}  // namespace layerscope::gui
