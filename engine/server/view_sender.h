// ViewSender: what one attached window has asked for and what it gets in parts (window_protocol.h).
//
// Owned by the connection's thread. One request of each kind is with the session at a time and a
// newer one replaces the one that waits, so that a window cannot pile up work.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "engine/server/window_protocol.h"
#include "engine/session/session.h"

namespace layerscope::server {

class ViewSender {
 public:
  explicit ViewSender(session::Session& session) : session_(session) {}

  /// True when the command asks for a view: it is taken over from the caller.
  bool take(const session::Command& command);
  /// False: too many names wait.
  bool want_tensor(std::string name);

  /// The next part's payload; nothing while there is none. `idle`: the session has nothing to do.
  std::optional<std::string> next(const session::Snapshot& now, bool idle);
  /// A view is on its way.
  [[nodiscard]] bool sending() const { return sending_.has_value(); }
  /// The part that `next` gave last was a view's last one.
  [[nodiscard]] bool whole() const { return whole_; }
  /// Something is asked for or on its way.
  [[nodiscard]] bool pending() const {
    return sending_ || token_.pending() || cache_.pending() || !tensors_.empty();
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// One kind of request to the session, whose answer appears in the snapshot.
  template <typename Ask, typename View>
  struct Wish {
    std::optional<Ask> waiting;  ///< not with the session yet
    std::optional<Ask> asked;
    std::shared_ptr<const View> before;  ///< the snapshot's view when the session was asked
    Clock::time_point at;

    [[nodiscard]] bool pending() const { return waiting || asked; }
  };

  template <typename Ask, typename View>
  bool answered(Wish<Ask, View>& wish, const std::shared_ptr<const View>& now, bool idle);
  void begin(const session::Snapshot& now, bool idle);
  [[nodiscard]] TensorAnswer tensor(const session::Snapshot& now, const std::string& name) const;

  session::Session& session_;
  Wish<session::InspectToken, session::TokenDetail> token_;
  Wish<session::InspectCache, session::CacheView> cache_;
  std::deque<std::string> tensors_;
  std::optional<PartWriter> sending_;
  bool whole_ = false;
};

}  // namespace layerscope::server
