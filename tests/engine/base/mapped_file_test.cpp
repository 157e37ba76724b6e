#include "engine/base/mapped_file.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/engine/format/temp_file.h"

namespace layerscope {
namespace {

using testing::TempFile;

TEST(MappedFile, Content_IsMappedAndSurvivesMoves) {
  const TempFile temp("hello");
  auto opened = MappedFile::open(temp.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const std::byte* address = opened.value().bytes().data();
  MappedFile first = std::move(opened).value();
  MappedFile second;
  second = std::move(first);
  EXPECT_EQ(second.bytes().data(), address);
  ASSERT_EQ(second.bytes().size(), 5U);
  EXPECT_EQ(second.bytes()[4], std::byte{'o'});
}

TEST(MappedFile, MissingFolderEmpty_AreErrorsWithTheirPath) {
  const TempFile empty("");
  for (const auto& [path, fragment] :
       {std::pair{empty.path() + ".none", "cannot open"}, std::pair{empty.folder(), "regular file"},
        std::pair{empty.path(), "is empty"}}) {
    const auto file = MappedFile::open(path);
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(file.error().message.find(fragment), std::string::npos) << file.error().message;
    EXPECT_NE(file.error().message.find(path), std::string::npos);
  }
}

TEST(MappedFile, Default_IsEmpty) { EXPECT_TRUE(MappedFile().bytes().empty()); }

}  // namespace
}  // namespace layerscope
