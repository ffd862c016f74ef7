#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_follow.h"
#include "coordinator/cli/run_progress.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kPollInterval = absl::Seconds(1);
constexpr absl::Duration kLongestRetryInterval = absl::Seconds(10);

class Follower {
 public:
  Follower(uint64_t run_id, CommandContext& context)
      : run_id_(run_id),
        context_(context),
        client_(context.coordinator, absl::ZeroDuration()),
        region_(context.err(), context.environment.err_terminal) {}

  absl::StatusOr<ExitCode> Run() {
    context_.environment.catch_interrupt();
    absl::Duration interval = kPollInterval;
    while (true) {
      const absl::StatusOr<v1::RunStatus> status = client_.GetRun(run_id_);
      if (status.ok()) {
        interval = kPollInterval;
        Show(*status);
        if (HasEnded(status->run().state())) return Finish(*status);
      } else if (MayPass(status.status())) {
        ShowTrouble(status.status());
        interval = std::min(2 * interval, kLongestRetryInterval);
      } else {
        return status.status();
      }
      if (!Wait(interval)) return Interrupted();
    }
  }

 private:
  // RESOURCE_EXHAUSTED: the coordinator has more calls than it takes.
  static bool MayPass(const absl::Status& status) {
    return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
           absl::IsResourceExhausted(status);
  }

  void Show(const v1::RunStatus& status) {
    if (unreachable_ && !context_.environment.err_terminal.interactive)
      context_.Note("coordinator reachable again");
    unreachable_ = false;
    progress_.Update(status, CountWorkers(), context_.environment.now());
    if (context_.environment.err_terminal.interactive) {
      region_.Draw(progress_.Screen(context_.environment.err_terminal));
    } else if (progress_.signature() != shown_) {
      context_.Note(progress_.Line());
      shown_ = progress_.signature();
    }
  }

  void ShowTrouble(const absl::Status& status) {
    const std::string text =
        absl::IsResourceExhausted(status)
            ? absl::StrCat("coordinator at ", client_.address(), " is overloaded, retrying")
            : absl::StrCat("coordinator not reachable at ", client_.address(), ", retrying");
    if (context_.environment.err_terminal.interactive) {
      region_.Draw({Styled(text, Style::kYellow, context_.environment.err_terminal)});
    } else if (!unreachable_) {
      context_.Note(text);
    }
    unreachable_ = true;
  }

  int CountWorkers() {
    const absl::StatusOr<v1::ListWorkersResponse> list = client_.ListWorkers();
    if (!list.ok()) return 0;
    return static_cast<int>(
        std::count_if(list->workers().begin(), list->workers().end(), [](const auto& worker) {
          return worker.state() == v1::WORKER_STATE_ACTIVE || worker.state() == v1::WORKER_STATE_DRAINING;
        }));
  }

  // False when Ctrl-C came.
  bool Wait(absl::Duration duration) {
    constexpr absl::Duration kStep = absl::Milliseconds(100);
    for (absl::Duration waited; waited < duration; waited += kStep) {
      if (context_.environment.interrupted) return false;
      context_.environment.sleep(kStep);
    }
    return !context_.environment.interrupted;
  }

  ExitCode Interrupted() {
    context_.Note(
        absl::StrCat("run ", run_id_, " goes on; watch it again with: rsidiff run watch ", run_id_));
    return ExitCode::kOk;
  }

  ExitCode Finish(const v1::RunStatus& status) {
    region_.Clear();
    if (context_.json) {
      context_.PrintJson(status);
    } else {
      context_.out() << RoundTable(status).Render(context_.environment.out_terminal)
                     << RoundTableLegend(status);
    }
    context_.Note(absl::StrCat("run ", run_id_, " ", StateName(status.run().state())));
    return status.run().state() == v1::RUN_STATE_SUCCEEDED ? ExitCode::kOk : ExitCode::kRunEnded;
  }

  const uint64_t run_id_;
  CommandContext& context_;
  ControlClient client_;  // without patience: the loop does the waiting
  LiveRegion region_;
  RunProgress progress_;
  std::string shown_;
  bool unreachable_ = false;
};

}  // namespace

absl::StatusOr<ExitCode> FollowRun(uint64_t run_id, CommandContext& context) {
  return Follower(run_id, context).Run();
}

void AddRunWatch(CLI::App& parent, CommandSet& commands) {
  auto run = std::make_shared<std::string>();
  CLI::App* app = parent.add_subcommand("watch", "Follow a run until it ends");
  app->add_option("RUN", *run, "Id or name of the run")->required();
  app->footer(
      "\nCtrl-C ends the watching, not the run. The exit code is 3 when the run failed or was cancelled."
      "\n\nExamples:\n  rsidiff run watch shapes\n  rsidiff run watch 3 2> progress.log");
  commands.Bind(app, [run](CommandContext& context) -> absl::StatusOr<ExitCode> {
    RSIDIFF_ASSIGN_OR_RETURN(const v1::RunStatus status, context.client().FindRun(*run));
    return FollowRun(status.run().id(), context);
  });
}

}  // namespace rsidiff::coordinator
