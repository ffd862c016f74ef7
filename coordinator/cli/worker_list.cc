#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/enum_label.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

std::string TaskKindText(int kind) {
  return EnumLabel(v1::TaskKind_Name(static_cast<v1::TaskKind>(kind)), "TASK_KIND_");
}

std::string HeldText(const v1::WorkerRecord& worker) {
  if (worker.held().empty()) return "-";
  const v1::TaskKey& task = worker.held(0);
  const std::string more = worker.held_size() > 1 ? absl::StrCat(" +", worker.held_size() - 1) : "";
  return absl::StrCat(TaskKindText(task.kind()), " run ", task.run_id(), " round ", task.round(), more);
}

std::string SeenText(const v1::WorkerRecord& worker, absl::Time now) {
  if (worker.seen_us() == 0) return "-";
  return absl::StrCat(
      DurationText(std::max(absl::ZeroDuration(), now - absl::FromUnixMicros(worker.seen_us()))), " ago");
}

// "all", "score, train", with labels "all; a100, nvlink".
std::string OfferText(const v1::Capabilities& has) {
  std::vector<std::string> kinds;
  for (const int kind : has.tasks()) kinds.push_back(TaskKindText(kind));
  std::string text = kinds.empty() ? "all" : absl::StrJoin(kinds, ", ");
  if (!has.labels().empty()) absl::StrAppend(&text, "; ", absl::StrJoin(has.labels(), ", "));
  return text;
}

absl::StatusOr<ExitCode> ListWorkers(CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const v1::ListWorkersResponse list, context.client().ListWorkers());
  if (context.json) {
    context.PrintJson(list);
    return ExitCode::kOk;
  }
  if (list.workers().empty()) {
    context.Note("no workers");
    return ExitCode::kOk;
  }
  Table table({{"name"},
               {"state"},
               {"device"},
               {"memory", Align::kRight},
               {"working on"},
               {"seen"},
               {"version"},
               {"takes"}});
  for (const v1::WorkerRecord& worker : list.workers()) {
    const v1::Capabilities& has = worker.capabilities();
    const std::string device =
        has.device_name().empty() ? has.device() : absl::StrCat(has.device(), " ", has.device_name());
    table.AddRow(
        {worker.name(), WorkerStateName(worker.state()), device,
         has.device_memory_bytes() == 0 ? "-" : BytesText(static_cast<double>(has.device_memory_bytes())),
         HeldText(worker), SeenText(worker, context.environment.now()), has.version(), OfferText(has)},
        worker.state() == v1::WORKER_STATE_LOST ? Style::kRed : Style::kPlain);
  }
  context.out() << table.Render(context.environment.out_terminal);
  return ExitCode::kOk;
}

}  // namespace

void AddWorkerList(CLI::App& parent, CommandSet& commands) {
  CLI::App* app = parent.add_subcommand("list", "List the workers and what they work on");
  app->footer("\nExamples:\n  rsidiff worker list");
  commands.Bind(app, ListWorkers);
}

}  // namespace rsidiff::coordinator
