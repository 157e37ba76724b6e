#include "gui/vulkan/tile_pass.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "gui/vulkan/check.h"
#include "gui/vulkan/pipelines.h"
#include "shaders/tiles.comp.spv.h"

namespace layerscope::gui {
namespace {

constexpr VkDeviceSize kLeastBytes = VkDeviceSize{2} << 20U;
constexpr std::uint32_t kLists = 4;  ///< storage buffers; the canvas is the binding after them

struct Push {
  std::uint32_t width, height, across, background, swap;
};

std::uint32_t pack(ImVec4 colour) {
  const auto byte = [](float v) {
    return static_cast<std::uint32_t>(std::floor(std::clamp(v, 0.0F, 1.0F) * 255.0F + 0.5F));
  };
  return byte(colour.x) | byte(colour.y) << 8U | byte(colour.z) << 16U | 0xFF000000U;
}

}  // namespace

bool TilePass::possible(const Context& context) {
  const VkPhysicalDeviceLimits& limits = context.limits();
  return limits.maxPerStageDescriptorSampledImages >= TileLists::kMostTextures &&
         limits.maxPerStageDescriptorSamplers >= TileLists::kMostTextures &&
         limits.maxPerStageResources >= TileLists::kMostTextures + kLists + 1;
}

Result<std::unique_ptr<TilePass>> TilePass::create(const Context& context, VkFormat format) {
  std::unique_ptr<TilePass> pass(new TilePass(context, format));
  LS_CHECK(pass->create_sets());
  LS_CHECK(pass->create_pipeline());
  return pass;
}

TilePass::~TilePass() { destroy_image(memory_, canvas_); }

Status TilePass::create_sets() {
  VkDevice device = context_.device();
  std::array<VkDescriptorSetLayoutBinding, kLists + 1> lists{};
  for (std::uint32_t i = 0; i <= kLists; ++i) {
    lists[i] = {i,
                i < kLists ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_IMAGE,
                1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr};
  }
  const VkDescriptorSetLayoutBinding textures{0, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER,
                                              TileLists::kMostTextures, VK_SHADER_STAGE_COMPUTE_BIT,
                                              nullptr};
  LS_TRY(list_layout_, make_set_layout(device, lists));
  LS_TRY(texture_layout_, make_set_layout(device, {&textures, 1}));
  const std::array<VkDescriptorPoolSize, 3> sizes{{
      {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, kSlots * kLists},
      {VK_DESCRIPTOR_TYPE_STORAGE_IMAGE, kSlots},
      {VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, kSlots * TileLists::kMostTextures},
  }};
  VkDescriptorPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  pool.maxSets = 2 * kSlots;
  pool.poolSizeCount = static_cast<std::uint32_t>(sizes.size());
  pool.pPoolSizes = sizes.data();
  VkDescriptorPool raw_pool = VK_NULL_HANDLE;
  LS_VK(vkCreateDescriptorPool(device, &pool, nullptr, &raw_pool));
  pool_ = UniqueDescriptorPool(device, raw_pool);
  for (Slot& slot : slots_) {
    const std::array<VkDescriptorSetLayout, 2> layouts{list_layout_.get(), texture_layout_.get()};
    std::array<VkDescriptorSet, 2> sets{};
    VkDescriptorSetAllocateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
    info.descriptorPool = raw_pool;
    info.descriptorSetCount = 2;
    info.pSetLayouts = layouts.data();
    LS_VK(vkAllocateDescriptorSets(device, &info, sets.data()));
    slot.lists = sets[0];
    slot.textures = sets[1];
  }
  return {};
}

Status TilePass::create_pipeline() {
  VkDevice device = context_.device();
  const std::array<VkDescriptorSetLayout, 2> layouts{list_layout_.get(), texture_layout_.get()};
  LS_TRY(layout_, make_pipeline_layout(device, layouts, VK_SHADER_STAGE_COMPUTE_BIT, sizeof(Push)));
  LS_TRY(pipeline_, make_compute_pipeline(device, kTilesComp, layout_.get()));
  return {};
}

/// A canvas of that size.
Status TilePass::fit(VkExtent2D extent) {
  if (extent.width == extent_.width && extent.height == extent_.height) {
    return {};
  }
  context_.wait_idle();
  destroy_image(memory_, canvas_);
  extent_ = {};
  LS_TRY(canvas_, make_image(context_, memory_, extent, VK_FORMAT_R8G8B8A8_UNORM,
                             VK_IMAGE_USAGE_STORAGE_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT));
  extent_ = extent;
  return {};
}

void TilePass::point_canvas(const Slot& slot, VkImageView view) const {
  const VkDescriptorImageInfo image{VK_NULL_HANDLE, view, VK_IMAGE_LAYOUT_GENERAL};
  VkWriteDescriptorSet write{};
  write.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
  write.dstSet = slot.lists;
  write.dstBinding = kLists;
  write.descriptorCount = 1;
  write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_IMAGE;
  write.pImageInfo = &image;
  vkUpdateDescriptorSets(context_.device(), 1, &write, 0, nullptr);
}

void TilePass::point_lists(const Slot& slot, const std::array<VkDeviceSize, 5>& ends) const {
  std::array<VkDescriptorBufferInfo, kLists> buffers{};
  std::array<VkWriteDescriptorSet, kLists> writes{};
  for (std::uint32_t i = 0; i < kLists; ++i) {
    buffers[i] = {slot.memory.buffer.get(), ends[i], ends[i + 1] - ends[i]};
    writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[i].dstSet = slot.lists;
    writes[i].dstBinding = i;
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    writes[i].pBufferInfo = &buffers[i];
  }
  vkUpdateDescriptorSets(context_.device(), kLists, writes.data(), 0, nullptr);
}

/// Dear ImGui knows a texture by a descriptor set of one: its content is copied. Every element of
/// the array must name something, so the last texture fills the rest.
void TilePass::point_textures(const Slot& slot) const {
  const auto textures = lists_.textures();
  if (textures.empty()) {
    return;
  }
  std::array<VkCopyDescriptorSet, TileLists::kMostTextures> copies{};
  for (std::uint32_t i = 0; i < copies.size(); ++i) {
    copies[i].sType = VK_STRUCTURE_TYPE_COPY_DESCRIPTOR_SET;
    copies[i].srcSet =
        std::bit_cast<VkDescriptorSet>(textures[std::min<std::size_t>(i, textures.size() - 1)]);
    copies[i].dstSet = slot.textures;
    copies[i].dstArrayElement = i;
    copies[i].descriptorCount = 1;
  }
  vkUpdateDescriptorSets(context_.device(), 0, nullptr, TileLists::kMostTextures, copies.data());
}

Result<bool> TilePass::upload(const ImDrawData& data, const TargetImage& image,
                              std::uint32_t slot) {
  const ImFontAtlas& fonts = *ImGui::GetIO().Fonts;
  if (!lists_.build(data, {image.extent.width, image.extent.height}, fonts.TexRef.GetTexID(),
                    fonts.TexUvWhitePixel) ||
      lists_.textures().empty()) {
    return false;
  }
  if (!image.storage) {
    LS_CHECK(fit(image.extent));
  }
  const VkDeviceSize alignment =
      std::max<VkDeviceSize>(context_.limits().minStorageBufferOffsetAlignment, 16);
  const std::array<VkDeviceSize, kLists> bytes{
      lists_.primitives().size_bytes(), lists_.starts().size_bytes(), lists_.entries().size_bytes(),
      lists_.corners().size_bytes()};
  const std::array<const void*, kLists> sources{lists_.primitives().data(), lists_.starts().data(),
                                                lists_.entries().data(), lists_.corners().data()};
  std::array<VkDeviceSize, kLists + 1> ends{};
  for (std::uint32_t i = 0; i < kLists; ++i) {  // an empty list has a place, too
    ends[i + 1] =
        ends[i] + (std::max<VkDeviceSize>(bytes[i], 1) + alignment - 1) / alignment * alignment;
  }
  Slot& here = slots_[slot];
  if (here.memory.size < ends[kLists]) {
    here.memory = {};
    LS_TRY(here.memory,
           context_.make_upload_buffer(std::max(kLeastBytes, ends[kLists] + ends[kLists] / 2),
                                       VK_BUFFER_USAGE_STORAGE_BUFFER_BIT));
  }
  for (std::uint32_t i = 0; i < kLists; ++i) {
    if (bytes[i] != 0) {
      std::memcpy(static_cast<std::byte*>(here.memory.mapped) + ends[i], sources[i], bytes[i]);
    }
  }
  point_lists(here, ends);
  point_textures(here);
  point_canvas(here, image.storage ? image.view : canvas_.view.get());
  return true;
}

void TilePass::record(VkCommandBuffer commands, const TargetImage& image, std::uint32_t slot,
                      ImVec4 background) const {
  const Slot& here = slots_[slot];
  VkImage drawn = image.storage ? image.image : canvas_.image.get();
  image_barrier(commands, drawn, VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_GENERAL,
                VK_PIPELINE_STAGE_2_COPY_BIT, VK_ACCESS_2_NONE,
                VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT, VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT);
  vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline_.get());
  const std::array<VkDescriptorSet, 2> sets{here.lists, here.textures};
  vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout_.get(), 0, 2,
                          sets.data(), 0, nullptr);
  const bool swap = format_ == VK_FORMAT_B8G8R8A8_UNORM;
  const Push push{image.extent.width, image.extent.height, lists_.across(), pack(background),
                  swap ? 1U : 0U};
  vkCmdPushConstants(commands, layout_.get(), VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), &push);
  vkCmdDispatch(commands, lists_.across(), lists_.down(), 1);
  const bool read = image.final_layout == VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL;
  const VkPipelineStageFlags2 reader =
      read ? VK_PIPELINE_STAGE_2_COPY_BIT : VK_PIPELINE_STAGE_2_NONE;
  const VkAccessFlags2 reading = read ? VK_ACCESS_2_TRANSFER_READ_BIT : VK_ACCESS_2_NONE;
  if (image.storage) {
    image_barrier(commands, drawn, VK_IMAGE_LAYOUT_GENERAL, image.final_layout,
                  VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT, VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT,
                  reader, reading);
    return;
  }
  image_barrier(commands, drawn, VK_IMAGE_LAYOUT_GENERAL, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT, VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT,
                VK_PIPELINE_STAGE_2_COPY_BIT, VK_ACCESS_2_TRANSFER_READ_BIT);
  // The stage of a swapchain's semaphore is the one that writes the image.
  image_barrier(commands, image.image, VK_IMAGE_LAYOUT_UNDEFINED,
                VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, VK_PIPELINE_STAGE_2_COPY_BIT,
                VK_ACCESS_2_NONE, VK_PIPELINE_STAGE_2_COPY_BIT, VK_ACCESS_2_TRANSFER_WRITE_BIT);
  VkImageCopy region{};
  region.srcSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
  region.dstSubresource = region.srcSubresource;
  region.extent = {extent_.width, extent_.height, 1};
  vkCmdCopyImage(commands, drawn, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, image.image,
                 VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &region);
  image_barrier(commands, image.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, image.final_layout,
                VK_PIPELINE_STAGE_2_COPY_BIT, VK_ACCESS_2_TRANSFER_WRITE_BIT, reader, reading);
}

}  // namespace layerscope::gui
