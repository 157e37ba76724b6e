// Reading GGUF files that are right.
#include "engine/format/gguf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

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

std::shared_ptr<ModelFile> parse(const std::string& bytes) {
  auto file = parse_gguf(as_bytes(bytes), "test.gguf");
  EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message);
  return file.ok() ? file.value() : std::make_shared<ModelFile>();
}

std::string source_dir() {
  const char* folder = std::getenv("LS_SOURCE_DIR");
  return folder == nullptr ? "." : folder;
}

TEST(Gguf, SmallFile_AllParts_AreRead) {
  const std::string bytes = small_gguf().build();
  const auto file = parse(bytes);
  EXPECT_EQ(file->container, "GGUF v3");
  EXPECT_EQ(file->file_bytes, bytes.size());
  EXPECT_EQ(file->header_bytes % 32, 0U);
  ASSERT_EQ(file->metadata.size(), 3U);
  EXPECT_EQ(file->metadata[0].type, "string");
  EXPECT_EQ(file->metadata[2].type, "array of string");
  ASSERT_EQ(file->tensors.size(), 2U);
  const TensorInfo* m = file->find_tensor("m");
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->shape, (std::vector<std::uint64_t>{3, 2}));  // slowest first
  EXPECT_EQ(shape_text(m->shape), "[3, 2]");
  EXPECT_EQ(m->n_elements, 6U);
  EXPECT_EQ(m->offset, file->header_bytes);
  EXPECT_EQ(file->find_tensor("none"), nullptr);
  EXPECT_EQ(file->find("none"), nullptr);
}

TEST(Gguf, Version2_IsRead) {
  GgufWriter writer = small_gguf();
  writer.version = 2;
  EXPECT_EQ(parse(writer.build())->container, "GGUF v2");
}

