// TilePass: draws Dear ImGui's triangles with a compute shader, into the target where shaders may
// write it, else into an image of its own that is then copied. Owned by the UI thread. tiles.comp
// says why.
#pragma once

#include <imgui.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "gui/vulkan/context.h"
#include "gui/vulkan/image_memory.h"
#include "gui/vulkan/target.h"
#include "gui/vulkan/tile_lists.h"

namespace layerscope::gui {

class TilePass {
 public:
  static constexpr std::uint32_t kSlots = 3;  ///< as InterfacePass

  /// Whether a shader of the device may read enough textures.
  static bool possible(const Context& context);
  /// `format`: of the targets, 8 bits a channel. Error (kDevice): an object was refused.
  static Result<std::unique_ptr<TilePass>> create(const Context& context, VkFormat format);
  ~TilePass();
  TilePass(const TilePass&) = delete;
  TilePass& operator=(const TilePass&) = delete;

  /// Sorts `data` and copies what the shader reads, for `slot`, which the device must have left.
  /// False: it has more textures than a frame may have; the graphics pipeline must draw it.
  Result<bool> upload(const ImDrawData& data, const TargetImage& image, std::uint32_t slot);
  /// Draws what was uploaded for `slot` and leaves `image` in `final_layout`. The heatmaps' and
  /// glyphs' writes must be visible to compute shaders.
  void record(VkCommandBuffer commands, const TargetImage& image, std::uint32_t slot,
              ImVec4 background) const;

 private:
  struct Slot {
    Buffer memory;  ///< primitives, starts, entries, corners
    VkDescriptorSet lists = VK_NULL_HANDLE, textures = VK_NULL_HANDLE;
  };
  TilePass(const Context& context, VkFormat format)
      : context_(context), memory_(context), format_(format) {}
  Status create_sets();
  Status create_pipeline();
  Status fit(VkExtent2D extent);
  void point_lists(const Slot& slot, const std::array<VkDeviceSize, 5>& ends) const;
  void point_textures(const Slot& slot) const;
  void point_canvas(const Slot& slot, VkImageView view) const;

  const Context& context_;
  ImageMemory memory_;
  VkFormat format_;
  UniqueDescriptorSetLayout list_layout_, texture_layout_;
  UniqueDescriptorPool pool_;
  UniquePipelineLayout layout_;
  UniquePipeline pipeline_;
  std::array<Slot, kSlots> slots_;
  PooledImage canvas_;
  VkExtent2D extent_{};
  TileLists lists_;  ///< of the frame uploaded last
};

}  // namespace layerscope::gui
