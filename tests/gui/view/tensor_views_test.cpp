// Tensors as the window looks at them: sources, value maps, quantised blocks, the tree, the worker.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>

#include "engine/base/half.h"
#include "gui/view/quant_block.h"
#include "gui/view/tensor_tree.h"
#include "gui/view/tensor_worker.h"
#include "gui/view/value_map.h"

namespace layerscope::gui::view {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// A token whose taps hold given values.
std::shared_ptr<session::TokenDetail> detail_of(std::vector<std::int64_t> shape,
                                                std::vector<float> values) {
  auto detail = std::make_shared<session::TokenDetail>();
  detail->position = 7;
  detail->pass.tensors.push_back({capture::Tap::kQ, 1, std::move(shape), std::move(values)});
  return detail;
}

TensorSource::Ptr matrix(std::int64_t rows, std::int64_t cols, std::vector<float> values) {
  return TensorSource::tap(detail_of({1, rows, cols}, std::move(values)), 0);
}

std::vector<float> random_values(std::size_t n, unsigned seed = 3) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) {
    v = normal(rng);
  }
  return values;
}

ValueMap compute(const MapRequest& request, int* published = nullptr) {
  ValueMap map;
  const auto count = [published](const ValueMap&) {
    if (published != nullptr) {
      ++*published;
    }
  };
  EXPECT_TRUE(compute_map(request, map, count, [] { return false; }));
  return map;
}

TEST(TensorSource, Tap_LeavesTheTokenDimensionOut_AndChecksItsRange) {
  const auto source = matrix(3, 4, random_values(12));
  EXPECT_EQ(source->key, "tap/1/q");
  EXPECT_EQ(source->rows, 3U);
  EXPECT_EQ(source->cols, 4U);
  EXPECT_EQ(source->read(11, 1).value().size(), 1U);
  EXPECT_FALSE(source->read(11, 2).ok());
  EXPECT_FALSE(source->read(~std::uint64_t{0}, 2).ok());
  const auto short_one = TensorSource::tap(detail_of({1, 3, 4}, {1.0F}), 0);
  EXPECT_FALSE(short_one->read(0, 1).ok()) << "fewer values than its shape says";
  EXPECT_EQ(index_text({2, 3, 4}, 17), "[1, 1, 1]");
}

TEST(TensorSource, Difference_NeedsOneShape) {
  const auto a = matrix(2, 2, {1, 2, 3, 4});
  const auto difference = TensorSource::difference(a, matrix(2, 2, {1, 1, 5, kNan}));
  ASSERT_TRUE(difference.ok());
  const auto values = difference.value()->read(0, 4).value();
  EXPECT_EQ(values[1], 1.0F);
  EXPECT_EQ(values[2], -2.0F);
  EXPECT_TRUE(std::isnan(values[3]));
  const auto refused = TensorSource::difference(a, matrix(2, 3, random_values(6)));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("[2, 3]"), std::string::npos);
}

TEST(ValueMap, EveryPixel_IsTheLargestOfExactlyItsCells) {
  for (const auto& [rows, cols, width, height] :
       {std::array{1, 1, 9, 9}, std::array{7, 5, 7, 5}, std::array{101, 37, 13, 11},
        std::array{64, 200, 64, 3}, std::array{1000, 3, 50, 20}}) {
    SCOPED_TRACE(testing::Message() << rows << "x" << cols << " on " << width << "x" << height);
    std::vector<float> values = random_values(static_cast<std::size_t>(rows * cols));
    const auto source = matrix(rows, cols, values);
    const MapRequest request = map_request(
        source, fit_view(static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)), width,
        height, Pool::kLargest);
    const ValueMap map = compute(request);
    std::vector<int> seen(values.size());
    for (int y = 0; y < map.height; ++y) {
      for (int x = 0; x < map.width; ++x) {
        const Covered r = covered(static_cast<std::uint64_t>(rows), map.height, y);
        const Covered c = covered(static_cast<std::uint64_t>(cols), map.width, x);
        float most = 0.0F;
        for (std::uint64_t i = r.first; i <= r.last; ++i) {
          for (std::uint64_t j = c.first; j <= c.last; ++j) {
            const std::size_t at = i * static_cast<std::uint64_t>(cols) + j;
            ++seen[at];
            most = std::fabs(values[at]) > std::fabs(most) ? values[at] : most;
          }
        }
        EXPECT_EQ(map.values[static_cast<std::size_t>(y * map.width + x)], most);
      }
    }
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  }
}

