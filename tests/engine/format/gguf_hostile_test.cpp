// GGUF files that are wrong: each kind is refused with its own sentence, and nothing crashes.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <random>

#include "engine/format/gguf.h"
#include "engine/format/preview.h"
#include "tests/engine/format/gguf_writer.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::format {
namespace {

using testing::as_bytes;
using testing::bytes_of;
using testing::GgufWriter;
using testing::small_gguf;
using testing::TempFile;

struct HostileCase {
  std::string name;
  std::string bytes;
  std::vector<std::string> fragments;  ///< All must be in the sentence.
};

void PrintTo(const HostileCase& hostile, std::ostream* out) { *out << hostile.name; }

template <typename T>
std::string with(std::string bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  return bytes;
}

std::string raw_array(std::uint32_t type, std::uint64_t count, const std::string& content = "") {
  std::string bytes;
  GgufWriter::put(bytes, type);
  GgufWriter::put(bytes, count);
  return bytes + content;
}

std::vector<HostileCase> header_cases() {
  const std::string good = small_gguf().build();
  return {
      {"OtherMagic", "GGML" + good.substr(4), {"does not start with 'GGUF'", "offset 0"}},
      {"Version1", with<std::uint32_t>(good, 4, 1), {"version 1 is not supported"}},
      {"Version4", with<std::uint32_t>(good, 4, 4), {"version 4 is not supported"}},
      {"Version0", with<std::uint32_t>(good, 4, 0), {"version 0 is not supported"}},
      {"BigEndianVersion", with<std::uint32_t>(good, 4, 0x03000000), {"big-endian"}},
      {"BigEndianMagic", "FUGG" + good.substr(4), {"big-endian"}},
      {"AbsurdKeys", with<std::uint64_t>(good, 16, 1ULL << 60), {"claims 1152921504606846976"}},
      {"AbsurdTensors", with<std::uint64_t>(good, 8, ~0ULL), {"18446744073709551615 tensors"}},
      {"OneKeyTooMany",
       [] {
         GgufWriter w = small_gguf();
         w.extra_keys = 1;
         return w.build();
       }(),
       {"test.gguf"}},
      {"OneTensorTooMany",
       [] {
         GgufWriter w = small_gguf();
         w.extra_tensors = 1;
         return w.build();
       }(),
       {"tensor 2"}},
  };
}

std::vector<HostileCase> metadata_cases() {
  std::string long_key(70000, 'k');
  std::string long_string;
  GgufWriter::put<std::uint64_t>(long_string, 1ULL << 40);
  return {
      {"DuplicateKey",
       GgufWriter().u32("twin", 1).u32("twin", 2).build(),
       {"key 'twin'", "appears twice"}},
      {"EmptyKey", GgufWriter().u32("", 1).u32("b", 1).build(), {"metadata key 0", "key is empty"}},
      {"LongKey", GgufWriter().u32(long_key, 1).build(), {"70000 bytes", "65536"}},
      {"UnknownValueType",
       GgufWriter().raw_key("k", 13, "abcdefgh").build(),
       {"key 'k'", "unknown value type 13"}},
      {"Bool2",
       GgufWriter().key<std::uint8_t>("flag", testing::kGgufBool, 2).u32("b", 1).build(),
       {"key 'flag'", "stored as 2"}},
      {"BoolArray7",
       GgufWriter().array<std::uint8_t>("f", testing::kGgufBool, {1, 7}).build(),
       {"stored as 7"}},
      {"StringBeyondFile",
       GgufWriter().raw_key("s", testing::kGgufString, long_string).build(),
       {"key 's'", "claims 1099511627776 bytes"}},
      {"NestedArray",
       GgufWriter().raw_key("n", testing::kGgufArray, raw_array(9, 1, raw_array(4, 0))).build(),
       {"key 'n'", "arrays of arrays"}},
      {"UnknownElementType",
       GgufWriter().raw_key("n", testing::kGgufArray, raw_array(77, 0)).build(),
       {"unknown array element type 77"}},
      {"ArrayBeyondFile",
       GgufWriter()
           .raw_key("n", testing::kGgufArray, raw_array(10, 1ULL << 61, "12345678"))
           .build(),
       {"claims 2305843009213693952 elements"}},
      {"StringArrayBeyondFile",
       GgufWriter().raw_key("n", testing::kGgufArray, raw_array(8, 1000, "12345678")).build(),
       {"claims 1000 elements of type string"}},
      {"AlignmentNotPowerOfTwo",
       small_gguf().u32("general.alignment", 48).build(),
       {"'general.alignment' is 48", "power of two"}},
      {"AlignmentZero",
       small_gguf().u32("general.alignment", 0).build(),
       {"'general.alignment' is 0"}},
      {"AlignmentAbsurd",
       small_gguf().u32("general.alignment", 1U << 30U).build(),
       {"power of two up to"}},
      {"AlignmentIsText",
       small_gguf().string("general.alignment", "32").build(),
       {"'general.alignment' must be an unsigned integer"}},
  };
}

std::vector<HostileCase> tensor_cases() {
  const std::string data = bytes_of<float>(std::vector<float>(64, 1.0F));
  const auto one = [&](const std::vector<std::uint64_t>& dims, std::uint32_t type,
                       std::uint64_t offset) {
    return GgufWriter().raw_tensor("t", dims, type, offset).data(data).build();
  };
  return {
      {"DuplicateName",
       GgufWriter().raw_tensor("twin", {1}, 0, 0).raw_tensor("twin", {1}, 0, 32).data(data).build(),
       {"tensor 'twin'", "appears twice"}},
      {"NoName", GgufWriter().raw_tensor("", {1}, 0, 0).data(data).build(), {"no name"}},
      {"LongName",
       GgufWriter().raw_tensor(std::string(2000, 'n'), {1}, 0, 0).data(data).build(),
       {"2000 bytes", "1024"}},
      {"NoDimensions", one({}, 0, 0), {"tensor 't'", "0 dimensions"}},
      {"FiveDimensions", one({1, 1, 1, 1, 1}, 0, 0), {"5 dimensions"}},
      {"ZeroDimension", one({4, 0}, 0, 0), {"dimension 1 is zero"}},
      {"ProductOverflows", one({1ULL << 33, 1ULL << 33}, 0, 0), {"does not fit 64 bits"}},
      {"BytesOverflow", one({1ULL << 63}, 0, 0), {"does not fit 64 bits"}},
      {"UnknownType", one({4}, 999, 0), {"tensor 't'", "type number 999"}},
      {"RemovedType", one({32}, 4, 0), {"type number 4"}},
      {"RowNotWholeBlocks", one({33}, 8, 0), {"rows of 33 elements", "Q8_0"}},
      {"Misaligned", one({4}, 0, 8), {"offset 8 is not a multiple of the alignment 32"}},
      {"OffsetBeyondFile", one({4}, 0, 1024), {"tensor 't'", "was cut short"}},
      {"OffsetOverflows", one({4}, 0, ~31ULL), {"does not fit 64 bits"}},
      {"DataBeyondFile", one({65}, 0, 0), {"260 bytes", "was cut short"}},
      {"Overlap",
       GgufWriter().raw_tensor("a", {16}, 0, 0).raw_tensor("b", {4}, 0, 32).data(data).build(),
       {"'a'", "'b'", "overlap"}},
      {"SamePlace",
       GgufWriter().raw_tensor("a", {4}, 0, 32).raw_tensor("b", {4}, 0, 32).data(data).build(),
       {"'a'", "'b'", "overlap"}},
  };
}

class GgufHostile : public ::testing::TestWithParam<HostileCase> {};

TEST_P(GgufHostile, File_IsRefusedWithItsSentence) {
  const auto file = parse_gguf(as_bytes(GetParam().bytes), "test.gguf");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().code, ErrorCode::kInvalidInput);
  const std::string& message = file.error().message;
  EXPECT_EQ(message.substr(0, 11), "'test.gguf'") << message;
  for (const std::string& fragment : GetParam().fragments) {
    EXPECT_NE(message.find(fragment), std::string::npos) << message << "\nlacks: " << fragment;
  }
}

