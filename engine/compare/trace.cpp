#include "engine/compare/trace.h"

#include <fmt/format.h>

#include <algorithm>

namespace layerscope::compare {

std::uint64_t TraceTensor::n_elements() const {
  std::uint64_t n = 1;
  for (const std::int64_t d : shape) {
    n *= static_cast<std::uint64_t>(d);
  }
  return n;
}

int Trace::n_positions() const {
  int end = static_cast<int>(ids.size());
  for (const TracePass& pass : passes) {
    end = std::max(end, pass.first_position + pass.n_tokens);
  }
  return end;
}

Result<std::vector<float>> known_values(const TraceTensor& tensor) {
  if (tensor.stored) {
    return format::safetensors_values(*tensor.stored, 0, tensor.stored->n_elements);
  }
  return tensor.values;
}

Result<std::uint64_t> count_elements(const std::vector<std::int64_t>& shape) {
  std::uint64_t n = 1;
  for (const std::int64_t d : shape) {
    if (d < 0 || (d > 0 && n > kMaxElements / static_cast<std::uint64_t>(d))) {
      return invalid_input(fmt::format(
          "a shape has a dimension of {}: negative, or more than {} elements", d, kMaxElements));
    }
    n *= static_cast<std::uint64_t>(d);
  }
  return n;
}

Result<std::vector<std::uint64_t>> shown_indices(const std::vector<std::int64_t>& shape, int n) {
  LS_CHECK(count_elements(shape));
  std::vector<std::uint64_t> indices{0};
  for (const std::int64_t d : shape) {
    std::vector<std::uint64_t> next;
    const auto add = [&](std::uint64_t base, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        next.push_back(base * static_cast<std::uint64_t>(d) + static_cast<std::uint64_t>(i));
      }
    };
    constexpr std::uint64_t kMost = 1U << 24U;  // a text shows six per dimension
    if (indices.size() *
            static_cast<std::uint64_t>(std::min<std::int64_t>(d, std::int64_t{2} * n)) >
        kMost) {
      return invalid_input("a tensor shows more values than a text can hold");
    }
    for (const std::uint64_t base : indices) {
      if (d <= std::int64_t{2} * n) {
        add(base, 0, d);
      } else {
        add(base, 0, n);
        add(base, d - n, d);
      }
    }
    indices = std::move(next);
  }
  return indices;
}

}  // namespace layerscope::compare
