// Fast kernels against the plain ones, over odd shapes, every dtype, poisoned outputs, special
// values.
#include "kernels/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "engine/base/half.h"
#include "hwy/targets.h"

namespace layerscope::kernels {
namespace {

constexpr float kPoison = 1e30F;
constexpr unsigned kSeed = 20260101;

std::vector<float> random_values(std::size_t n, unsigned seed, float scale = 1.0F) {
  std::mt19937 rng(kSeed + seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(n);
  for (float& v : values) {
    v = normal(rng);
  }
  return values;
}

/// Where the binary16 scales of a block stand; −1: none.
struct ScaleFields {
  DType dtype;
  int first, second;
};
constexpr ScaleFields kScaleFields[] = {
    {DType::kQ4_0, 0, -1},   {DType::kQ4_1, 0, 2},    {DType::kQ5_0, 0, -1},
    {DType::kQ5_1, 0, 2},    {DType::kQ8_0, 0, -1},   {DType::kQ2_K, 80, 82},
    {DType::kQ3_K, 108, -1}, {DType::kQ4_K, 0, 2},    {DType::kQ5_K, 0, 2},
    {DType::kQ6_K, 208, -1}, {DType::kIQ4_NL, 0, -1}, {DType::kIQ4_XS, 0, -1},
};

/// Random bytes are valid codes and small scales in every quantised type; only the binary16 and
/// E8M0 scales have to be of usual size.
void random_blocks(DType dtype, std::vector<std::byte>& bytes) {
  std::mt19937 rng(kSeed);
  const std::size_t block_bytes = dtype_info(dtype).block_bytes;
  for (std::byte& b : bytes) {
    b = static_cast<std::byte>(rng() & 0xFFU);
  }
  for (std::size_t at = 0; at < bytes.size(); at += block_bytes) {
    for (const ScaleFields& fields : kScaleFields) {
      for (const int field : {fields.first, fields.second}) {
        if (fields.dtype == dtype && field >= 0) {
          const std::uint16_t scale = f32_to_f16(0.01F + 0.001F * static_cast<float>(rng() % 16));
          std::memcpy(bytes.data() + at + static_cast<std::size_t>(field), &scale, 2);
        }
      }
    }
    if (dtype == DType::kMXFP4) {
      bytes[at] = static_cast<std::byte>(120U + rng() % 4);
    }
  }
}

/// Encodes a random matrix in a dtype, independently of the decoder under test.
std::vector<std::byte> random_matrix(DType dtype, std::size_t rows, std::size_t cols) {
  const std::vector<float> values = random_values(rows * cols, static_cast<unsigned>(rows + cols));
  std::vector<std::byte> bytes(rows * dtype_bytes(dtype, cols));
  if (dtype_info(dtype).block > 1) {
    random_blocks(dtype, bytes);
    return bytes;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(bytes.data() + 4 * i, &values[i], 4);
    } else if (dtype == DType::kF64) {
      const double value = static_cast<double>(values[i]) * 1.000000001;
      std::memcpy(bytes.data() + 8 * i, &value, 8);
    } else if (dtype == DType::kI8) {
      bytes[i] = static_cast<std::byte>(std::lround(values[i] * 20.0F));
    } else {
      // A few subnormal halves, which conversions like to lose.
      const float value = i % 97 == 0 ? 3e-7F : values[i];
      const std::uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(bytes.data() + 2 * i, &bits, 2);
    }
  }
  return bytes;
}

/// The largest magnitude of a matrix, at least 1.
double largest(const Matrix& w) {
  std::vector<float> values(w.rows * w.cols);
  dequantize_row(w.dtype, w.data, values.size(), values.data());
  float most = 1.0F;
  for (const float v : values) {
    most = std::max(most, std::fabs(v));
  }
  return static_cast<double>(most);
}

struct Shape {
  std::size_t rows, cols, tokens;
};

class Matmul : public ::testing::TestWithParam<std::tuple<DType, Shape>> {};

TEST_P(Matmul, RandomMatrix_AnyShape_AgreesWithReference) {
  const auto [dtype, shape] = GetParam();
  const auto bytes = random_matrix(dtype, shape.rows, shape.cols);
  const auto x = random_values(shape.tokens * shape.cols, 7);
  const auto bias = random_values(shape.rows, 8);
  const std::size_t stride = shape.rows + 3;
  std::vector<float> fast(shape.tokens * stride, kPoison);
  std::vector<float> plain(shape.tokens * stride, kPoison);
  const Matrix w{dtype, bytes.data(), shape.rows, shape.cols};
  ThreadPool pool(3);
  const Product product{w, bias.data(), fast.data(), stride};
  matmul(pool, &product, 1, x.data(), shape.tokens, shape.cols);
  reference::matmul({w, bias.data(), plain.data(), stride}, x.data(), shape.tokens, shape.cols);
  // Float32 dot products of n terms of size s: rounding of about √n · 6e-8 · s, tenfold; centres
  // and offsets of quantised codes add terms of the same size.
  const double tolerance = 1e-6 * std::sqrt(static_cast<double>(shape.cols)) * 3.0 * largest(w);
  for (std::size_t t = 0; t < shape.tokens; ++t) {
    for (std::size_t r = 0; r < stride; ++r) {
      const std::size_t i = t * stride + r;
      if (r >= shape.rows) {
        ASSERT_EQ(fast[i], kPoison) << "wrote beyond row " << r;
      } else {
        ASSERT_NEAR(fast[i], plain[i], tolerance) << "token " << t << " row " << r;
      }
    }
  }
}

TEST_P(Matmul, Token_AloneAndAmongOthers_SameBits) {
  const auto [dtype, shape] = GetParam();
  const auto bytes = random_matrix(dtype, shape.rows, shape.cols);
  const auto x = random_values(shape.tokens * shape.cols, 9);
  const Matrix w{dtype, bytes.data(), shape.rows, shape.cols};
  std::vector<float> together(shape.tokens * shape.rows, kPoison);
  ThreadPool two(2);
  ThreadPool one(1);
  const Product all{w, nullptr, together.data(), shape.rows};
  matmul(two, &all, 1, x.data(), shape.tokens, shape.cols);
  for (std::size_t t = 0; t < shape.tokens; ++t) {
    std::vector<float> alone(shape.rows, kPoison);
    const Product single{w, nullptr, alone.data(), shape.rows};
    matmul(one, &single, 1, x.data() + t * shape.cols, 1, shape.cols);
    ASSERT_EQ(
        0, std::memcmp(alone.data(), together.data() + t * shape.rows, shape.rows * sizeof(float)))
        << "token " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Matmul,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kF64,
                                         DType::kI8, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                         DType::kQ5_1, DType::kQ8_0, DType::kIQ4_NL, DType::kMXFP4),
                       ::testing::Values(Shape{1, 32, 1}, Shape{7, 64, 3}, Shape{8, 96, 4},
                                         Shape{33, 160, 17}, Shape{129, 896, 5})));

INSTANTIATE_TEST_SUITE_P(
    KShapes, Matmul,
    ::testing::Combine(::testing::Values(DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K,
                                         DType::kQ6_K, DType::kIQ4_XS),
                       ::testing::Values(Shape{1, 256, 1}, Shape{7, 512, 3}, Shape{8, 768, 4},
                                         Shape{33, 256, 17}, Shape{129, 1792, 5})));

/// The machine's best instruction set runs everywhere else; here each one it has, with its own
/// number of lanes.
TEST(MatmulTargets, EveryInstructionSet_AgreesWithReference) {
  constexpr Shape kShape{19, 512, 5};
  const auto x = random_values(kShape.tokens * kShape.cols, 7);
  ThreadPool pool(1);
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    for (std::uint32_t raw = 0; raw < 64; ++raw) {
      const auto info = find_dtype(raw);
      if (!info || !info->decodable || raw == 25 || raw == 26 || raw == 27) {  // I16, I32, I64
        continue;
      }
      const auto bytes = random_matrix(info->dtype, kShape.rows, kShape.cols);
      const Matrix w{info->dtype, bytes.data(), kShape.rows, kShape.cols};
      std::vector<float> fast(kShape.tokens * kShape.rows, kPoison);
      std::vector<float> plain(fast.size(), kPoison);
      const Product product{w, nullptr, fast.data(), kShape.rows};
      matmul(pool, &product, 1, x.data(), kShape.tokens, kShape.cols);
      reference::matmul({w, nullptr, plain.data(), kShape.rows}, x.data(), kShape.tokens,
                        kShape.cols);
      for (std::size_t i = 0; i < fast.size(); ++i) {
        ASSERT_NEAR(fast[i], plain[i], 1e-4 * largest(w))
            << info->name << " on " << hwy::TargetName(target) << ", value " << i;
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

TEST(Matmul, F16_OddColumns_AgreesWithReference) {
  for (const std::size_t cols : {1UL, 3UL, 15UL, 17UL, 31UL, 101UL}) {
    const auto bytes = random_matrix(DType::kF16, 9, cols);
    const auto x = random_values(2 * cols, 3);
    std::vector<float> fast(18, kPoison), plain(18, kPoison);
    const Matrix w{DType::kF16, bytes.data(), 9, cols};
    ThreadPool pool(2);
    const Product product{w, nullptr, fast.data(), 9};
    matmul(pool, &product, 1, x.data(), 2, cols);
    reference::matmul({w, nullptr, plain.data(), 9}, x.data(), 2, cols);
    for (std::size_t i = 0; i < fast.size(); ++i) {
      ASSERT_NEAR(fast[i], plain[i], 1e-4) << cols << " columns, value " << i;
    }
  }
}

TEST(Matmul, ThreeProducts_OneRegion_EachLandsInItsPlace) {
  const std::size_t cols = 64;
  const auto x = random_values(cols * 2, 1);
  ThreadPool pool(4);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::vector<float>> fast, plain;
  std::vector<Product> products;
  for (const std::size_t rows : {40UL, 1UL, 23UL}) {
    bytes.push_back(random_matrix(DType::kF32, rows, cols));
    fast.emplace_back(rows * 2, kPoison);
    plain.emplace_back(rows * 2, kPoison);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t rows = fast[i].size() / 2;
    const Matrix w{DType::kF32, bytes[i].data(), rows, cols};
    products.push_back({w, nullptr, fast[i].data(), rows});
    reference::matmul({w, nullptr, plain[i].data(), rows}, x.data(), 2, cols);
  }
  matmul(pool, products.data(), products.size(), x.data(), 2, cols);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (std::size_t j = 0; j < fast[i].size(); ++j) {
      ASSERT_NEAR(fast[i][j], plain[i][j], 1e-4);
    }
  }
}

TEST(RmsNorm, RandomRow_AnySize_AgreesWithReference) {
  for (const std::size_t n : {1UL, 2UL, 5UL, 64UL, 897UL}) {
    const auto x = random_values(n, 4, 30.0F);
    const auto w = random_values(n, 5);
    std::vector<float> fast(n, kPoison), plain(n, kPoison);
    rms_norm(x.data(), w.data(), n, 1e-6F, fast.data());
    reference::rms_norm(x.data(), w.data(), n, 1e-6F, plain.data());
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_NEAR(fast[i], plain[i], 1e-6 * (1.0 + std::fabs(plain[i])));
    }
  }
}

TEST(RmsNorm, EpsilonAgainstZeroRow_StaysFinite) {
  const std::vector<float> x(8, 0.0F), w(8, 1.0F);
  std::vector<float> out(8, kPoison);
  rms_norm(x.data(), w.data(), 8, 1e-6F, out.data());
  EXPECT_EQ(out, x);
}

TEST(Rope, BothPairings_RotateByComplexMultiplication) {
  const std::size_t dim = 8;
  const std::vector<double> inv_freq{1.0, 0.1, 0.01, 0.001};
  for (const auto pairing : {RopePairing::kHalf, RopePairing::kAdjacent}) {
    const auto original = random_values(dim + 2, 6);
    std::vector<float> head = original;
    std::vector<float> cos_sin(dim);
    rope_angles(1000, inv_freq.data(), 4, cos_sin.data());
    rope_apply(head.data(), cos_sin.data(), dim, pairing);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t a = pairing == RopePairing::kHalf ? i : 2 * i;
      const std::size_t b = pairing == RopePairing::kHalf ? i + 4 : 2 * i + 1;
      const double angle = 1000.0 * inv_freq[i];
      ASSERT_NEAR(head[a], original[a] * std::cos(angle) - original[b] * std::sin(angle), 1e-6);
      ASSERT_NEAR(head[b], original[a] * std::sin(angle) + original[b] * std::cos(angle), 1e-6);
    }
    EXPECT_EQ(head[dim], original[dim]) << "dimensions beyond rope_dim must stay";
    EXPECT_EQ(head[dim + 1], original[dim + 1]);
  }
}

TEST(Swiglu, WideRange_AgreesWithReference) {
  std::vector<float> gate{-1e30F, -200.0F, -88.5F, -20.0F, -1.0F, -0.0F,
                          0.0F,   1.0F,    20.0F,  90.0F,  1e30F};
  const auto more = random_values(70, 2, 10.0F);
  gate.insert(gate.end(), more.begin(), more.end());
  std::vector<float> up(gate.size(), 1.5F), fast(gate.size(), kPoison), plain(gate.size(), kPoison);
  swiglu(gate.data(), up.data(), gate.size(), fast.data());
  reference::swiglu(gate.data(), up.data(), gate.size(), plain.data());
  for (std::size_t i = 0; i < gate.size(); ++i) {
    ASSERT_NEAR(fast[i], plain[i], 1e-6 * (1.0 + std::fabs(plain[i]))) << gate[i];
  }
}

TEST(Swiglu, NanAndInf_Spread) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> gate(40, 1.0F), up(40, 1.0F), out(40);
  for (const std::size_t at : {0UL, 17UL, 39UL}) {
    gate[at] = nan;
  }
  up[5] = inf;
  swiglu(gate.data(), up.data(), gate.size(), out.data());
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_EQ(std::isfinite(out[i]), i != 0 && i != 17 && i != 39 && i != 5) << i;
  }
}

