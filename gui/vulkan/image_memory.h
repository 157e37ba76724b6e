// ImageMemory: many small images in few device allocations. Owned by the UI thread.
//
// Drivers allow only a few thousand allocations; an overview of layers × heads can need as many
// textures. Blocks of 16 MiB are cut first-fit; an image above 4 MiB gets memory of its own. Blocks
// hold images of optimal tiling only, so that bufferImageGranularity does not matter.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "gui/vulkan/context.h"

namespace layerscope::gui {

class ImageMemory {
 public:
  struct Place {
    std::uint32_t block = 0;
    VkDeviceSize offset = 0;
    VkDeviceSize size = 0;
  };

  explicit ImageMemory(const Context& context) : context_(context) {}

  /// Finds device-local memory for `image` and binds it. Error (kDevice): out of memory.
  Result<Place> bind(VkImage image);
  /// Gives the place back; the image must be destroyed already.
  void release(const Place& place);
  /// Bytes of device memory held, free parts included.
  [[nodiscard]] VkDeviceSize bytes() const;

 private:
  struct Block {
    UniqueMemory memory;
    std::uint32_t type = 0;
    VkDeviceSize size = 0;
    std::map<VkDeviceSize, VkDeviceSize> free;  ///< offset → length, never adjacent
  };
  static bool cut(Block& block, VkDeviceSize size, VkDeviceSize alignment, VkDeviceSize& offset);

  const Context& context_;
  std::vector<Block> blocks_;
};

/// An image with view and memory from an ImageMemory.
struct PooledImage {
  ImageMemory::Place place;
  UniqueImage image;
  UniqueImageView view;
};

/// A single-level 2D image of `format` in optimal tiling.
Result<PooledImage> make_image(const Context& context, ImageMemory& memory, VkExtent2D extent,
                               VkFormat format, VkImageUsageFlags usage);

/// Destroys the image and gives its memory back.
void destroy_image(ImageMemory& memory, PooledImage& image);

/// A layout transition of a colour image, to be recorded by `image_barriers`.
VkImageMemoryBarrier2 image_transition(VkImage image, VkImageLayout from, VkImageLayout to,
                                       VkPipelineStageFlags2 source_stage,
                                       VkAccessFlags2 source_access,
                                       VkPipelineStageFlags2 target_stage,
                                       VkAccessFlags2 target_access);
void image_barriers(VkCommandBuffer commands, std::span<const VkImageMemoryBarrier2> barriers);
/// One of them.
void image_barrier(VkCommandBuffer commands, VkImage image, VkImageLayout from, VkImageLayout to,
                   VkPipelineStageFlags2 source_stage, VkAccessFlags2 source_access,
                   VkPipelineStageFlags2 target_stage, VkAccessFlags2 target_access);

}  // namespace layerscope::gui
