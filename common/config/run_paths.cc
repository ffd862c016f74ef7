#include "common/config/run_paths.h"

#include <glob.h>

#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/config/validate.h"
#include "common/scorer/scorer_family.h"

namespace rsidiff {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kLfsPointer = "version https://git-lfs";

std::string Resolved(const fs::path& folder, const std::string& path) {
  if (path.empty()) return path;
  std::string resolved = (folder / path).lexically_normal().string();
  // "base/" and "base" are the same folder, and one spelling makes one name.
  while (resolved.size() > 1 && resolved.back() == '/') resolved.pop_back();
  return resolved;
}

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Why `path`, a `kind` (file, folder), cannot be used although the run file names it.
std::string Absence(absl::string_view kind, const fs::path& path) {
  std::error_code error;
  if (fs::exists(path, error) || !error) return absl::StrCat("no such ", kind, ": ", path.string());
  return absl::StrCat("cannot read ", kind, " ", path.string(), ": ", error.message());
}

// What shows at a glance that a file of weights has none; empty where nothing does.
std::string WeightsFault(const fs::path& file) {
  if (file.extension() != ".safetensors" || !IsFile(file)) return "";
  std::ifstream stream(file, std::ios::binary);
  std::string begin(kLfsPointer.size(), '\0');
  stream.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  if (stream.gcount() == 0) return "is empty";
  if (begin != kLfsPointer) return "";
  return "is a Git LFS pointer and not the weights; `git lfs pull` fetches them";
}

// Weights in several files, told by their index.
bool IsSharded(const fs::path& weights) {
  return weights.extension() == ".safetensors" && IsFile(weights.string() + ".index.json");
}

// The same weights as a pickle, in the names of diffusers and transformers.
bool IsPickled(const fs::path& weights) {
  if (weights.extension() != ".safetensors") return false;
  return IsFile(fs::path(weights).replace_extension(".bin")) ||
         IsFile(weights.parent_path() / "pytorch_model.bin");
}

// What a CLIP tokenizer's folder has to have: as common/text/clip_vocabulary.h reads it.
std::vector<std::string> TokenizerFiles(const fs::path& folder) {
  if (IsFile(folder / "tokenizer.json") && !IsFile(folder / "vocab.json")) return {"tokenizer.json"};
  return {"vocab.json", "merges.txt"};
}

using Paths = google::protobuf::RepeatedPtrField<std::string>;

void ResolvePrompts(const fs::path& folder, const std::string& field, ReadSpec& read, Paths& paths) {
  Paths resolved;
  std::vector<Position> places;
  for (int i = 0; i < paths.size(); ++i) {
    const Position place = PositionOf(read.positions, absl::StrCat(field, "[", i, "]"));
    const std::string path = Resolved(folder, paths[i]);
    std::vector<std::string> files = MatchingFiles(path);
    if (files.empty()) read.errors.push_back({place, absl::StrCat(field, ": no file matches ", path)});
    for (std::string& file : files) {
      *resolved.Add() = std::move(file);
      places.push_back(place);
    }
  }
  paths = resolved;
  for (size_t i = 0; i < places.size(); ++i) read.positions[absl::StrCat(field, "[", i, "]")] = places[i];
}

class PathChecker {
 public:
  PathChecker(const v1::RunSpec& spec, const Positions& positions) : spec_(spec), positions_(positions) {}

  std::vector<Diagnostic> Run() && {
    CheckPipeline(spec_.model().path());
    for (int i = 0; i < spec_.scorers_size(); ++i)
      CheckScorer(spec_.scorers(i), absl::StrCat("scorers[", i, "]"));
    CheckPrompts("prompts.train", spec_.prompts().train());
    CheckPrompts("prompts.evaluation", spec_.prompts().evaluation());
    const std::string& rubric = spec_.prompts().filter().judge().rubric();
    if (!rubric.empty() && !IsFile(rubric)) {
      Error("prompts.filter.judge.rubric",
            absl::StrCat("prompts.filter.judge.rubric: ", Absence("file", rubric)));
    }
    return std::move(errors_);
  }

 private:
  void Error(absl::string_view path, std::string message) {
    errors_.push_back({PositionOf(positions_, path), std::move(message)});
  }

  void CheckPipeline(const std::string& folder) {
    std::vector<std::string> files = {"model_index.json",
                                      "unet/config.json",
                                      "unet/diffusion_pytorch_model.safetensors",
                                      "vae/config.json",
                                      "vae/diffusion_pytorch_model.safetensors",
                                      "text_encoder/config.json",
                                      "text_encoder/model.safetensors"};
    for (const std::string& file : TokenizerFiles(fs::path(folder) / "tokenizer"))
      files.push_back(absl::StrCat("tokenizer/", file));
    files.push_back("scheduler/scheduler_config.json");
    CheckFolder("model.path", folder, "diffusers pipeline", files);
  }

