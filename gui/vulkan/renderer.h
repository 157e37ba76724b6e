// Renderer: draws Dear ImGui's frames into a RenderTarget and coloured heatmaps into textures.
// Owned by the UI thread. An ImGui context must exist for the renderer's whole life.
//
// Per frame: begin() → ImGui::NewFrame … ImGui::Render → end(). Two frames are in flight; a
// timeline semaphore counts finished frames, and whatever a frame used is freed only after it.
#pragma once

#include <imgui.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gui/vulkan/context.h"
#include "gui/vulkan/gpu_timer.h"
#include "gui/vulkan/heatmaps.h"
#include "gui/vulkan/interface_pass.h"
#include "gui/vulkan/target.h"
#include "gui/vulkan/tile_pass.h"

namespace layerscope::gui {

inline constexpr std::uint32_t kFrameSlots = 2;
static_assert(GpuTimer::kSlots == kFrameSlots && InterfacePass::kSlots == kFrameSlots + 1 &&
              TilePass::kSlots == kFrameSlots + 1);

/// What draws the interface. kAuto: tiles where a GPU can, rasterising in software.
enum class DrawWith : std::uint8_t { kAuto, kTiles, kRaster };

/// 8-bit RGBA pixels, row-major, top row first, 4 · width bytes a row.
struct Pixels {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::vector<std::uint8_t> rgba;
};

class Renderer {
 public:
  /// `reason` says why values travel through a staging buffer (shown with the path).
  /// Error (kDevice): kTiles was asked for and the device or the target cannot.
  static Result<std::unique_ptr<Renderer>> create(const Context& context, RenderTarget& target,
                                                  std::string reason,
                                                  DrawWith with = DrawWith::kAuto);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  /// Waits for the frame slot and prepares the heatmaps.
  Status begin();
  /// Without drawing, frames are laid out and heatmaps coloured, but nothing is painted: capture()
  /// paints the last one. For scripts that are after a few pictures.
  void set_drawing(bool drawing) { drawing_ = drawing; }
  [[nodiscard]] bool drawing() const { return drawing_; }
  /// Draws ImGui::GetDrawData() and presents it. False: the target had no image, frame skipped.
  Result<bool> end();
  /// The frames that read shared slots wait until `semaphore` reaches `value`: by then the values
  /// have been written. `semaphore` null: nothing is shared.
  void wait_before_reading(VkSemaphore semaphore, std::uint64_t value) {
    shared_ = semaphore;
    shared_value_ = value;
  }
  /// Number of the last frame that the device has finished.
  [[nodiscard]] Result<std::uint64_t> finished() const;
  /// Waits until everything submitted is done: what it read may then be destroyed.
  void finish() const { context_.wait_idle(); }
  /// Whether frames are timed on the device from now on.
  void measure(bool on) { timer_->enable(on); }
  /// Device times of the frame that `begin` found finished last; none: not timed.
  [[nodiscard]] const std::optional<GpuTimes>& gpu_times() const { return gpu_times_; }
  /// Renders the draw data of the last frame once more into an image and reads it back.
  Result<Pixels> capture();

  /// Whether compute shaders draw the interface.
  [[nodiscard]] bool draws_tiles() const { return tiles_ != nullptr; }
  [[nodiscard]] VulkanHeatmaps& heatmaps() { return *heatmaps_; }
  [[nodiscard]] std::uint64_t frames() const { return frame_; }

 private:
  Renderer(const Context& context, RenderTarget& target) : context_(context), target_(target) {}
  Status create_objects();
  Status start_imgui();
  Status wait_for(std::uint64_t value) const;
  Status choose(DrawWith with);
  /// Uploads the frame's triangles for `slot` and records their drawing into `image`.
  Status record_interface(VkCommandBuffer commands, const TargetImage& image, std::uint32_t slot);
  void record_raster(VkCommandBuffer commands, const TargetImage& image, std::uint32_t slot) const;
  Status update_textures();
  static void on_imgui_result(VkResult result);

  struct Slot {
    UniqueCommandPool pool;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    std::uint64_t value = 0;  ///< timeline value at which the slot is free again
  };

  const Context& context_;
  RenderTarget& target_;
  std::array<Slot, kFrameSlots> slots_;
  UniqueSemaphore timeline_;
  VkSemaphore shared_ = VK_NULL_HANDLE;  ///< timeline of shared slots, not ours
  std::uint64_t shared_value_ = 0;
  std::unique_ptr<VulkanHeatmaps> heatmaps_;
  std::optional<InterfacePass> interface_;  ///< from create_objects on, as timer_
  std::unique_ptr<TilePass> tiles_;         ///< null: everything is rasterised
  std::optional<GpuTimer> timer_;
  std::optional<GpuTimes> gpu_times_;
  std::uint64_t frame_ = 0;      ///< frames begun; the timeline value of the present one
  std::uint64_t submitted_ = 0;  ///< timeline value submitted last
  bool drawing_ = true;
  bool imgui_started_ = false;
  VkFormat format_ = VK_FORMAT_UNDEFINED;
  VkResult imgui_result_ = VK_SUCCESS;  ///< first failure inside Dear ImGui's backend
};

}  // namespace layerscope::gui
