#include "gui/view/tensor_scan.h"

#include <algorithm>
#include <cmath>

namespace layerscope::gui::view {

void TensorScan::start(TensorSource::Ptr source) {
  clear();
  source_ = std::move(source);
}

bool TensorScan::advance(std::uint64_t budget) {
  while (!done() && budget > 0) {
    const std::uint64_t n = std::min(budget, source_->count - position_);
    if (n > 0) {
      Result<std::vector<float>> values = source_->read(position_, n);
      if (!values) {
        error_ = values.error().message;
        return true;
      }
      pass_ == 0 ? take(values.value()) : count(values.value());
      position_ += n;
      budget -= n;
    }
    if (position_ >= source_->count) {
      position_ = 0;
      ++pass_;
    }
  }
  return done();
}

double TensorScan::progress() const {
  if (done() || source_->count == 0) {
    return 1.0;
  }
  const double part = static_cast<double>(position_) / static_cast<double>(source_->count);
  return (static_cast<double>(pass_) + part) / 2.0;
}

void TensorScan::take(const std::vector<float>& values) {
  for (const float value : values) {
    if (first.size() < kFirstValues) {
      first.push_back(value);
    }
    ++seen;
    if (std::isnan(value)) {
      ++nan;
      continue;
    }
    if (std::isinf(value)) {
      ++inf;
      continue;
    }
    zeros += value == 0.0F ? 1 : 0;
    negative += value < 0.0F ? 1 : 0;
    subnormal += std::fpclassify(value) == FP_SUBNORMAL ? 1 : 0;
    min = finite_ == 0 ? value : std::min(min, value);
    max = finite_ == 0 ? value : std::max(max, value);
    ++finite_;
    const auto exact = static_cast<double>(value);
    sum_ += exact;
    sum_squares_ += exact * exact;
  }
}

void TensorScan::count(const std::vector<float>& values) {
  const double width = static_cast<double>(max) - static_cast<double>(min);
  for (const float value : values) {
    if (!std::isfinite(value)) {
      continue;
    }
    const double place =
        width > 0.0 ? (static_cast<double>(value) - static_cast<double>(min)) / width : 0.0;
    const auto bin = static_cast<std::size_t>(place * static_cast<double>(kBins));
    ++histogram[std::min(bin, kBins - 1)];
  }
}

double TensorScan::mean() const { return finite_ == 0 ? 0.0 : sum_ / static_cast<double>(finite_); }

double TensorScan::deviation() const {
  if (finite_ == 0) {
    return 0.0;
  }
  const double average = mean();
  return std::sqrt(std::max(0.0, sum_squares_ / static_cast<double>(finite_) - average * average));
}

double TensorScan::l2() const { return std::sqrt(sum_squares_); }

}  // namespace layerscope::gui::view
