// EditedModel: a copy of a model file with bytes changed, to see how loading refuses it.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/fixtures.h"

namespace layerscope::testing {

/// A copy of a model file with bytes changed; removed at the end of the test.
class EditedModel {
 public:
  explicit EditedModel(const std::string& model)
      : EditedModel(read_text(golden(model, "model.gguf")), 0) {}
  static EditedModel of_file(const std::string& path) { return {read_text(path), 0}; }
  ~EditedModel() { std::filesystem::remove(path_); }
  EditedModel(const EditedModel&) = delete;
  EditedModel& operator=(const EditedModel&) = delete;

  /// Replaces the first occurrence of `from` (a key or tensor name) by `to` of the same length.
  void rename(const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    const std::size_t at = bytes_.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bytes_.replace(at, from.size(), to);
  }

  /// Overwrites the scalar value of a metadata key (which follows the key and its 4-byte type).
  template <typename T>
  void set(const std::string& key, T value) {
    const std::size_t at = bytes_.find(key);
    ASSERT_NE(at, std::string::npos) << key;
    std::memcpy(bytes_.data() + at + key.size() + 4, &value, sizeof(value));
  }

  std::string message() {
    std::ofstream(path_, std::ios::binary) << bytes_;
    const auto result = model::load_model(path_);
    if (result.ok()) {
      return "loaded";
    }
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidInput);
    return result.error().message;
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  EditedModel(std::string bytes, int /*tag*/) : bytes_(std::move(bytes)) {}

  std::string bytes_;
  std::string path_ =
      (std::filesystem::temp_directory_path() /
       ("layerscope_" +
        std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".gguf"))
          .string();
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

}  // namespace layerscope::testing
