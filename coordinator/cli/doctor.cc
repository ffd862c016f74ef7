#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/run_text.h"

namespace rsidiff::coordinator {
namespace {

enum class Verdict { kOk, kWarning, kFailure };

struct Finding {
  Verdict verdict;
  std::string subject;
  std::string text;
};

constexpr double kLittleDiskBytes = 5.0 * (1u << 30);
constexpr absl::Duration kLargestSkew = absl::Seconds(5);

std::string VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warn";
    case Verdict::kFailure:
      return "fail";
  }
  return "";
}

class Doctor {
 public:
  explicit Doctor(CommandContext& context) : context_(context) {}

  std::vector<Finding> Examine() && {
    Add(Verdict::kOk, "command line",
        absl::StrCat("version ", RSIDIFF_VERSION, ", protocol ", kProtocolVersion));
    if (CheckCoordinator()) {
      CheckStore();
      CheckWorkers();
    }
    CheckCurrentFolder();
    return std::move(findings_);
  }

 private:
  void Add(Verdict verdict, std::string subject, std::string text) {
    findings_.push_back({verdict, std::move(subject), std::move(text)});
  }

  bool CheckCoordinator() {
    const absl::Time before = context_.environment.now();
    const absl::StatusOr<v1::GetInfoResponse> info = context_.client().GetInfo();
    if (!info.ok()) {
      Add(Verdict::kFailure, "coordinator", std::string(info.status().message()));
      return false;
    }
    const absl::Time middle = before + (context_.environment.now() - before) / 2;
    Add(Verdict::kOk, "coordinator",
        absl::StrCat("reachable at ", context_.client().address(), ", cluster ", info->cluster_id(),
                     ", version ", info->version(), ", HTTP ",
                     info->http_address().empty() ? "off" : info->http_address()));
    if (info->protocol_version() != kProtocolVersion) {
      Add(Verdict::kFailure, "protocol",
          absl::StrCat("the coordinator speaks ", info->protocol_version(), ", this command line ",
                       kProtocolVersion));
    }
    if (info->version() != RSIDIFF_VERSION) {
      Add(Verdict::kWarning, "version",
          absl::StrCat("the coordinator is ", info->version(), ", this command line ", RSIDIFF_VERSION));
    }
    const absl::Duration skew = absl::FromUnixMicros(info->now_us()) - middle;
    Add(absl::AbsDuration(skew) <= kLargestSkew ? Verdict::kOk : Verdict::kWarning, "clock",
        absl::StrCat("the coordinator's differs by ", NumberText(absl::ToDoubleSeconds(skew), 2), " s"));
    return true;
  }

  void CheckStore() {
    const absl::StatusOr<v1::LocateStoreResponse> place = context_.client().LocateArtifacts();
    if (!place.ok()) {
      Add(Verdict::kFailure, "artifacts", std::string(place.status().message()));
      return;
    }
    const std::filesystem::path folder = place->path();
    const absl::StatusOr<std::string> probe = ReadFile(folder / place->probe_file());
    if (probe.ok() && *probe == place->probe_content()) {
      Add(Verdict::kOk, "artifacts", absl::StrCat("shared folder ", place->path()));
      CheckDisk("artifacts", folder);
    } else {
      Add(Verdict::kOk, "artifacts", "streamed through the coordinator (its folder is not seen from here)");
    }
  }

  void CheckCurrentFolder() {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::current_path(error);
    if (error) {
      Add(Verdict::kWarning, "current folder", absl::StrCat("is gone: ", error.message()));
    } else {
      CheckDisk("current folder", folder);
    }
  }

  void CheckDisk(const std::string& subject, const std::filesystem::path& folder) {
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    if (error) {
      Add(Verdict::kWarning, subject, absl::StrCat("cannot tell the free space of ", folder.string()));
      return;
    }
    const double free = static_cast<double>(space.available);
    Add(free < kLittleDiskBytes ? Verdict::kWarning : Verdict::kOk, subject,
        absl::StrCat(BytesText(free), " free in ", folder.string()));
  }

  void CheckWorkers() {
    const absl::StatusOr<v1::ListWorkersResponse> list = context_.client().ListWorkers();
    if (!list.ok()) {
      Add(Verdict::kFailure, "workers", std::string(list.status().message()));
      return;
    }
    std::map<std::string, std::vector<std::string>> by_environment;
    for (const v1::WorkerRecord& worker : list->workers()) {
      const v1::Capabilities& has = worker.capabilities();
      if (worker.state() == v1::WORKER_STATE_DRAINED) continue;
      const bool lost = worker.state() == v1::WORKER_STATE_LOST;
      const bool other_version = has.version() != RSIDIFF_VERSION;
      Add(lost || other_version ? Verdict::kWarning : Verdict::kOk, absl::StrCat("worker ", worker.name()),
          absl::StrCat(WorkerStateName(worker.state()), ", ", has.device(), " ", has.device_name(),
                       ", version ", has.version()));
      if (!lost) by_environment[has.environment()].push_back(worker.name());
    }
    if (by_environment.empty()) Add(Verdict::kWarning, "workers", "none is there; runs will wait");
    if (by_environment.size() > 1) {
      std::vector<std::string> groups;
      for (const auto& [environment, names] : by_environment) {
        groups.push_back(absl::StrCat(absl::StrJoin(names, ", "), ": ", environment));
      }
      Add(Verdict::kWarning, "workers",
          absl::StrCat("different processors or libraries, so samples may differ in their last bits: ",
                       absl::StrJoin(groups, "; ")));
    }
  }

  CommandContext& context_;
  std::vector<Finding> findings_;
};

void PrintFindings(const std::vector<Finding>& findings, CommandContext& context) {
  const Terminal& terminal = context.environment.out_terminal;
  for (const Finding& finding : findings) {
    const Style style = finding.verdict == Verdict::kOk        ? Style::kGreen
                        : finding.verdict == Verdict::kWarning ? Style::kYellow
                                                               : Style::kRed;
    std::string name = VerdictName(finding.verdict);
    name.resize(4, ' ');
    context.out() << Styled(name, style, terminal) << "  " << finding.subject << ": " << finding.text << "\n";
  }
}

void PrintFindingsJson(const std::vector<Finding>& findings, CommandContext& context) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    list.push_back(
        {{"verdict", VerdictName(finding.verdict)}, {"subject", finding.subject}, {"text", finding.text}});
  }
  context.out() << nlohmann::ordered_json{{"findings", list}}.dump(1) << "\n";
}

absl::StatusOr<ExitCode> RunDoctor(CommandContext& context) {
  const std::vector<Finding> findings = Doctor(context).Examine();
  if (context.json) {
    PrintFindingsJson(findings, context);
  } else {
    PrintFindings(findings, context);
  }
  for (const Finding& finding : findings) {
    if (finding.verdict == Verdict::kFailure) return ExitCode::kFailed;
  }
  return ExitCode::kOk;
}

}  // namespace

void AddDoctor(CLI::App& parent, CommandSet& commands) {
  CLI::App* app =
      parent.add_subcommand("doctor", "Check the coordinator, the artifact store, the disk, the workers");
  app->footer(
      "\nThe exit code is 1 when a check fails; warnings do not count.\n\nExamples:\n"
      "  rsidiff doctor\n  rsidiff doctor --coordinator gpu-head:7070 --json");
  commands.Bind(app, RunDoctor);
}

}  // namespace rsidiff::coordinator
