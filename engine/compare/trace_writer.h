// TraceWriter: a safetensors file written while its tensors appear, by a thread of its own.
//
// `add` and `finish` belong to one thread; the writer thread owns the file. `add` copies into a
// bounded queue and returns; it waits only while the queue is full (the disk is slower than the
// run). The header stands before the data but is known last: room is reserved for it, and the data
// are moved when it does not suffice. Nothing appears under the final name before it is whole.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/result.h"

namespace layerscope::compare {

struct TraceWriterOptions {
  std::uint64_t queue_bytes = std::uint64_t{256} << 20U;
  std::uint64_t header_bytes = std::uint64_t{64} << 10U;  ///< reserved for the header
};

class TraceWriter {
 public:
  /// Errors (kInvalidInput): the folder cannot be written to.
  static Result<std::unique_ptr<TraceWriter>> create(const std::string& path,
                                                     TraceWriterOptions options = {});
  /// Without `finish` the temporary file is removed.
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  /// A float32 tensor; `values` are copied. Names must differ. A failure of the disk is reported by
  /// `finish`.
  void add(std::string name, std::vector<std::int64_t> shape, std::span<const float> values);

  /// Waits for the queue, writes the header with `metadata` under `key`, and renames. Errors: the
  /// disk is full or gone; no file is left.
  Status finish(const std::string& key, const std::string& metadata);

  [[nodiscard]] double waited_s() const { return waited_s_; }  ///< time that `add` stood still
  [[nodiscard]] std::size_t n_tensors() const { return entries_.size(); }

 private:
  struct Entry {
    std::string name;
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;  ///< bytes from the start of the data
  };

  TraceWriter(std::string path, std::string temporary, int file, TraceWriterOptions options);
  void write_loop();
  [[nodiscard]] std::string header_text(const std::string& key, const std::string& metadata) const;
  Status write_header(const std::string& header);
  Status move_data(std::uint64_t from, std::uint64_t to) const;
  void stop_thread();

  std::string path_, temporary_;
  int file_;
  TraceWriterOptions options_;
  std::vector<Entry> entries_;
  std::uint64_t data_bytes_ = 0;  ///< handed to the queue so far
  double waited_s_ = 0.0;
  bool finished_ = false;

  std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  std::deque<std::vector<float>> queue_;
  std::uint64_t queued_bytes_ = 0;
  bool closing_ = false;
  std::string problem_;  ///< first failure of the disk

  std::thread thread_;  ///< last: starts when everything else exists
};

}  // namespace layerscope::compare
