// InterfacePass: draws Dear ImGui's triangles. Owned by the UI thread.
//
// Dear ImGui's own backend keeps the textures and their descriptor sets; its drawing is replaced
// because its vertices lie in host memory: a data-centre GPU fetches them over the bus with the few
// units that draw, while nothing else computes. Here they are written into device memory that the
// host sees, where there is some.
#pragma once

#include <imgui.h>

#include <array>
#include <cstdint>

#include "gui/vulkan/context.h"

namespace layerscope::gui {

class InterfacePass {
 public:
  /// Frames in flight, and one for drawing a frame a second time.
  static constexpr std::uint32_t kSlots = 3;

  /// For colour attachments of `format`. Error (kDevice): an object was refused.
  static Result<InterfacePass> create(const Context& context, VkFormat format);

  /// Copies the vertices of `data` for `slot`, which the device must have left. Before `record`.
  Status upload(const ImDrawData& data, std::uint32_t slot);
  /// Inside a rendering of the whole window. What was uploaded for `slot`.
  void record(VkCommandBuffer commands, const ImDrawData& data, std::uint32_t slot) const;

 private:
  struct Slot {
    Buffer vertices, indices;
  };
  explicit InterfacePass(const Context& context) : context_(&context) {}
  Status create_layout();
  Status create_pipeline(VkFormat format);
  Status reserve(Buffer& buffer, VkDeviceSize bytes, VkBufferUsageFlags usage) const;

  const Context* context_;
  UniqueDescriptorSetLayout set_layout_;  ///< identical to that of Dear ImGui's sets
  UniquePipelineLayout layout_;
  UniquePipeline pipeline_;
  std::array<Slot, kSlots> slots_;
};

}  // namespace layerscope::gui
