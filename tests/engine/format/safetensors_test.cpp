// Safetensors: what a right file gives, and that every wrong one is refused with its reason.
#include "engine/format/safetensors.h"

#include <gtest/gtest.h>

#include "tests/engine/format/safetensors_writer.h"

namespace layerscope::format {
namespace {

using testing::SafetensorsWriter;

std::span<const std::byte> view(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

std::string error_of(const std::string& bytes) {
  const auto parsed = parse_safetensors(view(bytes), "x.safetensors");
  EXPECT_FALSE(parsed.ok());
  if (parsed.ok()) {
    return {};
  }
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidInput);
  return parsed.error().message;
}

TEST(Safetensors, RightFile_GivesTensorsAndMetadata) {
  SafetensorsWriter w;
  w.metadata("format", "pt");
  w.tensor<float>("a", "F32", {2, 3}, {1, 2, 3, 4, 5, 6});
  w.tensor<std::uint16_t>("h", "F16", {2}, {0x3C00, 0xC000});
  w.tensor<std::uint16_t>("b", "BF16", {1}, {0x3F80});
  w.tensor<std::int64_t>("ids", "I64", {3}, {7, -1, 9});
  w.tensor<double>("d", "F64", {}, {0.5});
  w.tensor<float>("none", "F32", {0, 4}, {});
  const std::string bytes = w.build();
  EXPECT_TRUE(looks_like_safetensors(view(bytes)));
  const auto parsed = parse_safetensors(view(bytes), "x");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const Safetensors& file = parsed.value();
  ASSERT_NE(file.find_metadata("format"), nullptr);
  EXPECT_EQ(*file.find_metadata("format"), "pt");
  EXPECT_EQ(file.find_metadata("else"), nullptr);
  ASSERT_NE(file.find("a"), nullptr);
  EXPECT_EQ(safetensors_values(*file.find("a"), 1, 3).value(), (std::vector<float>{2, 3, 4}));
  EXPECT_EQ(safetensors_values(*file.find("h"), 0, 2).value(), (std::vector<float>{1, -2}));
  EXPECT_EQ(safetensors_values(*file.find("b"), 0, 1).value(), (std::vector<float>{1}));
  EXPECT_EQ(safetensors_values(*file.find("d"), 0, 1).value(), (std::vector<float>{0.5F}));
  EXPECT_EQ(safetensors_integers(*file.find("ids")).value(), (std::vector<std::int64_t>{7, -1, 9}));
  EXPECT_EQ(file.find("none")->n_elements, 0U);
  EXPECT_FALSE(safetensors_values(*file.find("a"), 4, 3).ok());
  EXPECT_FALSE(safetensors_integers(*file.find("a")).ok());
  EXPECT_EQ(file.find("missing"), nullptr);
}

/// Trailing blanks in the header are how writers align the data.
TEST(Safetensors, PaddedHeader_IsAccepted) {
  const std::string bytes = SafetensorsWriter::with_header(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}     )", "xy");
  EXPECT_TRUE(parse_safetensors(view(bytes), "x").ok());
}

TEST(Safetensors, CutAnywhere_IsRefused) {
  SafetensorsWriter w;
  w.tensor<float>("a", "F32", {4}, {1, 2, 3, 4});
  const std::string whole = w.build();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_NE(error_of(whole.substr(0, n)).find("x.safetensors"), std::string::npos) << n;
  }
  EXPECT_NE(error_of(whole.substr(0, whole.size() - 1)).find("cut short"), std::string::npos);
  EXPECT_NE(error_of(whole + "z").find("1 bytes follow"), std::string::npos);
}

TEST(Safetensors, WrongHeaders_SayWhy) {
  const auto with = [](const std::string& header, const std::string& data = "12345678") {
    return error_of(SafetensorsWriter::with_header(header, data));
  };
  EXPECT_NE(with("[]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(with("{").find("not a JSON object"), std::string::npos);
  EXPECT_NE(with(R"({"__metadata__":{"a":1}})", "").find("is not a string"), std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[2]}})").find("lacks"), std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})").find("F33"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})").find("lacks"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})").find("do not fit"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})").find("do not fit"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}})")
                .find("64 bits"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})").find("gap"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})")
                .find("overlap"),
            std::string::npos);
  EXPECT_NE(with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")
                .find("twice"),
            std::string::npos);
  EXPECT_NE(with(std::string(100, '[')).find("nested"), std::string::npos);
}

TEST(Safetensors, AbsurdHeaderLength_IsRefused) {
  std::string bytes(16, '\xFF');
  EXPECT_FALSE(looks_like_safetensors(view(bytes)));
  EXPECT_NE(error_of(bytes).find("claims"), std::string::npos);
}

}  // namespace
}  // namespace layerscope::format
