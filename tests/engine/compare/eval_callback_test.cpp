// llama.cpp's eval-callback text: the golden logs agree with our runs, of both versions of its
// sums; damaged and cut logs are read as far as they are whole, and say so.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/engine/compare/compare_run.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::testing {
namespace {

/// Golden folders whose architecture this build runs and that have a log, own ones and shared.
std::vector<std::pair<std::string, std::string>> golden_logs() {
  std::vector<std::pair<std::string, std::string>> found;
  const char* shared = std::getenv("LS_SHARED_DIR");
  std::vector<std::string> roots{source_dir() + "/tests/golden/models"};
  if (shared != nullptr) {
    roots.push_back(std::string(shared) + "/golden");
  }
  for (const std::string& root : roots) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(root, none)) {
      const std::string name = entry.path().filename().string();
      const bool seen = std::any_of(found.begin(), found.end(),
                                    [&](const auto& pair) { return pair.first == name; });
      if (!seen && std::filesystem::exists(entry.path() / "eval-callback.log")) {
        found.emplace_back(name, entry.path().string());
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(EvalCallback, EveryGoldenThatRuns_DoesNotDiverge) {
  int compared_models = 0;
  for (const auto& [name, folder] : golden_logs()) {
    const auto loaded = model::load_model(folder + "/model.gguf");
    if (!loaded.ok()) {
      fmt::print("{:14} not run: {}\n", name, loaded.error().message);
      continue;
    }
    const auto ids =
        read_json(folder + "/tokens-short.json").at("ids").get<std::vector<std::int32_t>>();
    compare::Trace log = imported(folder + "/eval-callback.log");
    const auto ours = own_trace(loaded.value(), ids);
    ASSERT_TRUE(ours.ok()) << ours.error().message;
    compare::borrow_tokens(log, ours.value());
    const compare::Comparison c = compared(ours.value(), log);
    double worst = 0.0;
    for (const compare::Pair& pair : c.pairs) {
      worst = std::max(worst, pair.difference.excess);
    }
    fmt::print("{:14} {:3} taps, largest error {:.2f} of the tolerance ({}): {}\n", name,
               c.pairs.size(), worst, c.precision, first_place(c));
    EXPECT_EQ(first_place(c), "none") << name;
    EXPECT_GT(c.pairs.size(), 30U) << name;
    ++compared_models;
  }
  EXPECT_GE(compared_models, 2);
}

/// Rewrites a log as versions before August 2025 printed it: sums over the shown values, and the
/// function's older name.
std::string old_version(const std::string& text) {
  static const std::regex kNumber(R"(-?\d+\.\d{4})");
  std::istringstream in(text);
  std::string out;
  double sum = 0.0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("common_debug_cb_eval:")) {
      line.replace(0, 21, "ggml_debug:");
      sum = 0.0;
    } else if (line.find("sum = ") != std::string::npos) {
      line = fmt::format("{}sum = {:.6f}", std::string(37, ' '), sum);
    } else {
      for (std::sregex_iterator it(line.begin(), line.end(), kNumber), end; it != end; ++it) {
        sum += std::stod(it->str());
      }
    }
    out += line + "\n";
  }
  return out;
}

TEST(EvalCallback, OldSumSemantics_AreRecognised) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto ours = own_trace(model, short_ids("qwen2"));
  const TempFile file(old_version(read_text(golden("qwen2", "eval-callback.log"))), "old.log");
  const compare::Trace old_log = imported(file.path());
  ASSERT_EQ(old_log.notes.size(), 1U);
  EXPECT_NE(old_log.notes[0].find("before August 2025"), std::string::npos);
  const compare::Comparison c = compared(ours.value(), old_log);
  EXPECT_EQ(first_place(c), "none");
  EXPECT_EQ(c.pairs.size(), 54U);
  // Taken for sums over everything they would be far off.
  const compare::Trace new_log = imported(golden("qwen2", "eval-callback.log"));
  EXPECT_TRUE(new_log.notes.empty());
  EXPECT_TRUE(new_log.tensors.front().sum.has_value());
  EXPECT_FALSE(old_log.tensors.front().sum.has_value());
}

/// What the shown values hide, the sum shows: channel 5 of 64 is never printed.
TEST(EvalCallback, ChannelThatIsNotShown_IsFoundByTheSum) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto wrong = own_trace(model, short_ids("qwen2"), 0, {"channel:1,5"});
  ASSERT_TRUE(wrong.ok()) << wrong.error().message;
  const compare::Comparison c =
      compared(wrong.value(), imported(golden("qwen2", "eval-callback.log")));
  ASSERT_TRUE(c.first.has_value());
  EXPECT_TRUE(c.pairs[*c.first].difference.by_sum);
  EXPECT_EQ(compare::place_text(c.pairs[*c.first]), "ffn_out of layer 1");
}

TEST(EvalCallback, CutAndDamagedText_IsReadAsFarAsItIsWhole) {
  const std::string text = read_text(golden("llama", "eval-callback.log"));
  const std::size_t all = imported(golden("llama", "eval-callback.log")).tensors.size();
  for (const std::size_t cut : {text.size() / 2, text.size() / 3, text.size() - 3}) {
    const TempFile file(text.substr(0, cut), "cut.log");
    const compare::Trace trace = imported(file.path());
    EXPECT_LT(trace.tensors.size(), all);
    ASSERT_EQ(trace.notes.size(), 1U);
    EXPECT_NE(trace.notes[0].find("cut short"), std::string::npos) << trace.notes[0];
  }
  std::string damaged = text;  // a number cut in the middle of the log
  damaged.erase(damaged.find_last_of("0123456789", damaged.find("...,", damaged.size() / 2)), 1);
  const TempFile file(damaged, "damaged.log");
  const compare::Trace trace = imported(file.path());
  EXPECT_EQ(trace.tensors.size(), all - 1);
  ASSERT_EQ(trace.notes.size(), 1U);
  EXPECT_NE(trace.notes[0].find("damaged"), std::string::npos) << trace.notes[0];
  const TempFile nothing(text.substr(0, 400), "x.log");
  EXPECT_NE(import_error(nothing.path()).find("no whole tensor"), std::string::npos);
}

/// In a file that holds standard error too, the ids are there.
TEST(EvalCallback, IdsInTheLog_AreRead) {
  const auto ids = short_ids("llama");
  std::string text = fmt::format("0.00.1 I number of input tokens = {}\n", ids.size());
  for (const std::int32_t id : ids) {
    text += fmt::format("0.00.1 I   {}\n", id);
  }
  const TempFile file(text + read_text(golden("llama", "eval-callback.log")), "both.log");
  EXPECT_EQ(imported(file.path()).ids, ids);
}

TEST(EvalCallback, HostileShapes_AreRefused) {
  const TempFile file(
      "ggml_debug: x = (f32) MUL(a{1, 1, 1, 1}, }) = {9223372036854775807, 9223372036854775807, 2, "
      "2}\n",
      "x.log");
  EXPECT_NE(import_error(file.path()).find("elements"), std::string::npos);
  const TempFile negative("ggml_debug: x = (f32) MUL(a{1, 1, 1, 1}, }) = {-4, 1, 1, 1}\n", "x.log");
  EXPECT_FALSE(import_error(negative.path()).empty());
}

}  // namespace
}  // namespace layerscope::testing