const auto case_name = [](const ::testing::TestParamInfo<HostileCase>& info) {
  return info.param.name;
};
INSTANTIATE_TEST_SUITE_P(Header, GgufHostile, ::testing::ValuesIn(header_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Metadata, GgufHostile, ::testing::ValuesIn(metadata_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Tensors, GgufHostile, ::testing::ValuesIn(tensor_cases()), case_name);

TEST(GgufHostileFile, TruncatedAtEveryOffset_IsRefused) {
  const std::string good = small_gguf().build();
  ASSERT_TRUE(parse_gguf(as_bytes(good), "test.gguf").ok());
  for (std::size_t size = 0; size < good.size(); ++size) {
    // A copy of exactly this size, so that a sanitizer sees any read beyond it.
    const std::string cut = good.substr(0, size);
    const std::vector<char> exact(cut.begin(), cut.end());
    const auto file =
        parse_gguf({reinterpret_cast<const std::byte*>(exact.data()), exact.size()}, "test.gguf");
    ASSERT_FALSE(file.ok()) << "cut at " << size;
    ASSERT_EQ(file.error().code, ErrorCode::kInvalidInput);
  }
}

TEST(GgufHostileFile, TruncatedInHeader_SaysWhereAndWhatWasExpected) {
  const std::string good = small_gguf().build();
  const auto file = parse_gguf(as_bytes(good.substr(0, 6)), "test.gguf");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().message,
            "'test.gguf': expected 4 bytes for the version, but the file ends after 2; it was cut "
            "short (at offset 4)");
}

TEST(GgufHostileFile, RandomMutations_NeverCrash) {
  constexpr unsigned kSeed = 20240607;
  constexpr int kRounds = 20000;
  std::printf("seed %u\n", kSeed);
  std::mt19937 random(kSeed);
  const std::string good = small_gguf().build();
  int refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::string bad = good;
    const auto place = random() % bad.size();
    bad[place] = static_cast<char>(random() & 0xFFU);
    const auto file = parse_gguf(as_bytes(bad), "test.gguf");
    if (!file.ok()) {
      ++refused;
      ASSERT_EQ(file.error().code, ErrorCode::kInvalidInput);
      continue;
    }
    for (const TensorInfo& tensor : file.value()->tensors) {
      if (dtype_info(tensor.dtype).decodable) {
        ASSERT_TRUE(decode_values(tensor, 0, tensor.n_elements).ok());
      }
    }
  }
  EXPECT_GT(refused, kRounds / 10);
}