  void CheckScorer(const v1::ScorerSpec& scorer, const std::string& path) {
    std::vector<std::string> clip_files = {"config.json", "model.safetensors"};
    if (!FixesPreprocessing(scorer.type())) clip_files.push_back("preprocessor_config.json");
    switch (FamilyOf(scorer.type())) {
      case ScorerFamily::kClip:
        CheckFolder(path + ".path", scorer.path(), "CLIP model", clip_files);
        CheckFolder(path + ".tokenizer", scorer.tokenizer(), "tokenizer", TokenizerFiles(scorer.tokenizer()));
        break;
      case ScorerFamily::kAesthetic:
        CheckFolder(path + ".path", scorer.path(), "aesthetic head", {"model.safetensors"});
        CheckFolder(path + ".clip", scorer.clip(), "CLIP model", clip_files);
        break;
      case ScorerFamily::kBlipReward:
        CheckFolder(path + ".path", scorer.path(), "ImageReward model", {"config.json", "model.safetensors"});
        CheckFolder(path + ".tokenizer", scorer.tokenizer(), "BERT tokenizer", {"vocab.txt"});
        break;
      case ScorerFamily::kUnknown:
        break;
    }
  }

  void CheckFolder(absl::string_view path, const std::string& folder, absl::string_view kind,
                   const std::vector<std::string>& files) {
    if (folder.empty()) return;  // reported as missing
    if (!IsFolder(folder)) return Error(path, absl::StrCat(path, ": ", Absence("folder", folder)));
    std::vector<std::string> missing;
    bool pickled = false;
    for (const std::string& file : files) {
      const fs::path path_of_file = fs::path(folder) / file;
      if (const std::string fault = WeightsFault(path_of_file); !fault.empty()) {
        Error(path, absl::StrCat(path, ": ", path_of_file.string(), " ", fault));
      }
      if (IsFile(path_of_file) || IsSharded(path_of_file)) continue;
      missing.push_back(file);
      pickled |= IsPickled(path_of_file);
    }
    if (missing.empty()) return;
    Error(path, absl::StrCat(path, ": no ", kind, " folder, it lacks ", absl::StrJoin(missing, ", "),
                             pickled ? " (pickled .bin weights are never read; save as safetensors)" : "",
                             ": ", folder));
  }

  void CheckPrompts(const std::string& field, const Paths& paths) {
    for (int i = 0; i < paths.size(); ++i) {
      const std::string path = absl::StrCat(field, "[", i, "]");
      const std::string ending = fs::path(paths[i]).extension().string();
      if (ending != ".txt" && ending != ".tsv" && ending != ".csv" && ending != ".json") {
        Error(path, absl::StrCat(field, ": a prompt file ends in .txt, .tsv, .csv or .json: ", paths[i]));
      } else if (!IsFile(paths[i])) {
        Error(path, absl::StrCat(field, ": ", Absence("file", paths[i])));
      }
    }
  }

  const v1::RunSpec& spec_;
  const Positions& positions_;
  std::vector<Diagnostic> errors_;
};

}  // namespace

std::vector<std::string> MatchingFiles(const std::string& path) {
  if (path.find_first_of("*?[") == std::string::npos || IsFile(path)) return {path};
  glob_t found;
  std::vector<std::string> matches;
  if (glob(path.c_str(), 0, nullptr, &found) == 0) {
    matches.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  globfree(&found);
  return matches;
}

void ResolvePaths(const fs::path& folder, ReadSpec& read) {
  v1::RunSpec& spec = read.spec;
  if (!spec.model().path().empty()) spec.mutable_model()->set_path(Resolved(folder, spec.model().path()));
  for (v1::ScorerSpec& scorer : *spec.mutable_scorers()) {
    scorer.set_path(Resolved(folder, scorer.path()));
    scorer.set_tokenizer(Resolved(folder, scorer.tokenizer()));
    scorer.set_clip(Resolved(folder, scorer.clip()));
  }
  if (!spec.has_prompts()) return;
  if (spec.prompts().filter().has_judge()) {
    v1::PromptJudgeSpec& judge = *spec.mutable_prompts()->mutable_filter()->mutable_judge();
    judge.set_rubric(Resolved(folder, judge.rubric()));
  }
  ResolvePrompts(folder, "prompts.train", read, *spec.mutable_prompts()->mutable_train());
  ResolvePrompts(folder, "prompts.evaluation", read, *spec.mutable_prompts()->mutable_evaluation());
}

std::vector<Diagnostic> CheckPaths(const v1::RunSpec& spec, const Positions& positions) {
  return PathChecker(spec, positions).Run();
}

}  // namespace rsidiff
