#include "engine/compare/difference.h"

#include <algorithm>
#include <cmath>

#include "engine/compare/thresholds.h"

namespace layerscope::compare {
namespace {

/// Root mean square of a row's known finite values.
double row_scale(const TapValues& v, int head, int row) {
  double sum = 0.0;
  std::size_t n = 0;
  for (int c = 0; c < v.width; ++c) {
    const std::size_t i = v.index(head, row, c);
    const auto x = static_cast<double>(v.values[i]);
    if (v.is_known(i) && std::isfinite(x)) {
      sum += x * x;
      ++n;
    }
  }
  return n > 0 ? std::sqrt(sum / static_cast<double>(n)) : 0.0;
}

/// Mean of a row, where all of it is known or its sum is.
std::optional<double> row_mean(const TapValues& v, int row) {
  if (!v.known.empty()) {
    return v.sum && v.n_rows == 1 ? std::optional(*v.sum / v.width) : std::nullopt;
  }
  double sum = 0.0;
  for (int c = 0; c < v.width; ++c) {
    sum += static_cast<double>(v.values[v.index(0, row, c)]);
  }
  return sum / v.width;
}

class Comparer {
 public:
  Comparer(const TapValues& a, const DifferenceOptions& options)
      : a_(a),
        options_(options),
        channel_error_(static_cast<std::size_t>(a.width), 0.0),
        channel_scale_(static_cast<std::size_t>(a.width), 0.0) {}

  void add(const TapValues& b) {
    const int begin = std::max(a_.first_position, b.first_position);
    const int end = std::min(a_.first_position + a_.n_rows, b.first_position + b.n_rows);
    const int heads = std::min(a_.n_heads, b.n_heads);
    for (int position = begin; position < end; ++position) {
      for (int head = 0; head < heads; ++head) {
        row(b, head, position);
      }
    }
    if (begin == b.first_position && end == b.first_position + b.n_rows) {
      sums(b);
    }
  }

  Difference finish() {
    Difference& r = result_;
    r.rel_l2 = r.b2 > 0.0 ? std::sqrt(r.error2 / r.b2) : (r.error2 > 0.0 ? INFINITY : 0.0);
    r.cosine = r.a2 > 0.0 && r.b2 > 0.0 ? r.ab / std::sqrt(r.a2 * r.b2) : 1.0;
    r.channel = one_channel_ >= 0 && a_.width > 1 ? one_channel_ : -1;
    r.head = one_head_ >= 0 ? one_head_ : -1;
    double worst = 0.0;
    for (std::size_t c = 0; c < channel_error_.size(); ++c) {
      if (channel_error_[c] > worst) {
        worst = channel_error_[c];
        r.worst_channel = static_cast<int>(c);
        r.channel_error = std::sqrt(channel_error_[c] / std::max(channel_scale_[c], 1e-300));
      }
    }
    return r;
  }

 private:
  /// Column of a that column c of b corresponds to.
  [[nodiscard]] int column(int c) const {
    if (options_.pairs == Pairs::kSame || options_.head_dim < 2) {
      return c;
    }
    const int head = c / options_.head_dim;
    return head * options_.head_dim +
           paired_column(options_.pairs, c % options_.head_dim, options_.head_dim);
  }

  void row(const TapValues& b, int head, int position) {
    const int ra = position - a_.first_position;
    const int rb = position - b.first_position;
    const double scale = row_scale(b, head, rb);
    double shift = 0.0;
    if (options_.centre) {
      const auto mean_a = row_mean(a_, ra);
      const auto mean_b = row_mean(b, rb);
      shift = mean_a && mean_b ? *mean_a - *mean_b : 0.0;
    }
    const bool blind = a_.unmasked || b.unmasked;
    for (int c = 0; c < std::min(a_.width, b.width); ++c) {
      if (a_.attention && blind && c > position) {
        continue;  // one side holds the product, the other −∞
      }
      const std::size_t ia = a_.index(head, ra, column(c));
      const std::size_t ib = b.index(head, rb, c);
      if (!a_.is_known(ia) || !b.is_known(ib)) {
        result_.partial = true;
        continue;
      }
      const bool masked = a_.values[ia] == -INFINITY || b.values[ib] == -INFINITY;
      if (a_.attention && blind && masked) {
        continue;  // outside a window: as above
      }
      element(static_cast<double>(a_.values[ia]) - shift, static_cast<double>(b.values[ib]), scale,
              b.printed, head, position, c);
    }
    if (options_.weights) {
      beyond(a_, head, ra, b.width, scale, position);
      beyond(b, head, rb, a_.width, scale, position);
    }
  }

  /// Weights of keys that the other side does not have must be zero.
  void beyond(const TapValues& v, int head, int row, int from, double scale, int position) {
    for (int c = from; c < v.width; ++c) {
      const std::size_t i = v.index(head, row, c);
      if (v.is_known(i)) {
        element(static_cast<double>(v.values[i]), 0.0, scale, v.printed, head, position, c);
      }
    }
  }

