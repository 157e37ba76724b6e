// TensorScan: statistics, first values and histogram of one weight tensor, computed a bounded piece
// at a time so that a window frame never waits for a large tensor. UI thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/format/model_file.h"

namespace layerscope::gui::view {

class TensorScan {
 public:
  static constexpr std::size_t kBins = 64;
  static constexpr std::size_t kFirstValues = 16;

  /// Starts anew for `tensor`, which must belong to `file`.
  void start(std::shared_ptr<const format::ModelFile> file, const format::TensorInfo& tensor);
  void clear() { *this = TensorScan(); }
  /// Decodes about `budget` more values; true when there is nothing left to do.
  bool advance(std::uint64_t budget);

  [[nodiscard]] const format::TensorInfo* tensor() const { return tensor_; }
  [[nodiscard]] bool done() const { return tensor_ == nullptr || failed() || pass_ == 2; }
  [[nodiscard]] bool failed() const { return !error_.empty(); }
  [[nodiscard]] const std::string& error() const { return error_; }
  /// 0 … 1 over both passes (statistics, then histogram).
  [[nodiscard]] double progress() const;

  // Statistics over the values seen so far; whole once histogram_ready() or done().
  std::uint64_t seen = 0;
  std::uint64_t nan = 0, inf = 0, zeros = 0, subnormal = 0;
  float min = 0.0F, max = 0.0F;                  ///< of the finite values
  std::vector<float> first;                      ///< first kFirstValues values
  std::array<std::uint64_t, kBins> histogram{};  ///< equal bins from min to max
  [[nodiscard]] double mean() const;
  [[nodiscard]] double deviation() const;
  [[nodiscard]] double l2() const;
  [[nodiscard]] bool statistics_ready() const { return pass_ >= 1; }

 private:
  void take(const std::vector<float>& values);
  void count(const std::vector<float>& values);

  std::shared_ptr<const format::ModelFile> file_;
  const format::TensorInfo* tensor_ = nullptr;
  std::string error_;
  std::uint64_t position_ = 0;
  int pass_ = 0;  ///< 0 statistics, 1 histogram, 2 done
  std::uint64_t finite_ = 0;
  double sum_ = 0.0;
  double sum_squares_ = 0.0;
};

}  // namespace layerscope::gui::view