class Attention : public ::testing::TestWithParam<std::tuple<std::size_t, std::size_t>> {};

TEST_P(Attention, RandomHead_AnyLength_AgreesWithReference) {
  const auto [kv_len, dim] = GetParam();
  const auto q = random_values(dim, 1, 3.0F);
  const auto k = random_values(kv_len * dim, 2);
  const auto v = random_values(kv_len * dim, 3);
  AttentionHead head{q.data(), k.data(), v.data(), kv_len, dim, 0.37F};
  std::vector<float> p1(kv_len + 1, kPoison), p2(kv_len), o1(dim + 1, kPoison), o2(dim), s1(kv_len),
      s2(kv_len);
  AttentionSummary a, b;
  head.probs = p1.data();
  head.out = o1.data();
  head.scores = s1.data();
  attention_head(head, &a);
  head.probs = p2.data();
  head.out = o2.data();
  head.scores = s2.data();
  reference::attention_head(head, &b);
  for (std::size_t j = 0; j < kv_len; ++j) {
    ASSERT_NEAR(p1[j], p2[j], 2e-6);
    ASSERT_NEAR(s1[j], s2[j], 1e-5 * (1.0 + std::fabs(s2[j])));
    // The score can be had back from the probability, as the window does.
    if (p1[j] > 1e-30F) {
      ASSERT_NEAR(std::log(p1[j]) + a.lse, s2[j], 1e-4 * (1.0 + std::fabs(s2[j])));
    }
  }
  for (std::size_t d = 0; d < dim; ++d) {
    ASSERT_NEAR(o1[d], o2[d], 1e-5);
  }
  EXPECT_EQ(p1[kv_len], kPoison);
  EXPECT_EQ(o1[dim], kPoison);
  EXPECT_NEAR(a.row_sum, 1.0F, 1e-5F);
  EXPECT_NEAR(a.entropy, b.entropy, 1e-4F * (1.0F + b.entropy));
  EXPECT_EQ(a.argmax, b.argmax);
  EXPECT_NEAR(a.max, b.max, 2e-6F);
  EXPECT_NEAR(a.lse, b.lse, 1e-4F * (1.0F + std::fabs(b.lse)));
}

