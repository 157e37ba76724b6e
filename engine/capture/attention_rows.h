// AttentionRows: the captured attention of one token, on the host or where the backend computed it.
//
// Immutable once published. The rows of a GPU stay in its memory (5.5 to 16.8 MB a token at a depth
// of 4,096): the worker fetches a row when somebody asks (Backend::captured_row). A small pooled
// row per head, and the whole row of one followed head, come to the host with the statistics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace layerscope::capture {

/// Rows that a backend keeps. Any thread may let go of the last owner: destroying it is
/// bookkeeping.
class RemoteRows {
 public:
  RemoteRows() = default;
  RemoteRows(const RemoteRows&) = delete;
  RemoteRows& operator=(const RemoteRows&) = delete;
  virtual ~RemoteRows() = default;
  [[nodiscard]] virtual std::size_t bytes() const = 0;
};

/// The largest probability of every `width` keys of every head. A cell is the root of the
/// probability in steps of 1/254 (the maximum and the root commute); kNotANumber where one was NaN.
struct PooledRows {
  static constexpr std::uint8_t kNotANumber = 255;
  int width = 0;                    ///< keys per bin, a power of two
  int bins = 0;                     ///< cells per head; those behind the last key are 0
  std::vector<std::uint8_t> cells;  ///< [layers][heads][bins]

  [[nodiscard]] static float root_of(std::uint8_t cell);  ///< 0 … 1, or NaN
};

/// Cells per head, so that those of all heads stay within a few million per map: 64 to 16.
int pooled_bins(int n_layers, int n_heads);
/// The smallest power of two with which `n_keys` fit `bins`.
int pooled_width(int n_keys, int bins);

class AttentionRows {
 public:
  AttentionRows() = default;
  /// On the host: probabilities [layers][heads][position + 1].
  explicit AttentionRows(std::vector<float> values) : values_(std::move(values)) {}
  /// The same, where only some layers are known (`layers` as long as there are layers).
  AttentionRows(std::vector<float> values, std::vector<bool> layers)
      : values_(std::move(values)), layers_(std::move(layers)) {}
  /// In the backend's memory; null when there was no room for them.
  AttentionRows(std::shared_ptr<const RemoteRows> remote, PooledRows pooled)
      : remote_(std::move(remote)), pooled_(std::move(pooled)) {}

  [[nodiscard]] std::span<const float> values() const { return values_; }
  [[nodiscard]] const RemoteRows* remote() const { return remote_.get(); }
  /// Without cells when the rows are on the host.
  [[nodiscard]] const PooledRows& pooled() const { return pooled_; }
  /// Whether whole rows can be had.
  [[nodiscard]] bool has_rows() const { return remote_ != nullptr || !values_.empty(); }
  /// Memory of the rows, wherever they are.
  [[nodiscard]] std::uint64_t bytes() const {
    return remote_ != nullptr ? remote_->bytes() : values_.size() * sizeof(float);
  }

  /// Memory on the host: whole rows, pooled rows, the followed row.
  [[nodiscard]] std::uint64_t host_bytes() const {
    return (values_.capacity() + followed_.capacity()) * sizeof(float) + pooled_.cells.capacity();
  }
  /// Memory of the backend's device.
  [[nodiscard]] std::uint64_t device_bytes() const {
    return remote_ != nullptr ? remote_->bytes() : 0;
  }

  void set_followed(int layer, int head, std::vector<float> row) {
    followed_layer_ = layer;
    followed_head_ = head;
    followed_ = std::move(row);
  }
  /// One head's row of `n_keys` probabilities, if it is on the host; empty otherwise.
  [[nodiscard]] std::span<const float> row(int layer, int head, int n_heads,
                                           std::size_t n_keys) const;

 private:
  std::vector<float> values_;
  std::vector<bool> layers_;  ///< which of them values_ has; empty: all
  std::shared_ptr<const RemoteRows> remote_;
  PooledRows pooled_;
  int followed_layer_ = -1;
  int followed_head_ = -1;
  std::vector<float> followed_;
};

}  // namespace layerscope::capture
