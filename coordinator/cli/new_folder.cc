#include "coordinator/cli/new_folder.h"

#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff::coordinator {

namespace fs = std::filesystem;

absl::StatusOr<NewFolder> NewFolder::Create(const fs::path& destination) {
  std::error_code error;
  fs::path place = fs::absolute(destination, error).lexically_normal();
  if (error) {
    return ErrnoStatus(error.value(),
                       absl::StrCat("cannot tell the current folder, for ", destination.string()));
  }
  if (!place.has_filename()) place = place.parent_path();  // "out/"
  const fs::file_status status = fs::status(place, error);
  if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(place, error))) {
    return absl::AlreadyExistsError(absl::StrCat("there is something already: ", place.string()));
  }
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(place.parent_path()));
  fs::path temporary = place;
  temporary += absl::StrCat(".partial-", RandomId());
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(temporary));
  return NewFolder(std::move(temporary), std::move(place));
}

NewFolder::NewFolder(fs::path temporary, fs::path destination)
    : temporary_(std::move(temporary)), destination_(std::move(destination)) {}

NewFolder::NewFolder(NewFolder&& other) noexcept
    : temporary_(std::exchange(other.temporary_, {})), destination_(std::move(other.destination_)) {}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

absl::Status NewFolder::Commit() {
  // Renaming over an empty folder is allowed, over one with files in it not.
  std::error_code error;
  fs::rename(temporary_, destination_, error);
  if (error) {
    return ErrnoStatus(error.value(),
                       absl::StrCat("cannot rename ", temporary_.string(), " to ", destination_.string()));
  }
  temporary_.clear();
  return absl::OkStatus();
}

}  // namespace rsidiff::coordinator
