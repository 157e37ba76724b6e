// Models of several files: GGUF parts and Hugging Face folders, whole and broken. Every broken one
// gets one sentence that names the file.
#include "engine/format/model_folder.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "engine/format/preview.h"
#include "tests/engine/format/gguf_writer.h"
#include "tests/engine/format/safetensors_writer.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::format {
namespace {

using testing::bytes_of;
using testing::GgufWriter;
using testing::SafetensorsWriter;
using testing::TempFile;

/// A folder to which files are written; removed with it.
class Folder {
 public:
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
  }
  [[nodiscard]] std::string path(const std::string& name = "") const {
    return name.empty() ? marker_.folder() : marker_.folder() + "/" + name;
  }

 private:
  TempFile marker_{"x", "marker"};
};

void expect_refused(const std::string& path, const std::string& fragment) {
  const auto file = read_model_file(path);
  ASSERT_FALSE(file.ok()) << fragment;
  EXPECT_EQ(file.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(file.error().message.find(fragment), std::string::npos) << file.error().message;
  EXPECT_EQ(file.error().message.find('\n'), std::string::npos) << file.error().message;
}

// ---- GGUF in parts

std::string part_name(int i, int n) {
  return "m-0000" + std::to_string(i) + "-of-0000" + std::to_string(n) + ".gguf";
}

GgufWriter part(int no, int count, int tensors) {
  GgufWriter writer;
  if (no == 0) {
    writer.string("general.architecture", "llama");
  }
  writer.key<std::uint16_t>("split.no", testing::kGgufU16, static_cast<std::uint16_t>(no));
  writer.key<std::uint16_t>("split.count", testing::kGgufU16, static_cast<std::uint16_t>(count));
  writer.key<std::int32_t>("split.tensors.count", testing::kGgufI32, tensors);
  if (no > 0) {  // the first part may hold metadata only
    writer.tensor("t" + std::to_string(no), {2}, 0,
                  bytes_of<float>({static_cast<float>(no), static_cast<float>(no) + 0.5F}));
  }
  return writer;
}

void write_parts(const Folder& folder) {
  for (int no = 0; no < 3; ++no) {
    folder.write(part_name(no + 1, 3), part(no, 3, 2).build());
  }
}

TEST(GgufParts, AnyPart_OpensTheWhole) {
  const Folder folder;
  write_parts(folder);
  for (int i = 1; i <= 3; ++i) {
    const auto file = read_model_file(folder.path(part_name(i, 3)));
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file.value()->tensors.size(), 2U);
    EXPECT_EQ(file.value()->get_string("general.architecture").value(), "llama");
    EXPECT_EQ(decode_values(*file.value()->find_tensor("t2"), 0, 2).value(),
              (std::vector<float>{2.0F, 2.5F}));
    EXPECT_NE(file.value()->container.find("3 parts"), std::string::npos);
    const auto preview = preview_model(folder.path(part_name(i, 3)));
    ASSERT_TRUE(preview.ok());
    EXPECT_EQ(preview.value().n_tensors, 2U);
  }
}

TEST(GgufParts, PartsThatDoNotFit_AreRefusedByName) {
  struct Case {
    std::function<void(const Folder&)> spoil;
    const char* fragment;
  };
  const std::vector<Case> cases{
      {[](const Folder& f) { std::filesystem::remove(f.path(part_name(2, 3))); },
       "part 2 of 3 is missing"},
      {[](const Folder& f) { f.write(part_name(2, 3), "nothing"); }, "part 2 of 3, '"},
      {[](const Folder& f) { f.write(part_name(2, 3), part(1, 4, 2).build()); },
       "says that it is part 2 of 4"},
      {[](const Folder& f) { f.write(part_name(3, 3), part(1, 3, 2).build()); },
       "says that it is part 2 of 3, but its name says part 3"},
      {[](const Folder& f) { f.write(part_name(1, 3), part(0, 3, 7).build()); },
       "together hold 2 tensors, but 'split.tensors.count' is 7"},
      {[](const Folder& f) {
         f.write(part_name(3, 3), part(2, 3, 2).tensor("t1", {1}, 0, bytes_of<float>({1})).build());
         f.write(part_name(1, 3), part(0, 3, 3).build());
       },
       "tensor 't1' is in two of the parts"},
  };
  for (const Case& each : cases) {
    const Folder folder;
    write_parts(folder);
    each.spoil(folder);
    expect_refused(folder.path(part_name(1, 3)), each.fragment);
  }
}

TEST(GgufParts, RenamedOrAbsurdPart_IsRefused) {
  const Folder folder;
  folder.write("other.gguf", part(0, 3, 2).build());
  expect_refused(folder.path("other.gguf"), "its name does not end in -0000N-of-00003.gguf");
  folder.write("huge.gguf", part(0, 60000, 2).build());
  expect_refused(folder.path("huge.gguf"), "'split.count' is 60000");
}

// ---- Hugging Face folders

constexpr const char* kConfig =
    R"({"model_type": "qwen2", "hidden_size": 8, "eps": 1e-6, "flag": true, "none": null,
        "nested": {"list": [1, 2], "names": ["a", "b"], "mixed": [1, "a"]}})";

std::string shard(const std::string& name) {
  return SafetensorsWriter().tensor<float>(name, "F32", {2}, {1.0F, 2.0F}).build();
}

