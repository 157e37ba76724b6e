// Findings, badges and faults, drawn without a renderer: every severity, long texts, NaN values,
// two hundred findings, at three sizes; and what clicks lead to.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>

#include "tests/gui/panels/bench.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui {
namespace {

using diagnose::Finding;
using diagnose::Severity;
using sample::Builder;

Finding finding(int i) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Finding f;
  f.check = "projection";
  f.cause = "transposed-weight";
  f.severity = static_cast<Severity>(i % 3);
  f.layer = i % 5 - 1;
  f.head = i % 7 - 1;
  f.position = i % 13 - 1;
  f.tensor = i % 2 == 0 ? "blk." + std::to_string(i) + ".attn_q.weight" : "";
  f.value = i % 4 == 0 ? std::numeric_limits<double>::quiet_NaN() : 1.5 * i;
  f.threshold = i % 4 == 1 ? -std::numeric_limits<double>::infinity() : 1e-5;
  f.message = "q of layer 1 is 3.25 where the file gives 0.5";
  f.advice = "take the tensor as it is stored";
  f.evidence = {"q", f.layer, f.head, f.position, -1, 9, 8, {0.5F, -3.0F, nan}, {0.5F, 1.0F, 2.0F}};
  f.related = {"also in layers 2, 3", "explains row-sum (sums to 1.2)"};
  f.serial = static_cast<std::uint64_t>(i);
  return f;
}

std::shared_ptr<session::Snapshot> with_findings(int n) {
  auto s = Builder({4, 6, 5}).grow_to(20).build();
  auto model = std::make_shared<session::ModelInfo>(*s->model);
  model->faults = {
      {"rope:off", "rope:off[,LAYER]", "RoPE not applied", "No positions.", "rope:off", ""},
      {"transpose", "transpose:TENSOR", "Weight transposed", "Rows are columns.",
       "transpose:blk.0.attn_q.weight", ""},
      {"nibble-swap", "nibble-swap", "Nibbles swapped", "Packed halves.", "",
       "this model has no matrix of packed nibbles"}};
  s->model = model;
  s->checks_run = 17;
  for (int i = 0; i < n; ++i) {
    s->findings.push_back(finding(i));
  }
  s->findings_serial = static_cast<std::uint64_t>(n) + 1;
  return s;
}

struct Sized {
  ImVec2 size;
  float scale;
};

class FindingsDrawn : public testing::TestWithParam<Sized> {
 protected:
  /// Draws both tabs, in both themes, and hovers everything visible.
  static void draw(const std::shared_ptr<session::Snapshot>& snapshot) {
    for (const char* tab : {"findings", "faults"}) {
      Bench bench(GetParam().size, GetParam().scale);
      bench.ui.snapshot = snapshot;
      bench.tab = tab;
      bench.ui.settings.token_color = 3;
      bench.frame(3);
      bench.ui.settings.dark = false;
      bench.frame(2);
      int hovered = 0;
      for (const std::string& id : bench.ui.widgets.ids()) {
        const auto* widget = bench.ui.widgets.find(id);
        const bool mine = id.starts_with("find") || id.starts_with("fault") ||
                          id.find("badge") != std::string::npos;
        if (mine && widget != nullptr && widget->visible && hovered++ < 60) {
          bench.point(id);
          ASSERT_LE(bench.conflicts, 1) << "id conflict at " << id;
        }
      }
    }
  }
};

TEST_P(FindingsDrawn, None_SaysHowToLookDeeper) { draw(with_findings(0)); }

TEST_P(FindingsDrawn, EverySeverity) { draw(with_findings(3)); }

TEST_P(FindingsDrawn, TwoHundred) { draw(with_findings(200)); }

TEST_P(FindingsDrawn, LongTextsAndOddPlaces) {
  auto s = with_findings(4);
  for (Finding& f : s->findings) {
    f.message = std::string(3000, 'x') + " and " + std::string(2000, ' ') + "\xE2\x82";
    f.advice = std::string(900, 'w');
    f.cause = std::string(300, '-');
    f.layer = 1 << 30;
    f.head = 1 << 30;
    f.position = 1 << 30;
    f.evidence.layer = 1 << 30;
    f.evidence.position = 1 << 30;
    f.related.assign(40, std::string(700, 'r'));
    f.evidence.captured.assign(600, 1.0F);
    f.evidence.expected.clear();
  }
  s->faults = {std::string(400, 'f'), "rope:off", "transpose:x"};
  draw(s);
}

