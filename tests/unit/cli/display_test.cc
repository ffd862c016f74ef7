// What the command line draws: text widths, tables, bars, progress, the bitmap font.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "coordinator/cli/bitmap_font.h"
#include "coordinator/cli/html.h"
#include "coordinator/cli/report_html.h"
#include "coordinator/cli/run_progress.h"
#include "coordinator/cli/run_text.h"
#include "coordinator/cli/table.h"
#include "coordinator/cli/terminal.h"

namespace rsidiff::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const Terminal kPipe{false, false, 80};
const Terminal kScreen{true, true, 40};

TEST(Terminal, MeasuresWideCombiningAndStyledText) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("日本"), 4);
  EXPECT_EQ(DisplayWidth("e\xCC\x81"), 1);
  EXPECT_EQ(DisplayWidth("😀"), 2);
  EXPECT_EQ(DisplayWidth(Styled("abc", Style::kRed, kScreen)), 3);
  EXPECT_EQ(DisplayWidth("\xFF\xFF"), 2);
}

TEST(Terminal, StylesOnlyWhereThereIsColour) {
  EXPECT_EQ(Styled("x", Style::kBold, kPipe), "x");
  EXPECT_EQ(Styled("x", Style::kGreen, kScreen), "\x1B[32mx\x1B[0m");
}

TEST(Terminal, CutsTextToColumns) {
  EXPECT_EQ(Truncated("abcdef", 6), "abcdef");
  EXPECT_EQ(Truncated("abcdefg", 6), "abc...");
  EXPECT_EQ(Truncated("日本語日本語", 8), "日本...");
  EXPECT_EQ(Truncated("abcdef", 2), "..");
  EXPECT_EQ(Truncated(Styled("abcdefg", Style::kRed, kScreen), 6), "\x1B[31mabc...\x1B[0m");
}

TEST(Terminal, HonoursTheEnvironment) {
  setenv("COLUMNS", "33", 1);
  setenv("NO_COLOR", "1", 1);
  const Terminal terminal = DetectTerminal(-1);  // no terminal
  EXPECT_FALSE(terminal.interactive);
  EXPECT_FALSE(terminal.color);
  EXPECT_EQ(terminal.width, 33);
  unsetenv("COLUMNS");
  unsetenv("NO_COLOR");
}

TEST(Terminal, BarsAreClamped) {
  EXPECT_EQ(ProgressBar(0.5, 12), "[#####-----]");
  EXPECT_EQ(ProgressBar(7, 6), "[####]");
  EXPECT_EQ(ProgressBar(-1, 6), "[----]");
  EXPECT_EQ(ProgressBar(std::nan(""), 6), "[----]");
}

TEST(LiveRegion, DrawsOverItself) {
  std::ostringstream out;
  LiveRegion region(out, {true, false, 10});
  region.Draw({"one", "a line that is too long"});
  EXPECT_EQ(out.str(), "one\na line...\n");
  out.str("");
  region.Draw({"two"});
  EXPECT_EQ(out.str(), "\x1B[2A\r\x1B[Jtwo\n");
  out.str("");
  region.Clear();
  region.Clear();
  EXPECT_EQ(out.str(), "\x1B[1A\r\x1B[J");
}

TEST(Table, AlignsByDisplayWidth) {
  Table table({{"name"}, {"n", Align::kRight}, {"note"}});
  table.AddRow({"日本", "1", "x"});
  table.AddRow({"a", "100"});
  table.AddRow({"line\nfeed", "2", "y", "dropped"});
  EXPECT_EQ(table.Render(kPipe),
            "name         n  note\n"
            "日本         1  x\n"
            "a          100\n"
            "line feed    2  y\n");
}

TEST(Table, IsCutOnAScreenOnly) {
  Table table({{"a"}});
  table.AddRow({std::string(60, 'x')});
  EXPECT_THAT(table.Render({true, false, 20}), HasSubstr("\nxxxxxxxxxxxxxxxxx...\n"));
  EXPECT_THAT(table.Render({false, false, 20}), HasSubstr(std::string(60, 'x')));
}

