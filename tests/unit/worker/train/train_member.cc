// One member of an elastic training, driven through files by fleet.py:
//   train_member FOLDER NAME STEPS [gate S | leave S | timeout SECONDS | checkpoint EVERY] ...
// The member writes join.NAME.K ("port step has_state pid"), waits for generation.G that names it
// ("G port name name ..."), trains, appends "generation step loss" to steps.NAME, and ends with result.NAME
// ("end step fingerprint") beside NAME.safetensors. It waits at gate S until go.S exists, asks to regroup
// when regroup.G exists, and leaves for good at the first regroup from step S on when told so. Rank 0 writes
// checkpoint.STEP.safetensors. Where it dies or stops is RSIDIFF_FAULT's to say (common/base/fault_point.h).
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "tests/unit/worker/train/toy_denoiser.h"
#include "worker/tensor/device.h"
#include "worker/train/checkpoint.h"
#include "worker/train/checkpoint_writer.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  fs::path folder;
  std::string name;
  uint64_t steps = 0;
  std::multimap<std::string, uint64_t> acts;

  bool Has(const std::string& act, uint64_t step) const {
    const auto [begin, end] = acts.equal_range(act);
    for (auto it = begin; it != end; ++it) {
      if (it->second == step) return true;
    }
    return false;
  }
};

void Pause() {
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

// The first generation after `last` that names this member.
Membership AwaitGeneration(const Arguments& arguments, uint64_t last) {
  for (;; Pause()) {
    const fs::path path = arguments.folder / absl::StrCat("generation.", last + 1);
    if (!fs::exists(path)) continue;
    std::ifstream in(path);
    Membership membership;
    in >> membership.generation >> membership.group.store_port;
    std::vector<std::string> names;
    for (std::string name; in >> name;) names.push_back(name);
    ++last;
    for (size_t rank = 0; rank < names.size(); ++rank) {
      if (names[rank] != arguments.name) continue;
      membership.group.rank = static_cast<int>(rank);
      membership.group.world = static_cast<int>(names.size());
      membership.group.store_host = "127.0.0.1";
      membership.group.prefix = absl::StrCat("toy/", membership.generation);
      membership.group.timeout =
          absl::Seconds(arguments.acts.count("timeout") ? arguments.acts.find("timeout")->second : 60);
      return membership;
    }
  }
}

TrainerCallbacks Callbacks(const Arguments& arguments, const Membership& membership) {
  TrainerCallbacks callbacks;
  callbacks.on_step = [arguments](const StepReport& report) {
    std::ofstream(arguments.folder / absl::StrCat("steps.", arguments.name), std::ios::app)
        << report.generation << " " << report.step << " " << absl::StrFormat("%.17g", report.loss)
        << std::endl;
    if (arguments.Has("gate", report.step)) {
      while (!fs::exists(arguments.folder / absl::StrCat("go.", report.step))) Pause();
    }
  };
  callbacks.should_regroup = [arguments, generation = membership.generation] {
    return fs::exists(arguments.folder / absl::StrCat("regroup.", generation));
  };
  return callbacks;
}

int Main(const Arguments& arguments) {
  ConfigureProcess(1);
  TrainerOptions options = ToyOptions(arguments.steps);
  const auto every = arguments.acts.find("checkpoint");
  if (every != arguments.acts.end()) options.checkpoint_every = every->second;
  absl::StatusOr<std::unique_ptr<Trainer>> trainer = ToyTrainer(options);
  absl::StatusOr<std::unique_ptr<StoreServer>> store = StoreServer::Start();
  if (!trainer.ok() || !store.ok()) return 1;
  CheckpointWriter writer(
      [&](const TrainingState& state) {
        return WriteTrainingState(arguments.folder / absl::StrCat("checkpoint.", state.step, ".safetensors"),
                                  state);
      },
      [](uint64_t, const absl::Status& status) {
        if (!status.ok()) std::cerr << status << std::endl;
      });
  uint64_t generation = 0;
  std::string end = "left";
  for (int joins = 1;; ++joins) {
    (void)WriteFileAtomically(
        arguments.folder / absl::StrCat("join.", arguments.name, ".", joins),
        absl::StrCat((*store)->port(), " ", (*trainer)->step(), " ", (*trainer)->has_state(), " ", getpid()));
    const Membership membership = AwaitGeneration(arguments, generation);
    generation = membership.generation;
    TrainerCallbacks callbacks = Callbacks(arguments, membership);
    callbacks.on_checkpoint = [&](uint64_t) {
      (void)writer.Start((*trainer)->state());  // one that is left out is left out
      return absl::OkStatus();
    };
    const absl::StatusOr<RunOutcome> outcome = (*trainer)->Run(membership, callbacks);
    if (!outcome.ok()) {
      std::cerr << outcome.status() << std::endl;
      return 1;
    }
    if (outcome->end == RunEnd::kFinished) end = "finished";
    if (outcome->end == RunEnd::kFinished) break;
    const auto leave = arguments.acts.find("leave");
    if (outcome->end == RunEnd::kRegroup && leave != arguments.acts.end() && outcome->step >= leave->second)
      break;
  }
  (void)(*trainer)->WriteCheckpoint(arguments.folder / absl::StrCat(arguments.name, ".safetensors"));
  (void)WriteFileAtomically(
      arguments.folder / absl::StrCat("result.", arguments.name),
      absl::StrCat(end, " ", (*trainer)->step(), " ", absl::Hex((*trainer)->state().Fingerprint())));
  return 0;
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // as rsidiff-worker does
  rsidiff::worker::Arguments arguments;
  if (argc < 4) return 2;
  arguments.folder = argv[1];
  arguments.name = argv[2];
  arguments.steps = std::stoull(argv[3]);
  for (int i = 4; i + 1 < argc; i += 2) arguments.acts.emplace(argv[i], std::stoull(argv[i + 1]));
  return rsidiff::worker::Main(arguments);
}
