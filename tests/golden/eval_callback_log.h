// Reader of llama.cpp's eval-callback text, for tests: header, printed values, sum.
//
// The layout is described in tests/golden/README.md. A dimension longer than 6 shows its first and
// last three entries; `sum` covers all of them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace layerscope::testing {

struct LoggedTensor {
  std::string name, op;
  std::string source0;               ///< "blk.0.attn_q.weight"
  std::array<std::int64_t, 4> ne{};  ///< ne[0] varies fastest
  std::vector<double> values;        ///< in the order printed
  double sum = 0.0;
};

std::vector<LoggedTensor> read_eval_callback_log(const std::string& path);

/// Flat indices (ne[0] fastest) of the values that are printed for a shape, in order.
std::vector<std::size_t> printed_indices(const std::array<std::int64_t, 4>& ne);

}  // namespace layerscope::testing