INSTANTIATE_TEST_SUITE_P(Sizes, FindingsDrawn,
                         testing::Values(Sized{{1024, 640}, 1.0F}, Sized{{1600, 1000}, 1.0F},
                                         Sized{{3840, 2160}, 2.0F}));

TEST(FindingsPanel, ClickingARow_GoesThere) {
  Bench bench({1600, 1000});
  bench.tab = "findings";
  auto s = with_findings(0);
  s->findings = {finding(1), finding(2)};  // a warning, an error
  s->findings[1].evidence = {"attn_weights", 2, 3, 7, 4, -1, 3, {0.1F, 0.9F}, {0.2F, 0.8F}};
  bench.ui.snapshot = s;
  bench.ui.selection.head_open = false;
  bench.frame(2);
  EXPECT_EQ(bench.state("findings/count"), "2");
  EXPECT_EQ(bench.state("findings/worst"), "Error");
  EXPECT_EQ(bench.state("findings/0/cause"), "transposed-weight");
  EXPECT_EQ(bench.state("findings/selected"), "");
  ASSERT_NE(bench.ui.widgets.find("findings/detail/empty"), nullptr);
  bench.point("findings/row/0", 0);
  EXPECT_EQ(bench.ui.selection.layer, 2);
  EXPECT_EQ(bench.ui.selection.head, 3);
  EXPECT_EQ(bench.ui.selection.position, 7);
  EXPECT_EQ(bench.ui.selection.key_position, 4);
  EXPECT_TRUE(bench.ui.selection.head_open);
  EXPECT_EQ(bench.state("findings/selected"), "transposed-weight");
  ASSERT_NE(bench.ui.widgets.find("findings/evidence"), nullptr);
  // The list is made anew with other serials: the selection stays.
  auto again = std::make_shared<session::Snapshot>(*s);
  ++again->findings_serial;
  again->findings[1].serial += 77;
  bench.ui.snapshot = again;
  bench.frame(2);
  EXPECT_EQ(bench.state("findings/selected"), "transposed-weight");
}

TEST(FindingsPanel, Copy_PutsTextOnTheClipboard) {
  Bench bench({1600, 1000});
  bench.tab = "findings";
  bench.ui.snapshot = with_findings(2);
  bench.frame(2);
  bench.point("findings/copy", 0);
  const std::string copied = ImGui::GetClipboardText();
  EXPECT_NE(copied.find("Transposed weight"), std::string::npos);
  EXPECT_NE(copied.find("what to do: take the tensor"), std::string::npos);
}

std::string demo_model() {
  const char* dir = std::getenv("LS_SOURCE_DIR");
  const std::string root = dir != nullptr ? dir : ".";
  for (const auto& entry : std::filesystem::directory_iterator(root + "/assets/demo")) {
    if (entry.path().extension() == ".gguf") {
      return entry.path().string();
    }
  }
  return {};
}

/// The choice reaches the worker: after eight tokens the deep checks have run, unasked.
TEST(FindingsPanel, EveryEightTokens_DeepChecksRunByThemselves) {
  session::Session worker{session::SessionOptions{}};
  const auto after = [&](session::Command command) {
    worker.send(std::move(command));
    worker.wait_idle();
    return worker.snapshot();
  };
  ASSERT_EQ(after(session::LoadModel{demo_model()})->error, "");
  Bench bench({1600, 1000});
  bench.tab = "findings";
  bench.ui.session = &worker;
  bench.ui.snapshot = worker.snapshot();
  bench.frame(2);
  bench.point("findings/every", 0);
  bench.point("findings/every/every 8 tokens", 0);
  after(session::SetPrompt{"Count from one to nine.", true});
  EXPECT_FALSE(after(session::Step{7})->diagnosed);
  EXPECT_TRUE(after(session::Step{1})->diagnosed);
  bench.point("findings/every", 0);
  bench.point("findings/every/on request", 0);
  EXPECT_FALSE(after(session::Step{8})->diagnosed);
}

TEST(FindingsPanel, NoFindings_NamesWhatWasChecked) {
  Bench bench({1600, 1000});
  bench.tab = "findings";
  bench.ui.snapshot = with_findings(0);
  bench.frame(2);
  EXPECT_NE(bench.ui.widgets.find("findings/empty"), nullptr);
  EXPECT_EQ(bench.state("findings/count"), "0");
  EXPECT_EQ(bench.state("findings/checks"), "17");
  EXPECT_EQ(bench.state("findings/worst"), "none");
}

