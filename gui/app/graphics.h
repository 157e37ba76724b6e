// Graphics: device, target, renderer and pictures of the window, which are made together and go
// together. Owned by the UI thread; an ImGui context must exist, and no ImGui frame may be open
// when they are made anew.
//
// A device that was lost is left: everything is made again, on the same device or, where that is
// gone, on the next best one. What a worker may still draw into is kept until it has let go.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gui/app/pictures.h"
#include "gui/app/platform.h"
#include "gui/vulkan/offscreen_target.h"

namespace layerscope::gui {

struct GraphicsOptions {
  bool offscreen = false;  ///< into an image of width × height; else into the platform's window
  std::uint32_t width = 0, height = 0;
  bool validation = false;
  bool measure = false;  ///< what each frame takes on the device
  DrawWith with = DrawWith::kAuto;
  std::string refused;  ///< why nothing may be shared with CUDA; empty: share where possible
  /// Losses to rehearse: the first with the first device, the next with the one after it.
  std::vector<LossPlan> rehearsals;
};

class Graphics {
 public:
  Graphics(GraphicsOptions options, std::shared_ptr<std::atomic<std::uint32_t>> problems);
  ~Graphics();  ///< The sessions that drew must be gone.
  Graphics(const Graphics&) = delete;
  Graphics& operator=(const Graphics&) = delete;

  /// Errors (kDevice): no usable device, or it cannot draw to this window.
  Status start(Platform& platform);
  /// After an error: whether the device or the window's surface is lost, so that `recover` may
  /// help.
  [[nodiscard]] bool lost() const;
  /// After the loss that `error` tells of: takes the sinks from `sessions`, leaves the present
  /// device and starts anew. Errors (kDevice), after which nothing may be drawn: no device could be
  /// started, or too many were lost in a short time.
  Status recover(const Error& error, Platform& platform,
                 std::span<session::SessionLink* const> sessions);
  /// Frees what was kept of lost devices as soon as nobody draws into it. Once a frame.
  /// `sinks_lost` as in Snapshot: when it rises, CUDA's side of that memory is gone.
  void sweep(int sinks_lost);

  [[nodiscard]] Context& context() { return *drawing_.context; }
  [[nodiscard]] Renderer& renderer() { return *drawing_.renderer; }
  [[nodiscard]] Pictures& pictures() { return *drawing_.pictures; }
  /// False: frames are laid out, only what is saved is drawn; on whichever device.
  void draw_frames(bool all);
  /// Another size of the image; a window's target follows the window by itself.
  Status resize(int width, int height);
  /// Devices that were lost so far.
  [[nodiscard]] int losses() const { return losses_; }
  /// Frames of all devices so far.
  [[nodiscard]] std::uint64_t frames() const {
    return frames_before_ + drawing_.renderer->frames();
  }

 private:
  /// All that belongs to one device; what is made first goes last.
  struct Drawing {
    std::unique_ptr<Context> context;
    std::unique_ptr<RenderTarget> target;
    OffscreenTarget* offscreen = nullptr;  ///< target, when offscreen
    std::unique_ptr<Renderer> renderer;
    std::unique_ptr<Pictures> pictures;
  };
  /// What a worker may still write to when its device is gone.
  struct Left {
    std::unique_ptr<Context> context;  ///< first: goes last
    std::vector<std::shared_ptr<interop::PictureSource>> sinks;
  };

  Result<Drawing> make(Platform& platform);
  Status rebuild(Platform& platform, std::span<session::SessionLink* const> sessions);

  GraphicsOptions options_;
  std::shared_ptr<std::atomic<std::uint32_t>> problems_;
  std::deque<LossPlan> rehearsals_;
  bool draws_all_ = true;
  std::vector<Left> left_;
  Drawing drawing_;  ///< empty only before `start` and after an error
  int losses_ = 0;
  std::deque<std::chrono::steady_clock::time_point> recent_losses_;
  int sinks_lost_ = 0;
  std::uint64_t frames_before_ = 0;
};

}  // namespace layerscope::gui