TEST(ValueMap, StrangeValues_AreNeverPooledAway) {
  std::vector<float> values = random_values(10000);
  values[4321] = kNan;
  values[77] = -kInf;
  const auto map =
      compute(map_request(matrix(100, 100, values), fit_view(100, 100), 10, 10, Pool::kLargest));
  EXPECT_EQ(
      std::count_if(map.values.begin(), map.values.end(), [](float v) { return std::isnan(v); }),
      1);
  EXPECT_TRUE(std::isnan(map.values[42]));
  EXPECT_EQ(map.values[7], -kInf);
  values[5000] = 0.0F;
  const auto zeros =
      compute(map_request(matrix(100, 100, values), fit_view(100, 100), 10, 10, Pool::kZeroFirst));
  EXPECT_EQ(zeros.values[50], 0.0F);
  const auto means = compute(
      map_request(matrix(1, 4, {1.0F, 3.0F, kNan, 5.0F}), fit_view(1, 4), 1, 1, Pool::kMean));
  EXPECT_NEAR(means.values[0], 3.0F, 0.3F);
}

TEST(ValueMap, PartOfATallMatrix_FirstASampleThenEverything) {
  const auto source = matrix(4000, 8, random_values(32000));
  MapRequest request = map_request(source, {1000.0, 2.0, 2000.0, 4.0}, 4, 10, Pool::kLargest);
  EXPECT_EQ(request.row, 1000U);
  EXPECT_EQ(request.cols, 4U);
  int published = 0;
  const ValueMap map = compute(request, &published);
  EXPECT_GE(published, 2) << "the sample, then the whole";
  EXPECT_EQ(map.progress, 1.0);
  ValueMap given_up;
  EXPECT_FALSE(compute_map(
      request, given_up, [](const ValueMap&) {}, [] { return true; }));
}

TEST(MapViews, ZoomAndPan_StayInsideAndKeepThePointUnderTheMouse) {
  MapView view = fit_view(1000, 500);
  view = zoom_view(view, 4.0, 0.25, 0.5, 1000, 500);
  EXPECT_DOUBLE_EQ(view.rows, 250.0);
  EXPECT_DOUBLE_EQ(view.row + 0.5 * view.rows, 500.0);
  EXPECT_DOUBLE_EQ(view.col + 0.25 * view.cols, 125.0);
  for (int i = 0; i < 60; ++i) {
    view = zoom_view(view, 3.0, 0.0, 1.0, 1000, 500);
  }
  EXPECT_GE(view.rows, 4.0);
  view = pan_view(view, 1e9, -1e9, 1000, 500);
  EXPECT_DOUBLE_EQ(view.row + view.rows, 1000.0);
  EXPECT_DOUBLE_EQ(view.col, 0.0);
  view = zoom_view(view, 1e-9, 0.5, 0.5, 1000, 500);
  EXPECT_EQ(view, fit_view(1000, 500));
}

format::TensorInfo quantised(DType dtype, std::uint64_t blocks, std::vector<std::byte>& bytes) {
  const DTypeInfo& type = dtype_info(dtype);
  std::mt19937 rng(11);
  bytes.resize(blocks * type.block_bytes);
  for (std::byte& b : bytes) {
    b = static_cast<std::byte>(rng() & 0xFFU);
  }
  format::TensorInfo tensor;
  tensor.name = "t";
  tensor.dtype = dtype;
  tensor.n_elements = blocks * type.block;
  tensor.shape = {blocks, type.block};
  tensor.offset = 4096;
  tensor.data = bytes;
  return tensor;
}

void set_half(std::vector<std::byte>& bytes, std::size_t at, float value) {
  const std::uint16_t bits = f32_to_f16(value);
  std::memcpy(bytes.data() + at, &bits, sizeof(bits));
}

TEST(QuantBlock, ScaleTimesCodePlusMinimum_IsTheDecodedValue_ForEveryDecodableType) {
  int compared = 0;
  for (std::uint32_t raw = 0; raw < 40; ++raw) {
    const auto type = find_dtype(raw);
    if (!type || !has_quant_block(type->dtype) || !type->decodable) {
      continue;
    }
    SCOPED_TRACE(type->name);
    std::vector<std::byte> bytes;
    const format::TensorInfo tensor = quantised(type->dtype, 5, bytes);
    for (std::size_t b = 0; b < 5; ++b) {
      // Both ends of a block may hold halves: make all of them finite.
      for (const std::size_t at : {std::size_t{0}, std::size_t{2}}) {
        set_half(bytes, b * type->block_bytes + at, 0.01F * static_cast<float>(b + at + 1));
      }
      set_half(bytes, (b + 1) * type->block_bytes - 2, 0.02F * static_cast<float>(b + 1));
      set_half(bytes, (b + 1) * type->block_bytes - 4, 0.03F * static_cast<float>(b + 1));
    }
    const auto values = format::decode_values(tensor, 0, tensor.n_elements);
    ASSERT_TRUE(values.ok());
    for (std::uint64_t i = 0; i < tensor.n_elements; ++i) {
      const auto block = quant_block(tensor, i);
      ASSERT_TRUE(block.has_value());
      const float decoded = values.value()[i];
      EXPECT_NEAR(block->value(), decoded, 1e-5F * std::fabs(decoded) + 1e-6F) << "value " << i;
      EXPECT_EQ(block->codes[static_cast<std::size_t>(block->place - block->group_first)],
                block->code);
      EXPECT_EQ(block->offset, 4096 + i / type->block * type->block_bytes);
    }
    EXPECT_FALSE(quant_block(tensor, tensor.n_elements).has_value());
    ++compared;
  }
  EXPECT_GE(compared, 1);
}