struct ForeignCase {
  const char* name;
  std::string bytes;
  const char* fragment;
};

TEST(ReadModelFile, OtherContent_SaysWhatItIs) {
  const std::vector<ForeignCase> cases = {
      {"ggjt", std::string("tjgg\x03\0\0\0", 8), "old GGML file"},
      {"zip", std::string("PK\x03\x04....", 8), "PyTorch checkpoint"},
      {"lfs", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
      {"text", "hello, world", "not a model file"},
      {"short", "GG", "not a model file"},
  };
  for (const ForeignCase& each : cases) {
    const TempFile temp(each.bytes, "model.bin");
    const auto file = read_model_file(temp.path());
    ASSERT_FALSE(file.ok()) << each.name;
    EXPECT_EQ(file.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(file.error().message.find(each.fragment), std::string::npos) << file.error().message;
    EXPECT_NE(file.error().message.find("open a GGUF file"), std::string::npos);
    EXPECT_FALSE(preview_model(temp.path()).ok());
  }
}

TEST(ReadModelFile, FolderMissingEmpty_AreRefused) {
  const TempFile empty("");
  EXPECT_NE(read_model_file(empty.folder()).error().message.find("is a folder"), std::string::npos);
  EXPECT_NE(read_model_file(empty.path()).error().message.find("is empty"), std::string::npos);
  const auto missing = read_model_file(empty.path() + ".none");
  EXPECT_EQ(missing.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(missing.error().message.find("cannot open"), std::string::npos);
}

}  // namespace
}  // namespace layerscope::format
