// Pictures: brings what the engine draws to the panels. Owned by the UI thread.
//
// Chooses the path (shared memory where the GPU that computes is the one that draws, host memory
// otherwise, each with its reason), takes the newest picture before the panels draw and asks for
// the next one after they have. Never waits for the worker: a sink that is no longer wanted is kept
// until the worker has let go of it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gui/interop/host_sink.h"
#include "gui/panels/ui.h"
#include "gui/vulkan/renderer.h"

#ifdef LS_HAVE_INTEROP
#include "gui/interop/device_sink.h"
#endif

namespace layerscope::gui {

class Pictures {
 public:
  /// `refused`: why nothing may be shared (--no-interop); empty: share where it is possible.
  Pictures(const Context& context, Renderer& renderer, std::string refused);
  /// The sessions that it was used with must be gone.
  ~Pictures();
  Pictures(const Pictures&) = delete;
  Pictures& operator=(const Pictures&) = delete;

  /// After Renderer::begin, before the panels draw.
  Status before_panels(session::SessionLink& session, Ui& ui);
  /// After the panels have drawn, before Renderer::end.
  void after_panels(session::SessionLink& session, Ui& ui);
  /// Gives up every sink, for whoever keeps them until the worker has let go; the sessions were
  /// told to. Nothing may be drawn afterwards.
  std::vector<std::shared_ptr<interop::PictureSource>> release();
  /// The session ends: no picture of it is shown from now on.
  void forget(Ui& ui);

  /// Whether the picture shown is what was asked for, of the tokens that there are.
  [[nodiscard]] bool settled() const { return settled_; }

 private:
  enum class Path : std::uint8_t { kNone, kHost, kDevice };

  Status choose(session::SessionLink& session, const session::Snapshot& snapshot);
  Status use(session::SessionLink& session, Path path);
  Status share(std::string& why);
  void retire();
  void describe(const session::Snapshot& snapshot);
  [[nodiscard]] bool answers(const Ui& ui) const;

  const Context& context_;
  Renderer& renderer_;
  std::string refused_;
  Path path_ = Path::kNone;
  session::SessionLink* session_ = nullptr;  ///< that sink_ was given to
  int sinks_lost_ = 0;
  bool tried_ = false;  ///< to share with this backend; `why_not_` says how it went
  std::string why_not_;
  std::shared_ptr<interop::PictureSource> sink_;
  std::vector<std::shared_ptr<interop::PictureSource>> retired_;
#ifdef LS_HAVE_INTEROP
  interop::DeviceSink* shared_ = nullptr;  ///< sink_, on the path kDevice
#endif
  view::Drawn drawn_;
  std::uint64_t ticket_ = 0;
  backend::DrawRequest asked_;
  std::uint64_t asked_serial_ = 0;  ///< of the newest frame then
  double asked_at_ = -1.0;          ///< ImGui time
  bool settled_ = true;
};

}  // namespace layerscope::gui