TEST(QuantBlock, KnownBlocks_OfTypesThatAreOnlyListed) {
  // Q4_1: d = 0.5, m = −2, codes 0 … 15 in the low halves and 15 … 0 in the high ones.
  std::vector<std::byte> bytes;
  const format::TensorInfo tensor = quantised(DType::kQ4_1, 1, bytes);
  set_half(bytes, 0, 0.5F);
  set_half(bytes, 2, -2.0F);
  for (unsigned i = 0; i < 16; ++i) {
    bytes[4 + i] = static_cast<std::byte>(i | ((15 - i) << 4U));
  }
  EXPECT_EQ(quant_block(tensor, 3)->value(), 3.0F * 0.5F - 2.0F);
  EXPECT_EQ(quant_block(tensor, 16)->value(), 15.0F * 0.5F - 2.0F);
  format::TensorInfo cut = tensor;
  cut.data = cut.data.first(10);
  EXPECT_FALSE(quant_block(cut, 0).has_value());
  // Q4_K: d = 1, dmin = 1; sub-block 5's scale and minimum are spread over three bytes.
  const format::TensorInfo k = quantised(DType::kQ4_K, 1, bytes);
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  set_half(bytes, 0, 1.0F);
  set_half(bytes, 2, 1.0F);
  bytes[4 + 9] = std::byte{0xA3};  // low bits: scale 3, minimum 10
  bytes[4 + 1] = std::byte{0x80};  // scale's high bits: 2
  bytes[4 + 5] = std::byte{0x40};  // minimum's high bits: 1
  bytes[16 + 2 * 32 + 7] = std::byte{0x90};
  const auto block = quant_block(k, 5 * 32 + 7);
  EXPECT_EQ(block->scale, 3.0F + 32.0F);
  EXPECT_EQ(block->minimum, -(10.0F + 16.0F));
  EXPECT_EQ(block->code, 9);
}

TEST(TensorTree, GroupsOpenAndASearchShowsWhatMatches) {
  format::ModelFile file;
  for (const char* name : {"token_embd.weight", "blk.0.attn_q.weight", "blk.10.ffn_up.weight"}) {
    format::TensorInfo t;
    t.name = name;
    t.shape = {2, 4};
    file.tensors.push_back(t);
  }
  EXPECT_EQ(layer_of_name("blk.10.ffn_up.weight"), 10);
  EXPECT_EQ(layer_of_name("token_embd.weight"), -1);
  EXPECT_EQ(layer_of_name("model.layers.3.mlp.gate.weight"), 3);
  const auto taps = detail_of({1, 2, 4}, random_values(8));
  auto rows = tensor_tree(&file, taps.get(), {}, "");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].label, "captured at token 7");
  rows = tensor_tree(&file, taps.get(), {"weights", "weights/10"}, "");
  ASSERT_EQ(rows.size(), 6U);
  EXPECT_EQ(rows[1].key, "token_embd.weight");
  EXPECT_EQ(rows[4].label, "ffn_up.weight");
  EXPECT_EQ(rows[4].depth, 2);
  rows = tensor_tree(&file, taps.get(), {}, "ATTN");
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[2].key, "blk.0.attn_q.weight");
  EXPECT_TRUE(tensor_tree(&file, nullptr, {}, "nothing like it").empty());
  EXPECT_TRUE(tensor_tree(nullptr, nullptr, {}, "").empty());
}

TEST(TensorWorker, MapAndScan_ArriveAndANewSourceReplacesTheOld) {
  TensorWorker worker;
  const auto wait = [&worker] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (worker.busy() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_FALSE(worker.busy());
  };
  const auto first = matrix(300, 300, random_values(90000));
  worker.look_at(0, first);
  worker.want_map(0, map_request(first, fit_view(300, 300), 30, 30, Pool::kLargest));
  wait();
  ASSERT_NE(worker.scan(0), nullptr);
  EXPECT_EQ(worker.scan(0)->seen, 90000U);
  EXPECT_EQ(worker.map(0)->progress, 1.0);
  const auto second = matrix(2, 2, {1, 2, 3, kInf});
  worker.look_at(0, second);
  EXPECT_EQ(worker.map(0), nullptr);
  worker.want_map(0, map_request(second, fit_view(2, 2), 30, 30, Pool::kLargest));
  wait();
  EXPECT_EQ(worker.scan(0)->inf, 1U);
  EXPECT_EQ(worker.map(0)->values, (std::vector<float>{1, 2, 3, kInf}));
  worker.look_at(0, nullptr);
  EXPECT_EQ(worker.scan(0), nullptr);
}

}  // namespace
}  // namespace layerscope::gui::view