INSTANTIATE_TEST_SUITE_P(Lengths, Attention,
                         ::testing::Combine(::testing::Values(1U, 2U, 15U, 16U, 17U, 1000U),
                                            ::testing::Values(1U, 16U, 24U, 64U, 80U)));

TEST(Attention, HugeScores_StayFinite) {
  const std::vector<float> q{1000.0F, 0.0F}, k{100.0F, 0.0F, -100.0F, 0.0F},
      v{1.0F, 2.0F, 3.0F, 4.0F};
  std::vector<float> probs(2), out(2);
  AttentionSummary summary;
  attention_head(
      {q.data(), k.data(), v.data(), 2, 2, 1.0F, 0.0F, 0, nullptr, probs.data(), out.data()},
      &summary);
  EXPECT_EQ(probs, (std::vector<float>{1.0F, 0.0F}));
  EXPECT_EQ(out, (std::vector<float>{1.0F, 2.0F}));
  EXPECT_EQ(summary.entropy, 0.0F);
}

TEST(RowStats, SpecialValues_AgreeWithReference) {
  for (const std::size_t n : {1UL, 7UL, 16UL, 33UL, 5000UL}) {
    auto x = random_values(n, 5, 4.0F);
    if (n > 5) {
      x[0] = std::numeric_limits<float>::quiet_NaN();
      x[3] = -std::numeric_limits<float>::infinity();
      x[n - 1] = std::numeric_limits<float>::infinity();
      x[4] = 0.0F;
      x[5] = -0.0F;
    }
    const RowStats fast = row_stats(x.data(), n);
    const RowStats plain = reference::row_stats(x.data(), n);
    EXPECT_EQ(fast.non_finite, plain.non_finite);
    EXPECT_EQ(fast.zeros, plain.zeros);
    EXPECT_EQ(fast.absmax, plain.absmax);
    EXPECT_NEAR(fast.sum, plain.sum, 1e-3);
    EXPECT_NEAR(fast.sum_squares, plain.sum_squares, 1e-5 * plain.sum_squares);
  }
}

TEST(RowStats, SquaresBeyondFloat_SumInDouble) {
  const std::vector<float> x(64, 1e25F);
  EXPECT_NEAR(row_stats(x.data(), x.size()).sum_squares / 64e50, 1.0, 1e-6);
}

}  // namespace
}  // namespace layerscope::kernels
