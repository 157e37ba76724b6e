// RemoteSession: a session that runs in a worker, seen through window_protocol.h as if it ran here.
//
// A thread of its own keeps the connection: it connects, reads, reconnects with back-off without
// losing what was shown, and publishes snapshots. Everything public may be called from any thread.
// What the worker sends is untrusted: a record that makes no sense ends the connection, and what is
// kept of it stays within the history's budget.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/server/remote_socket.h"
#include "engine/server/window_protocol.h"
#include "engine/session/history.h"
#include "engine/session/session.h"

namespace layerscope::server {

struct RemoteOptions {
  Url url;
  std::string token;                 ///< empty: none
  std::uint64_t history_budget = 0;  ///< as session::SessionOptions::history_budget
  /// Called on the connection's thread after each change (the window passes its wake-up).
  std::function<void()> on_change;
};

class RemoteSession final : public session::SessionLink {
 public:
  explicit RemoteSession(RemoteOptions options);
  ~RemoteSession() override;

  /// RequestHeadMap chooses the head whose rows are streamed. Commands that do not travel (opening
  /// files) and commands without a connection become an error of the snapshot.
  void send(session::Command command) override;
  [[nodiscard]] std::shared_ptr<const session::Snapshot> snapshot() const override;
  [[nodiscard]] const session::Progress& progress() const override { return progress_; }
  [[nodiscard]] bool idle() const override;
  [[nodiscard]] session::LinkState link() const override;
  [[nodiscard]] std::shared_ptr<const session::TensorReport> tensor(
      const std::string& name) override;

  /// Bytes of weight tensors; beyond it the first that came are dropped and asked for anew.
  static constexpr std::uint64_t kMostTensorBytes = std::uint64_t{512} << 20U;

 private:
  using Clock = std::chrono::steady_clock;

  void loop();
  Status serve();
  Status flush();
  Status take(const Record& record);
  Status take_hello(const Record& record);
  Status take_model(const Record& record);
  Status take_vocabulary(const Record& record);
  Status take_cut(const Record& record);
  Status take_frame(const Record& record);
  Status take_row(const Record& record);
  Status take_state(const Record& record);
  Status take_part(const Record& record);
  Status take_view(const PartReader::View& view);
  bool take_tensor(const std::string& bytes);
  void cut(std::size_t keep);
  void forget_all();
  void update_map();
  void limit_history();
  void publish();
  void report(const Error& error, bool for_good);
  void push(ToWorker type, std::string_view payload);
  void push(const session::Command& command);
  void count_bytes(std::size_t n);

  const RemoteOptions options_;
  session::Progress progress_;
  RemoteSocket socket_;

  mutable std::mutex mutex_;  // guards what follows, up to the next comment
  std::shared_ptr<const session::Snapshot> published_;
  session::LinkState link_;
  std::deque<std::string> outgoing_;
  Watch watch_;
  std::uint64_t sent_ = 0, acknowledged_ = 0;  ///< numbers of commands on this connection
  bool synced_ = false, idle_ = false, quitting_ = false, ended_ = false;
  std::map<std::string, std::shared_ptr<const session::TensorReport>> tensors_;
  /// Tensors whose bytes are here, oldest first, and how many bytes that are.
  std::deque<std::string> tensor_order_;
  std::uint64_t tensor_bytes_ = 0;
  /// The last views asked for: asked again after a reconnection, since panels ask once.
  std::optional<session::InspectToken> token_wish_;
  std::optional<session::InspectCache> cache_wish_;

  // The connection's thread only:
  session::Snapshot state_;
  PartReader parts_;
  tokenizer::Vocab vocab_;
  std::shared_ptr<session::ModelInfo> arriving_;  ///< until its vocabulary is complete
  session::History history_;
  std::vector<Row> rows_;  ///< by position; empty values: not here
  std::uint64_t row_bytes_ = 0;
  Watch rows_of_;
  bool rows_changed_ = false;
  Clock::time_point map_made_, second_began_, heard_;
  std::uint64_t second_bytes_ = 0;
  std::uint64_t key_ = 0, epoch_ = 0, local_errors_ = 0, version_ = 0;
  bool greeted_ = false;
  bool changed_ = false;    ///< something came since the last State
  std::string last_state_;  ///< its bytes: a repeated one changes nothing

  std::thread thread_;  ///< last: starts when everything else exists
};

}  // namespace layerscope::server