TEST(Gguf, EveryScalarType_KeepsValueAndTypeName) {
  GgufWriter w;
  w.key<std::uint8_t>("u8", testing::kGgufU8, 255);
  w.key<std::int8_t>("i8", testing::kGgufI8, -128);
  w.key<std::uint16_t>("u16", testing::kGgufU16, 65535);
  w.key<std::int16_t>("i16", testing::kGgufI16, -32768);
  w.key<std::uint32_t>("u32", testing::kGgufU32, 4294967295U);
  w.key<std::int32_t>("i32", testing::kGgufI32, -2147483647);
  w.key<float>("f32", testing::kGgufF32, 0.5F);
  w.boolean("bool", true);
  w.string("string", "text");
  w.key<std::uint64_t>("u64", testing::kGgufU64, std::numeric_limits<std::uint64_t>::max());
  w.key<std::int64_t>("i64", testing::kGgufI64, std::numeric_limits<std::int64_t>::min());
  w.key<double>("f64", testing::kGgufF64, 1e300);
  const std::string bytes = w.build();
  const auto file = parse(bytes);
  for (const MetaEntry& entry : file->metadata) {
    EXPECT_EQ(entry.key, entry.type);
  }
  EXPECT_EQ(file->get_int("u8").value(), 255);
  EXPECT_EQ(file->get_int("i8").value(), -128);
  EXPECT_EQ(file->get_int("u16").value(), 65535);
  EXPECT_EQ(file->get_int("i16").value(), -32768);
  EXPECT_EQ(file->get_int("u32").value(), 4294967295);
  EXPECT_EQ(file->get_int("i32").value(), -2147483647);
  EXPECT_EQ(file->get_float("f32").value(), 0.5);
  EXPECT_EQ(file->get_bool("bool").value(), true);
  EXPECT_EQ(file->get_string("string").value(), "text");
  EXPECT_EQ(std::get<std::uint64_t>(*file->find("u64")), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(file->get_int("i64").value(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(file->get_float("f64").value(), 1e300);
}

TEST(Gguf, EveryArrayType_KeepsValues) {
  GgufWriter w;
  w.array<std::uint8_t>("u8", testing::kGgufU8, {1, 255});
  w.array<std::int8_t>("i8", testing::kGgufI8, {-1});
  w.array<std::uint16_t>("u16", testing::kGgufU16, {65535});
  w.array<std::int16_t>("i16", testing::kGgufI16, {-2});
  w.array<std::uint32_t>("u32", testing::kGgufU32, {3, 4});
  w.array<std::int32_t>("i32", testing::kGgufI32, {-3});
  w.array<float>("f32", testing::kGgufF32, {0.5F, -1.0F});
  w.array<std::uint8_t>("bool", testing::kGgufBool, {1, 0});
  w.strings("string", {"", "x"});
  w.array<std::uint64_t>("u64", testing::kGgufU64, {~std::uint64_t{0}});
  w.array<std::int64_t>("i64", testing::kGgufI64, {-5});
  w.array<double>("f64", testing::kGgufF64, {2.5});
  w.array<std::uint32_t>("empty", testing::kGgufU32, {});
  const std::string bytes = w.build();
  const auto file = parse(bytes);
  EXPECT_EQ(file->get_ints("u8"), (std::vector<std::int64_t>{1, 255}));
  EXPECT_EQ(file->get_ints("i8"), (std::vector<std::int64_t>{-1}));
  EXPECT_EQ(file->get_ints("u16"), (std::vector<std::int64_t>{65535}));
  EXPECT_EQ(file->get_ints("i16"), (std::vector<std::int64_t>{-2}));
  EXPECT_EQ(file->get_ints("u32"), (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(file->get_ints("i32"), (std::vector<std::int64_t>{-3}));
  EXPECT_EQ(file->get_floats("f32"), (std::vector<double>{0.5, -1.0}));
  EXPECT_EQ(std::get<std::vector<bool>>(*file->find("bool")), (std::vector<bool>{true, false}));
  EXPECT_EQ(*file->get_strings("string"), (std::vector<std::string>{"", "x"}));
  EXPECT_EQ(file->get_ints("u64"), std::nullopt);  // does not fit
  EXPECT_EQ(file->get_ints("i64"), (std::vector<std::int64_t>{-5}));
  EXPECT_EQ(file->get_floats("f64"), (std::vector<double>{2.5}));
  EXPECT_EQ(file->get_ints("empty"), std::vector<std::int64_t>{});
  EXPECT_EQ(file->get_strings("u8"), nullptr);
  EXPECT_EQ(file->get_floats("string"), std::nullopt);
  EXPECT_EQ(file->metadata[7].type, "array of bool");
}

TEST(Gguf, TypedReads_AbsentOrWrong_AreToldApart) {
  const std::string bytes = GgufWriter()
                                .u32("n", 7)
                                .key<std::uint64_t>("big", testing::kGgufU64, ~std::uint64_t{0})
                                .string("s", "x")
                                .build();
  const auto file = parse(bytes);
  EXPECT_FALSE(file->get_int("absent").value().has_value());
  EXPECT_FALSE(file->get_string("absent").value().has_value());
  EXPECT_EQ(file->get_float("n").value(), 7.0);
  const auto wrong = file->get_string("n");
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(wrong.error().message.find("'n' must be a string"), std::string::npos);
  EXPECT_NE(file->get_int("big").error().message.find("out of range"), std::string::npos);
  EXPECT_FALSE(file->get_bool("s").ok());
  EXPECT_FALSE(file->get_float("s").ok());
  EXPECT_FALSE(file->get_int("s").ok());
}

TEST(Gguf, OtherAlignment_IsFollowed) {
  GgufWriter w;
  w.alignment = 256;
  w.u32("general.alignment", 256).tensor("t", {1}, 0, bytes_of<float>({2}));
  const std::string bytes = w.build();
  const auto file = parse(bytes);
  ASSERT_EQ(file->tensors.size(), 1U);
  EXPECT_EQ(file->tensors[0].offset % 256, 0U);
  EXPECT_EQ(decode_values(file->tensors[0], 0, 1).value()[0], 2.0F);
}

TEST(Gguf, KnownUndecodableType_IsListedButNotDecoded) {
  const std::string bytes =
      GgufWriter().tensor("t", {256}, 16, std::string(66, '\0')).build();  // IQ2_XXS
  const auto file = parse(bytes);
  ASSERT_EQ(file->tensors.size(), 1U);
  EXPECT_EQ(file->tensors[0].data.size(), 66U);
  const auto values = decode_values(file->tensors[0], 0, 1);
  ASSERT_FALSE(values.ok());
  EXPECT_NE(values.error().message.find("IQ2_XXS"), std::string::npos);
}

TEST(Gguf, SkipArrays_ChecksButDropsThem) {
  const std::string bytes = small_gguf().build();
  const auto file = parse_gguf(as_bytes(bytes), "x", GgufOptions{.skip_arrays = true});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.value()->find("words"), nullptr);
  EXPECT_EQ(file.value()->metadata.size(), 2U);
}

TEST(DecodeValues, AnyRange_EqualsTheWhole) {
  const std::string bytes = small_gguf().build();
  const auto file = parse(bytes);
  const TensorInfo& q = *file->find_tensor("q");
  for (std::uint64_t first = 0; first <= 32; ++first) {
    for (std::uint64_t count = 0; first + count <= 32; ++count) {
      const auto values = decode_values(q, first, count);
      ASSERT_TRUE(values.ok());
      ASSERT_EQ(values.value().size(), count);
      for (std::uint64_t i = 0; i < count; ++i) {
        ASSERT_EQ(values.value()[i], 0.5F * (static_cast<float>(first + i) - 16.0F));
      }
    }
  }
  EXPECT_FALSE(decode_values(q, 0, 33).ok());
  EXPECT_FALSE(decode_values(q, 33, 0).ok());
  EXPECT_FALSE(decode_values(q, ~std::uint64_t{0}, 2).ok());
  EXPECT_FALSE(decode_values(q, 1, ~std::uint64_t{0}).ok());
}

TEST(DecodeValues, HalfTypes_AreDecoded) {
  const std::string bytes =
      GgufWriter()
          .tensor("h", {3}, 1, bytes_of<std::uint16_t>({0x3C00, 0xC000, 0x0001}))
          .tensor("b", {2}, 30, bytes_of<std::uint16_t>({0x3F80, 0xC040}))
          .build();
  const auto file = parse(bytes);
  EXPECT_EQ(decode_values(*file->find_tensor("h"), 0, 3).value(),
            (std::vector<float>{1.0F, -2.0F, 0x1p-24F}));
  EXPECT_EQ(decode_values(*file->find_tensor("b"), 0, 2).value(),
            (std::vector<float>{1.0F, -3.0F}));
}

TEST(ReadModelFile, RealFile_OwnsItsMapping) {
  const TempFile temp(small_gguf().build());
  const auto file = read_model_file(temp.path());
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file.value()->path, temp.path());
  EXPECT_EQ(decode_values(*file.value()->find_tensor("m"), 5, 1).value()[0], 6.0F);
}

TEST(ReadModelFile, GoldenModels_AreWhole) {
  for (const std::string name : {"qwen2", "llama", "llama3"}) {
    const auto file =
        read_model_file(source_dir() + "/tests/golden/models/" + name + "/model.gguf");
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_GT(file.value()->tensors.size(), 20U);
    EXPECT_NE(file.value()->find_tensor("token_embd.weight"), nullptr);
  }
}

TEST(Preview, GoldenModel_ShowsItsFacts) {
  const auto preview = preview_model(source_dir() + "/tests/golden/models/qwen2/model.gguf");
  ASSERT_TRUE(preview.ok()) << preview.error().message;
  EXPECT_EQ(preview.value().architecture, "qwen2");
  EXPECT_EQ(preview.value().name, "golden-qwen2");
  EXPECT_EQ(preview.value().quantisation, "F32");
  EXPECT_EQ(preview.value().context_length, 256);
  EXPECT_EQ(preview.value().n_layers, 3);
  EXPECT_EQ(preview.value().n_tensors, 39U);
  EXPECT_EQ(preview.value().n_parameters, 158528U);
  EXPECT_TRUE(preview.value().undecodable.empty());
}

TEST(Preview, MixedQuantisation_NamesDominantAndUndecodable) {
  GgufWriter w;
  w.string("general.architecture", "llama");
  w.tensor("norm", {1024}, 0, std::string(4096, '\0'));  // vectors do not count
  w.tensor("a", {256, 4}, 16, std::string(4 * 66, '\0'));
  w.tensor("b", {256, 2}, 22, std::string(2 * 82, '\0'));
  w.tensor("c", {256, 2}, 14, std::string(2 * 210, '\0'));  // Q6_K is decoded
  const TempFile temp(w.build());
  const auto preview = preview_model(temp.path());
  ASSERT_TRUE(preview.ok()) << preview.error().message;
  EXPECT_EQ(preview.value().quantisation, "IQ2_XXS mixed");
  EXPECT_EQ(preview.value().undecodable, (std::vector<std::string>{"IQ2_XXS", "IQ2_S"}));
  EXPECT_EQ(preview.value().n_layers, 0);
}

}  // namespace
}  // namespace layerscope::format
