// TensorScan: statistics, first values and histogram of one tensor, computed a bounded piece at a
// time, so that whoever computes it stays answerable. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gui/view/tensor_source.h"

namespace layerscope::gui::view {

class TensorScan {
 public:
  static constexpr std::size_t kBins = 96;
  static constexpr std::size_t kFirstValues = 16;

  /// Starts anew.
  void start(TensorSource::Ptr source);
  void clear() { *this = TensorScan(); }
  /// Decodes about `budget` more values; true when there is nothing left to do.
  bool advance(std::uint64_t budget);

  [[nodiscard]] const TensorSource::Ptr& source() const { return source_; }
  [[nodiscard]] bool done() const { return source_ == nullptr || failed() || pass_ == 2; }
  [[nodiscard]] bool failed() const { return !error_.empty(); }
  [[nodiscard]] const std::string& error() const { return error_; }
  /// 0 … 1 over both passes (statistics, then histogram).
  [[nodiscard]] double progress() const;

  // Statistics over the values seen so far; whole once histogram_ready() or done().
  std::uint64_t seen = 0;
  std::uint64_t nan = 0, inf = 0, zeros = 0, subnormal = 0, negative = 0;
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

  TensorSource::Ptr source_;
  std::string error_;
  std::uint64_t position_ = 0;
  int pass_ = 0;  ///< 0 statistics, 1 histogram, 2 done
  std::uint64_t finite_ = 0;
  double sum_ = 0.0;
  double sum_squares_ = 0.0;
};

}  // namespace layerscope::gui::view
