#pragma once

#include <filesystem>

#include <c10/core/Device.h>

#include "common/artifact/store.h"
#include "worker/phase/image_cache.h"
#include "worker/phase/model_cache.h"

namespace rsidiff::worker {

/// What the phases of one worker share. One task at a time uses it.
struct PhaseContext {
  ArtifactStore& store;
  c10::Device device;
  ModelCache& models;
  ImageCache& images;
  std::filesystem::path scratch;  // an existing folder for files on their way to the store
  std::string host;               // address that other workers reach this one at, for training
};

}  // namespace rsidiff::worker