TEST(Badges, HeadsLayersAndTokens_AreMarked) {
  Bench bench({1600, 1000});
  auto s = with_findings(0);
  s->findings = {finding(2)};
  s->findings[0].layer = 1;
  s->findings[0].head = 4;
  s->findings[0].position = 6;
  bench.ui.snapshot = s;
  bench.frame(2);
  EXPECT_NE(bench.ui.widgets.find("attention/badge/layer 1/head 4"), nullptr);
  EXPECT_NE(bench.ui.widgets.find("attention/badge/layer 1"), nullptr);
  EXPECT_NE(bench.ui.widgets.find("attention/badge/layer 2"), nullptr) << "told in words";
  EXPECT_EQ(bench.ui.widgets.find("attention/badge/layer 0"), nullptr);
  EXPECT_NE(bench.ui.widgets.find("tokens/badge/6"), nullptr);
  EXPECT_EQ(bench.ui.widgets.find("tokens/badge/7"), nullptr);
}

TEST(FaultsPanel, Choosing_FillsTheArgumentAndSearchNarrows) {
  Bench bench({1600, 1000});
  bench.tab = "faults";
  bench.ui.snapshot = with_findings(0);
  bench.frame(2);
  bench.point("faults/row/transpose", 0);
  EXPECT_EQ(bench.state("faults/arg"), "transpose:blk.0.attn_q.weight");
  bench.point("faults/inject", 0);
  EXPECT_TRUE(bench.ui.fault_request.waiting);
  EXPECT_EQ(bench.ui.fault_request.wanted,
            (std::vector<std::string>{"transpose:blk.0.attn_q.weight"}));
  EXPECT_EQ(bench.ui.fault_request.tokens, 15) << "as many as there are";
  bench.point("faults/search", 0);
  for (const char c : std::string("nibble")) {
    ImGui::GetIO().AddInputCharacter(static_cast<unsigned>(c));
  }
  bench.frame(3);
  EXPECT_EQ(bench.ui.widgets.find("faults/row/transpose"), nullptr);
  bench.point("faults/row/nibble-swap", 0);
  bench.ui.fault_request = {};
  bench.point("faults/inject", 0);
  EXPECT_FALSE(bench.ui.fault_request.waiting) << "not possible in this model";
}

TEST(FaultsPanel, Active_IsSaidEverywhereAndComparedWithBefore) {
  Bench bench({1600, 1000});
  bench.tab = "faults";
  Builder builder({4, 6, 5});
  auto healthy = builder.grow_to(12).build();
  healthy->model = with_findings(0)->model;
  bench.ui.snapshot = healthy;
  bench.frame(2);
  EXPECT_EQ(bench.ui.widgets.find("topbar/faults"), nullptr);
  auto broken = builder.cut_to(8).grow_to(12).build();
  broken->model = healthy->model;
  broken->faults = {"rope:off", "transpose:w"};
  bench.ui.snapshot = broken;
  bench.frame(2);
  EXPECT_NE(bench.ui.widgets.find("topbar/faults"), nullptr);
  EXPECT_EQ(bench.state("faults/active"), "rope:off transpose:w");
  EXPECT_EQ(bench.state("faults/difference"), "3");
  EXPECT_NE(bench.state("faults/before"), bench.state("faults/after"));
  EXPECT_NE(bench.state("faults/before"), "");
  bench.point("faults/remove/0", 0);
  EXPECT_EQ(bench.ui.fault_request.wanted, std::vector<std::string>{"transpose:w"});
  bench.point("faults/clear", 0);
  EXPECT_TRUE(bench.ui.fault_request.wanted.empty());
  EXPECT_TRUE(bench.ui.fault_request.waiting);
  // Refused: said in words, and not asked again.
  auto refused = std::make_shared<session::Snapshot>(*broken);
  refused->error = "no such fault";
  ++refused->error_serial;
  ++refused->version;
  bench.ui.snapshot = refused;
  bench.frame(2);
  EXPECT_FALSE(bench.ui.fault_request.waiting);
  EXPECT_EQ(bench.state("faults/error"), "no such fault");
}

TEST(Tabs, Titles_CountWhatIsThere) {
  Bench bench({1600, 1000});
  const auto title = [&](std::string_view id) { return bench.title(id); };
  bench.ui.snapshot = with_findings(0);
  bench.frame(1);
  EXPECT_EQ(title("findings"), "Findings");
  EXPECT_EQ(title("faults"), "Faults");
  auto s = with_findings(3);
  s->faults = {"rope:off"};
  bench.ui.snapshot = s;
  bench.frame(1);
  EXPECT_EQ(title("findings"), "Findings 3") << "also while another tab is open";
  EXPECT_EQ(title("faults"), "Faults · 1 active");
}

}  // namespace
}  // namespace layerscope::gui