TEST(RunText, FormatsQuantities) {
  EXPECT_EQ(DurationText(absl::Seconds(3723)), "1:02:03");
  EXPECT_EQ(DurationText(absl::Seconds(65)), "1:05");
  EXPECT_EQ(DurationText(absl::InfiniteDuration()), "-");
  EXPECT_EQ(NumberText(std::numeric_limits<double>::infinity(), 2), "-");
  EXPECT_EQ(BytesText(512), "512 B");
  EXPECT_EQ(BytesText(1536.0 * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(TimeText(0), "-");
  EXPECT_EQ(TimeText(1'000'000), "1970-01-01 00:00:01");
  EXPECT_EQ(StateName(v1::RUN_STATE_SUCCEEDED), "succeeded");
  EXPECT_EQ(PhaseName(v1::ROUND_PHASE_SAMPLE), "sample");
}

v1::RunStatus SampleStatus() {
  v1::RunStatus status;
  v1::RunRecord& run = *status.mutable_run();
  run.set_id(3);
  run.set_state(v1::RUN_STATE_ACTIVE);
  run.set_best_round(1);
  run.mutable_spec()->set_name("shapes");
  run.mutable_spec()->set_rounds(6);
  run.mutable_spec()->add_scorers()->set_name("clip");
  v1::ScorerSpec& held = *run.mutable_spec()->add_scorers();
  held.set_name("heldout");
  held.set_role(v1::SCORER_ROLE_HELD_OUT);
  for (uint32_t number : {0, 1, 2}) {
    v1::RoundRecord& round = *status.add_rounds();
    round.set_round(number);
    round.set_phase(number < 2 ? v1::ROUND_PHASE_DONE : v1::ROUND_PHASE_SAMPLE);
    if (number == 2) continue;
    round.mutable_evaluation()->set_complete(true);
    round.mutable_evaluation()->set_diversity(0.5);
    (*round.mutable_evaluation()->mutable_scores())["clip"].set_mean(0.6 + number);
    (*round.mutable_evaluation()->mutable_scores())["heldout"].set_mean(0.7);
  }
  status.mutable_rounds(1)->mutable_selection()->set_samples(384);
  status.mutable_rounds(1)->mutable_selection()->set_selected(96);
  status.mutable_rounds(1)->mutable_selection()->set_effective_sample_size(80.25);
  status.mutable_rounds(1)->mutable_train()->set_steps(40);
  status.mutable_rounds(1)->mutable_train()->set_last_loss(0.1034);
  return status;
}

void SetCounts(v1::RunStatus& status, uint32_t drawn, uint32_t scored) {
  status.clear_tasks();
  for (const v1::TaskKind kind : {v1::TASK_KIND_GENERATE, v1::TASK_KIND_SCORE}) {
    v1::TaskCounts& counts = *status.add_tasks();
    counts.set_round(2);
    counts.set_kind(kind);
    counts.set_purpose(v1::PURPOSE_TRAINING);
    counts.set_samples_total(400);
    counts.set_samples_done(kind == v1::TASK_KIND_GENERATE ? drawn : scored);
  }
}

TEST(RoundTable, MarksTheBestRoundAndHeldOutScorers) {
  const v1::RunStatus status = SampleStatus();
  EXPECT_EQ(RoundTable(status).Render(kPipe),
            "round  phase     kept   ess    loss    clip  heldout*  diversity  frechet\n"
            "    0  done         -     -       -  0.6000    0.7000     0.5000   0.0000\n"
            "    1  done    96/384  80.2  0.1034  1.6000    0.7000     0.5000   0.0000  best\n"
            "    2  sample       -     -       -       -         -          -        -\n");
  EXPECT_THAT(RoundTableLegend(status), HasSubstr("* held out"));
}

TEST(RoundTable, HasNoEffectiveSampleSizeBeforeThereAreWeights) {
  v1::RunStatus status = SampleStatus();
  v1::RoundRecord& round = *status.mutable_rounds(2);
  round.set_phase(v1::ROUND_PHASE_WEIGHT);
  round.mutable_selection()->set_samples(384);
  round.mutable_selection()->set_selected(90);
  EXPECT_THAT(RoundTable(status).Render(kPipe),
              HasSubstr("    2  weight  90/384     -       -       -         -          -        -\n"));
}

TEST(RoundTable, LegendAndWatchSayThatARoundCollapsed) {
  v1::RunStatus status = SampleStatus();
  const std::string collapse = "round 1 has collapsed: it scores 0.7, the base model 0.9";
  status.mutable_run()->set_collapse(collapse);
  status.mutable_run()->set_reason("no round beat the base model, which scores 0.9");
  EXPECT_EQ(RoundTableLegend(status),
            "Round 0 is the base model. Scores are means over the evaluation samples. * held out: never "
            "selected by; decides the best round.\nwarning: " +
                collapse + "\nno round beat the base model, which scores 0.9\n");
  RunProgress progress;
  progress.Update(status, 2, absl::FromUnixSeconds(0));
  EXPECT_THAT(progress.Line(), testing::EndsWith("; best round 1; " + collapse));
  EXPECT_THAT(progress.Screen({true, false, 80}).back(), collapse);
}

TEST(RunProgress, TellsRateAndRemainingTime) {
  RunProgress progress;
  v1::RunStatus status = SampleStatus();
  const absl::Time start = absl::FromUnixSeconds(1000);
  SetCounts(status, 16, 0);
  progress.Update(status, 2, start);
  EXPECT_EQ(progress.Line(),
            "run 3 shapes  active  round 2/6  sample  2 workers; round 2 sampling 0/400 (16 drawn); "
            "round 1 scores: clip 1.6000, heldout 0.7000; best round 1");
  SetCounts(status, 116, 100);
  progress.Update(status, 2, start + absl::Seconds(10));
  EXPECT_THAT(progress.Line(), HasSubstr("round 2 sampling 100/400 10.0/s eta 0:30 (116 drawn)"));
  const std::vector<std::string> screen = progress.Screen({true, false, 80});
  ASSERT_EQ(screen.size(), 3);
  EXPECT_EQ(screen[1],
            "round 2 sampling     [####--------------] 100/400 samples  10.0/s  eta 0:30  116 drawn");
}

TEST(RunProgress, SignatureChangesWithTenthsAndPhases) {
  RunProgress progress;
  v1::RunStatus status = SampleStatus();
  SetCounts(status, 0, 0);
  progress.Update(status, 2, absl::FromUnixSeconds(0));
  const std::string first = progress.signature();
  SetCounts(status, 60, 39);
  progress.Update(status, 2, absl::FromUnixSeconds(1));
  EXPECT_EQ(progress.signature(), first);
  SetCounts(status, 60, 40);
  progress.Update(status, 2, absl::FromUnixSeconds(2));
  EXPECT_NE(progress.signature(), first);
}

TEST(RunProgress, ShowsTrainingAndForgetsFallingCounts) {
  RunProgress progress;
  v1::RunStatus status = SampleStatus();
  status.mutable_training()->set_round(2);
  status.mutable_training()->set_steps(40);
  status.mutable_training()->set_step(30);
  status.mutable_training()->set_loss(0.25);
  status.mutable_training()->set_members(2);
  progress.Update(status, 2, absl::FromUnixSeconds(0));
  status.mutable_training()->set_step(10);
  progress.Update(status, 2, absl::FromUnixSeconds(20));
  EXPECT_THAT(progress.Line(), HasSubstr("round 2 training 10/40 (loss 0.2500, 2 workers)"));
}

TEST(BitmapFont, DrawsLettersWithinThePicture) {
  Image image = MakeImage(8, 6);
  DrawText("Li", {0, 0, 1, {255, 255, 255}}, image);
  std::string drawn;
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 8; ++x) drawn += image.row(y)[3 * x] != 0 ? '#' : '.';
    drawn += '\n';
  }
  EXPECT_EQ(drawn, "#...###.\n#....#..\n#....#..\n#....#..\n###.###.\n........\n");
  DrawText("日 far too long", {-2, 4, 3, {1, 2, 3}}, image);  // must stay inside
}

TEST(ReportHtml, EscapesText) {
  EXPECT_EQ(HtmlEscaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
}

}  // namespace
}  // namespace rsidiff::coordinator