  void element(double a, double b, double scale, double printed, int head, int position, int c) {
    ++result_.n_compared;
    if (a == b || (std::isnan(a) && std::isnan(b))) {
      if (std::isfinite(b)) {
        accumulate(a, b, c);
      }
      return;
    }
    const double error = std::fabs(a - b);
    const double room = options_.tolerance * (std::fabs(b) + scale) + printed + a_.printed + 1e-12;
    const double excess = std::isfinite(error) ? error / room : INFINITY;
    if (std::isfinite(error)) {
      result_.max_abs = std::max(result_.max_abs, error);
      accumulate(a, b, c);
    } else {
      result_.max_abs = INFINITY;
      const double finite = std::isfinite(b) ? b : (std::isfinite(a) ? a : 1.0);
      result_.error2 += std::max(finite * finite, scale * scale);
    }
    result_.excess = std::max(result_.excess, excess);
    if (excess > 1.0) {
      place(head, position, c);
    }
  }

  void accumulate(double a, double b, int c) {
    const double d = a - b;
    result_.error2 += d * d;
    result_.a2 += a * a;
    result_.b2 += b * b;
    result_.ab += a * b;
    if (static_cast<std::size_t>(c) < channel_error_.size()) {
      channel_error_[static_cast<std::size_t>(c)] += d * d;
      channel_scale_[static_cast<std::size_t>(c)] += b * b;
    }
  }

  void place(int head, int position, int c) {
    if (result_.position < 0 || position < result_.position) {
      result_.position = position;
    }
    one_channel_ = one_channel_ == -1 || one_channel_ == c ? c : -2;
    int which = -2;
    if (a_.attention && a_.n_heads > 1) {
      which = head;
    } else if (options_.head_dim > 0 && a_.width > options_.head_dim) {
      which = c / options_.head_dim;
    }
    one_head_ = one_head_ == -1 || one_head_ == which ? which : -2;
  }

  /// The sum tells what the printed values do not show.
  void sums(const TapValues& b) {
    const bool b_partial = !b.known.empty();
    const bool a_partial = !a_.known.empty();
    if ((!a_partial && !b_partial) || (a_partial && !a_.sum) || (b_partial && !b.sum) ||
        (a_partial && a_.n_rows != b.n_rows) || a_.unmasked || b.unmasked) {
      return;
    }
    double magnitude = 0.0;
    const double sum_a = a_partial ? *a_.sum : total(a_, b, magnitude);
    const double sum_b = b_partial ? *b.sum : total(b, b, magnitude);
    const double room =
        thresholds::kSumAbsolute + std::max(thresholds::kSumRelative, options_.tolerance / 5.0) *
                                       std::max(magnitude, std::fabs(sum_b));
    const double error = std::fabs(sum_a - sum_b);
    result_.sum_a = sum_a;
    result_.sum_b = sum_b;
    const double excess = std::isfinite(error) ? error / room : INFINITY;
    if (excess > 1.0 && result_.excess <= 1.0) {
      result_.by_sum = true;
    }
    result_.excess = std::max(result_.excess, excess);
  }

  /// Sum of v over the rows of b.
  static double total(const TapValues& v, const TapValues& b, double& magnitude) {
    double sum = 0.0;
    for (int position = b.first_position; position < b.first_position + b.n_rows; ++position) {
      for (int head = 0; head < v.n_heads; ++head) {
        for (int c = 0; c < v.width; ++c) {
          const auto x =
              static_cast<double>(v.values[v.index(head, position - v.first_position, c)]);
          sum += x;
          magnitude += std::fabs(x);
        }
      }
    }
    return sum;
  }

  const TapValues& a_;
  const DifferenceOptions& options_;
  Difference result_;
  std::vector<double> channel_error_, channel_scale_;
  int one_channel_ = -1, one_head_ = -1;  ///< −2: several
};

}  // namespace

int paired_column(Pairs pairs, int c, int head_dim) {
  const int half = head_dim / 2;
  switch (pairs) {
    case Pairs::kInterleavedAgainstHalves:
      return c < half ? 2 * c : 2 * (c - half) + 1;
    case Pairs::kHalvesAgainstInterleaved:
      return c % 2 == 0 ? c / 2 : half + c / 2;
    case Pairs::kSame:
      break;
  }
  return c;
}

Difference difference(const TapValues& a, std::span<const TapValues> b,
                      const DifferenceOptions& options) {
  Comparer comparer(a, options);
  for (const TapValues& one : b) {
    comparer.add(one);
  }
  return comparer.finish();
}

std::vector<double> row_errors(const TapValues& a, std::span<const TapValues> b) {
  std::vector<double> errors(static_cast<std::size_t>(a.n_rows), NAN);
  for (const TapValues& other : b) {
    for (int row = 0; row < a.n_rows; ++row) {
      const int rb = a.first_position + row - other.first_position;
      if (rb < 0 || rb >= other.n_rows) {
        continue;
      }
      double sum = 0.0;
      for (int c = 0; c < std::min(a.width, other.width); ++c) {
        const std::size_t ia = a.index(0, row, c);
        const std::size_t ib = other.index(0, rb, c);
        if (a.is_known(ia) && other.is_known(ib)) {
          const double d =
              static_cast<double>(a.values[ia]) - static_cast<double>(other.values[ib]);
          sum += d * d;
        }
      }
      errors[static_cast<std::size_t>(row)] = std::sqrt(sum);
    }
  }
  return errors;
}

}  // namespace layerscope::compare
