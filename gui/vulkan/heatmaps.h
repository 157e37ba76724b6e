// VulkanHeatmaps: values → colours, on the GPU. Owned by the UI thread.
//
// `texture` copies the values into this frame's staging buffer (three slots, so that no frame in
// flight is overwritten); `record` runs assets/shaders/heatmap.comp once per changed texture,
// before the frame is drawn; charts take the same way through assets/shaders/chart.comp. Textures
// that nobody asked for during a few frames are freed, after the last frame that used them has
// finished.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gui/view/chart.h"
#include "gui/view/color_map.h"
#include "gui/view/heatmap.h"
#include "gui/vulkan/image_memory.h"

namespace layerscope::gui {

/// Textures alive at one time; more give 0 (nothing to draw) and one line in the log.
inline constexpr std::uint32_t kMaxHeatmaps = 4096;

class VulkanHeatmaps : public HeatmapRenderer {
 public:
  static Result<std::unique_ptr<VulkanHeatmaps>> create(const Context& context, std::string reason);
  ~VulkanHeatmaps() override;

  TextureHandle texture(std::string_view key, const HeatmapData& data) override;
  TextureHandle chart(std::string_view key, const ChartData& data) override;
  [[nodiscard]] std::string_view path_text() const override { return path_text_; }
  [[nodiscard]] std::string_view path_reason() const override { return path_reason_; }

  /// Starts frame `frame`; frames up to `submitted` were handed to the device, up to `finished`
  /// done.
  void begin_frame(std::uint64_t frame, std::uint64_t submitted, std::uint64_t finished);
  /// Buffers that HeatmapData::device names by slot; empty: none. The device must be idle.
  Status set_device_slots(std::span<const VkBuffer> buffers, VkDeviceSize bytes);
  /// Which path values take, and why.
  void set_path(std::string text, std::string reason);
  /// Whether a job of this frame reads a slot.
  [[nodiscard]] bool reads_slots() const { return reads_slots_; }

  /// Records the colouring of everything that changed in this frame.
  void record(VkCommandBuffer commands);

  [[nodiscard]] std::size_t textures() const { return entries_.size(); }
  [[nodiscard]] std::uint64_t uploads() const { return uploads_; }

 private:
  static constexpr std::uint32_t kStagingSlots = 3;

  /// Push constants of both shaders.
  struct Push {
    std::int32_t width = 0, height = 0;
    std::uint32_t offset = 0;
    std::uint32_t kind = 0;  ///< colour map, or kind of chart
    std::uint32_t flags = 0;
    float lo = 0.0F, hi = 0.0F;
    std::int32_t lines = 0, cells = 0;
    float thickness = 0.0F;
    view::ColorStops colors{};  ///< of the map, or of the lines
    bool operator==(const Push&) const = default;
  };
  enum class Shader : std::uint8_t { kHeatmap, kChart };
  /// Values and what decides a texture's pixels beside them.
  struct Look {
    std::uint64_t version = 0;
    DeviceValues device;
    Shader shader = Shader::kHeatmap;
    Push push;  ///< without the offset
    bool operator==(const Look&) const = default;
  };
  struct Entry {
    PooledImage image;
    VkDescriptorSet shown = VK_NULL_HANDLE;   ///< for Dear ImGui
    VkDescriptorSet output = VK_NULL_HANDLE;  ///< for the shader
    int width = 0, height = 0;
    Look look;
    std::uint64_t last_used = 0;
    bool coloured = false;  ///< has been written at least once
  };
  struct Chunk {
    Buffer buffer;
    VkDescriptorSet input = VK_NULL_HANDLE;
    VkDeviceSize used = 0;
  };
  struct Job {
    VkImage image = VK_NULL_HANDLE;
    VkDescriptorSet input = VK_NULL_HANDLE, output = VK_NULL_HANDLE;
    Shader shader = Shader::kHeatmap;
    Push push;
  };
  struct Grave {
    Entry entry;
    std::uint64_t last_frame = 0;
  };

  VulkanHeatmaps(const Context& context, std::string reason);
  Status create_pipelines();
  /// The texture of `values` [count], or of those in device memory, made as `look` says.
  TextureHandle made(std::string_view key, const Look& look, std::span<const float> values,
                     std::size_t count);
  Status create_entry(Entry& entry, int width, int height);
  Result<VkDescriptorSet> allocate_set(VkDescriptorSetLayout layout);
  /// Writes a set whose only binding is the whole of a storage buffer.
  void point_at(VkDescriptorSet set, VkBuffer buffer, VkDeviceSize bytes) const;
  /// Room for `bytes` in this frame's staging slot.
  Result<Chunk*> staging(VkDeviceSize bytes);
  /// Puts the values where the shader finds them: the input and the first value's index.
  Result<std::pair<VkDescriptorSet, std::uint32_t>> input_of(const DeviceValues& device,
                                                             std::span<const float> values,
                                                             std::size_t count);
  TextureHandle refuse(std::string_view key, std::string_view why);
  void bury(Entry entry);
  void destroy(Entry& entry);

  const Context& context_;
  ImageMemory memory_;
  UniqueSampler sampler_;
  UniqueDescriptorPool pool_;
  UniqueDescriptorSetLayout input_layout_, output_layout_;
  UniquePipelineLayout layout_;
  std::array<UniquePipeline, 2> pipelines_;  ///< by Shader
  std::array<std::vector<Chunk>, kStagingSlots> staging_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<Grave> graves_;
  std::vector<Job> jobs_;
  std::vector<VkDescriptorSet> slots_;  ///< inputs, by slot
  VkDeviceSize slot_floats_ = 0;
  bool reads_slots_ = false;
  std::uint64_t frame_ = 0;
  std::uint64_t uploads_ = 0;
  bool refused_ = false;
  std::string path_text_, path_reason_;
};

}  // namespace layerscope::gui