void write_sharded(const Folder& folder) {
  folder.write("config.json", kConfig);
  folder.write("a.safetensors", shard("x"));
  folder.write("b.safetensors", shard("y"));
  folder.write("model.safetensors.index.json",
               R"({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})");
}

TEST(ModelFolder, FolderOrAnyOfItsFiles_Opens) {
  const Folder folder;
  write_sharded(folder);
  folder.write("tokenizer.json", "{}");
  folder.write("generation_config.json", R"({"temperature": 0.7})");
  for (const char* name : {"", "config.json", "a.safetensors", "b.safetensors", "tokenizer.json",
                           "model.safetensors.index.json"}) {
    const auto file = read_model_file(folder.path(name));
    ASSERT_TRUE(file.ok()) << name << ": " << file.error().message;
    EXPECT_EQ(file.value()->folder, folder.path());
    EXPECT_EQ(file.value()->tensors.size(), 2U);
    EXPECT_EQ(file.value()->get_int("config.hidden_size").value(), 8);
    EXPECT_EQ(file.value()->get_bool("config.flag").value(), true);
    EXPECT_EQ(file.value()->find("config.none"), nullptr);
    EXPECT_EQ(file.value()->get_ints("config.nested.list"), (std::vector<std::int64_t>{1, 2}));
    EXPECT_EQ(file.value()->get_string("config.nested.mixed").value(), R"([1,"a"])");
    EXPECT_EQ(file.value()->get_float("generation_config.temperature").value(), 0.7);
    EXPECT_EQ(decode_values(*file.value()->find_tensor("y"), 1, 1).value(),
              std::vector<float>{2.0F});
  }
  const auto preview = preview_model(folder.path());
  ASSERT_TRUE(preview.ok());
  EXPECT_EQ(preview.value().architecture, "qwen2");
  EXPECT_EQ(preview.value().n_parameters, 4U);
}

TEST(ModelFolder, TypesThatOnlySafetensorsHas_AreListedButNotDecoded) {
  const Folder folder;
  folder.write("w.safetensors", SafetensorsWriter()
                                    .raw("f8", "F8_E4M3", {4}, "abcd")
                                    .raw("scalar", "I64", {}, std::string("\x05\0\0\0\0\0\0\0", 8))
                                    .build());
  const auto file = read_model_file(folder.path("w.safetensors"));  // no config.json beside it
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_FALSE(decode_values(*file.value()->find_tensor("f8"), 0, 4).ok());
  EXPECT_EQ(decode_values(*file.value()->find_tensor("scalar"), 0, 1).value(),
            std::vector<float>{5.0F});
  EXPECT_EQ(preview_model(folder.path("w.safetensors")).value().undecodable,
            std::vector<std::string>{"F8_E4M3"});
}

TEST(ModelFolder, BrokenFolders_GetOneSentenceEach) {
  struct Case {
    std::string name, content;  ///< the file that is replaced; empty content: removed
    const char* fragment;
  };
  const std::string index = "model.safetensors.index.json";
  const std::vector<Case> cases{
      {"config.json", "{\"a\": ", "config.json' is not a JSON object"},
      {"config.json", "[1]", "config.json' is not a JSON object"},
      {"generation_config.json", "{{", "generation_config.json' is not a JSON object"},
      {"b.safetensors", "", "b.safetensors' is missing"},
      {"b.safetensors", shard("y").substr(0, 30), "b.safetensors'"},
      {"b.safetensors", shard("z"), "does not hold tensor 'y'"},
      {"b.safetensors",
       SafetensorsWriter().raw("y", "F32", {1}, "1234").raw("z", "F32", {1}, "1234").build(),
       "holds tensor 'z'"},
      {"b.safetensors", SafetensorsWriter().raw("y", "Q9", {1}, "1").build(), "'Q9'"},
      {"b.safetensors", SafetensorsWriter().raw("y", "F32", {3}, "12345678").build(), "'y'"},
      {index, "nonsense", "index.json' is not a JSON object"},
      {index, "{}", "has no 'weight_map'"},
      {index, R"({"weight_map": []})", "has no 'weight_map'"},
      {index, R"({"weight_map": {"x": 5}})", "tensor 'x' is said to be in '5'"},
      {index, R"({"weight_map": {"x": "../../etc/a.safetensors"}})", "not the name of"},
      {index, R"({"weight_map": {"x": "c.safetensors"}})", "c.safetensors' is missing"},
      {index, "", "holds 2 safetensors files but no model.safetensors.index.json"},
  };
  for (const Case& each : cases) {
    const Folder folder;
    write_sharded(folder);
    if (each.content.empty()) {
      std::filesystem::remove(folder.path(each.name));
    } else {
      folder.write(each.name, each.content);
    }
    expect_refused(folder.path(), each.fragment);
  }
}

TEST(ModelFolder, FolderWithoutWeights_SaysWhatIsThere) {
  const Folder folder;
  expect_refused(folder.path(), "is a folder without a config.json");
  folder.write("config.json", kConfig);
  expect_refused(folder.path(), "has a config.json but no safetensors file");
  folder.write("pytorch_model.bin", "PK");
  expect_refused(folder.path(), "holds PyTorch weights only");
}

}  // namespace
}  // namespace layerscope::format
