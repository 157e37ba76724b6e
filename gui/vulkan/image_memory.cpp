#include "gui/vulkan/image_memory.h"

#include "gui/vulkan/check.h"

namespace layerscope::gui {
namespace {

constexpr VkDeviceSize kBlockBytes = VkDeviceSize{16} << 20U;
constexpr VkDeviceSize kOwnBlockAbove = VkDeviceSize{4} << 20U;

}  // namespace

bool ImageMemory::cut(Block& block, VkDeviceSize size, VkDeviceSize alignment,
                      VkDeviceSize& offset) {
  for (auto it = block.free.begin(); it != block.free.end(); ++it) {
    const VkDeviceSize start = (it->first + alignment - 1) / alignment * alignment;
    const VkDeviceSize end = it->first + it->second;
    if (start + size > end) {
      continue;
    }
    const VkDeviceSize before = it->first;
    block.free.erase(it);
    if (start > before) {
      block.free[before] = start - before;
    }
    if (start + size < end) {
      block.free[start + size] = end - start - size;
    }
    offset = start;
    return true;
  }
  return false;
}

Result<ImageMemory::Place> ImageMemory::bind(VkImage image) {
  VkMemoryRequirements needs{};
  vkGetImageMemoryRequirements(context_.device(), image, &needs);
  LS_TRY(const std::uint32_t type,
         context_.memory_type(needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT));
  Place place;
  place.size = needs.size;
  bool found = false;
  std::uint32_t unused = static_cast<std::uint32_t>(blocks_.size());
  for (std::uint32_t i = 0; i < blocks_.size() && !found; ++i) {
    if (!blocks_[i].memory) {
      unused = i;
    } else if (blocks_[i].type == type &&
               cut(blocks_[i], needs.size, needs.alignment, place.offset)) {
      place.block = i;
      found = true;
    }
  }
  if (!found) {
    VkMemoryAllocateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
    info.allocationSize = needs.size > kOwnBlockAbove ? needs.size : kBlockBytes;
    info.memoryTypeIndex = type;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    LS_VK(vkAllocateMemory(context_.device(), &info, nullptr, &memory));
    Block block;
    block.memory = UniqueMemory(context_.device(), memory);
    block.type = type;
    block.size = info.allocationSize;
    block.free[0] = block.size;
    cut(block, needs.size, needs.alignment, place.offset);
    place.block = unused;
    if (unused == blocks_.size()) {
      blocks_.push_back(std::move(block));
    } else {
      blocks_[unused] = std::move(block);
    }
  }
  LS_VK(
      vkBindImageMemory(context_.device(), image, blocks_[place.block].memory.get(), place.offset));
  return place;
}

void ImageMemory::release(const Place& place) {
  Block& block = blocks_[place.block];
  auto it = block.free.emplace(place.offset, place.size).first;
  if (const auto next = std::next(it);
      next != block.free.end() && it->first + it->second == next->first) {
    it->second += next->second;
    block.free.erase(next);
  }
  if (it != block.free.begin()) {
    const auto previous = std::prev(it);
    if (previous->first + previous->second == it->first) {
      previous->second += it->second;
      block.free.erase(it);
      it = previous;
    }
  }
  if (it->first == 0 && it->second == block.size) {
    block.memory.reset();
    block.free.clear();
    block.size = 0;
  }
}

VkDeviceSize ImageMemory::bytes() const {
  VkDeviceSize sum = 0;
  for (const Block& block : blocks_) {
    sum += block.size;
  }
  return sum;
}

Result<PooledImage> make_image(const Context& context, ImageMemory& memory, VkExtent2D extent,
                               VkFormat format, VkImageUsageFlags usage) {
  VkImageCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO;
  info.imageType = VK_IMAGE_TYPE_2D;
  info.format = format;
  info.extent = {extent.width, extent.height, 1};
  info.mipLevels = 1;
  info.arrayLayers = 1;
  info.samples = VK_SAMPLE_COUNT_1_BIT;
  info.tiling = VK_IMAGE_TILING_OPTIMAL;
  info.usage = usage;
  VkImage raw = VK_NULL_HANDLE;
  LS_VK(vkCreateImage(context.device(), &info, nullptr, &raw));
  PooledImage result;
  result.image = UniqueImage(context.device(), raw);
  LS_TRY(result.place, memory.bind(raw));

  VkImageViewCreateInfo view{};
  view.sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO;
  view.image = raw;
  view.viewType = VK_IMAGE_VIEW_TYPE_2D;
  view.format = format;
  view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
  VkImageView raw_view = VK_NULL_HANDLE;
  if (const Status status = vk_check(vkCreateImageView(context.device(), &view, nullptr, &raw_view),
                                     "vkCreateImageView");
      !status.ok()) {
    destroy_image(memory, result);
    return status.error();
  }
  result.view = UniqueImageView(context.device(), raw_view);
  return result;
}

void destroy_image(ImageMemory& memory, PooledImage& image) {
  image.view.reset();
  image.image.reset();
  if (image.place.size != 0) {
    memory.release(image.place);
    image.place.size = 0;
  }
}

VkImageMemoryBarrier2 image_transition(VkImage image, VkImageLayout from, VkImageLayout to,
                                       VkPipelineStageFlags2 source_stage,
                                       VkAccessFlags2 source_access,
                                       VkPipelineStageFlags2 target_stage,
                                       VkAccessFlags2 target_access) {
  VkImageMemoryBarrier2 barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER_2;
  barrier.srcStageMask = source_stage;
  barrier.srcAccessMask = source_access;
  barrier.dstStageMask = target_stage;
  barrier.dstAccessMask = target_access;
  barrier.oldLayout = from;
  barrier.newLayout = to;
  barrier.srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
  barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
  barrier.image = image;
  barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
  return barrier;
}

void image_barriers(VkCommandBuffer commands, std::span<const VkImageMemoryBarrier2> barriers) {
  VkDependencyInfo dependency{};
  dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
  dependency.imageMemoryBarrierCount = static_cast<std::uint32_t>(barriers.size());
  dependency.pImageMemoryBarriers = barriers.data();
  vkCmdPipelineBarrier2(commands, &dependency);
}

void image_barrier(VkCommandBuffer commands, VkImage image, VkImageLayout from, VkImageLayout to,
                   VkPipelineStageFlags2 source_stage, VkAccessFlags2 source_access,
                   VkPipelineStageFlags2 target_stage, VkAccessFlags2 target_access) {
  const VkImageMemoryBarrier2 barrier =
      image_transition(image, from, to, source_stage, source_access, target_stage, target_access);
  image_barriers(commands, {&barrier, 1});
}

}  // namespace layerscope::gui
