#include "tests/golden/eval_callback_log.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <regex>

namespace layerscope::testing {
namespace {

const std::regex kHeader(
    R"(^common_debug_cb_eval:\s*(.+?) = \((\w+)\)\s+(\w+)\((.*?)\{.*\}?\) = \{(\d+), (\d+), (\d+), (\d+)\}$)");
const std::regex kNumber(R"(-?(?:\d+\.\d+|inf|nan))");
const std::regex kSum(R"(^\s*sum = (\S+)$)");

}  // namespace

std::vector<LoggedTensor> read_eval_callback_log(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  std::vector<LoggedTensor> tensors;
  std::smatch match;
  for (std::string line; std::getline(in, line);) {
    if (std::regex_match(line, match, kHeader)) {
      LoggedTensor& tensor = tensors.emplace_back();
      tensor.name = match[1];
      tensor.op = match[3];
      tensor.source0 = match[4];
      for (std::size_t i = 0; i < 4; ++i) {
        tensor.ne[i] = std::stoll(match[5 + i]);
      }
    } else if (std::regex_match(line, match, kSum)) {
      EXPECT_FALSE(tensors.empty());
      tensors.back().sum = std::stod(match[1]);
    } else if (!tensors.empty()) {
      for (std::sregex_iterator it(line.begin(), line.end(), kNumber), end; it != end; ++it) {
        tensors.back().values.push_back(std::stod(it->str()));
      }
    }
  }
  return tensors;
}

std::vector<std::size_t> printed_indices(const std::array<std::int64_t, 4>& ne) {
  constexpr std::int64_t kShown = 3;
  std::array<std::vector<std::int64_t>, 4> shown;
  for (std::size_t d = 0; d < 4; ++d) {
    for (std::int64_t i = 0; i < ne[d]; ++i) {
      if (ne[d] <= 2 * kShown || i < kShown || i >= ne[d] - kShown) {
        shown[d].push_back(i);
      }
    }
  }
  std::vector<std::size_t> indices;
  for (const std::int64_t i3 : shown[3]) {
    for (const std::int64_t i2 : shown[2]) {
      for (const std::int64_t i1 : shown[1]) {
        for (const std::int64_t i0 : shown[0]) {
          indices.push_back(
              static_cast<std::size_t>(((i3 * ne[2] + i2) * ne[1] + i1) * ne[0] + i0));
        }
      }
    }
  }
  return indices;
}

}  // namespace layerscope::testing
