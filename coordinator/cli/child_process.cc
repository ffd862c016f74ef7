#include "coordinator/cli/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace rsidiff::coordinator {
namespace {

// The reading end's contents until the writers have closed theirs.
std::string ReadAll(int fd) {
  std::string text;
  char piece[4096];
  while (true) {
    const ssize_t size = read(fd, piece, sizeof(piece));
    if (size > 0) {
      text.append(piece, static_cast<size_t>(size));
    } else if (size == 0 || errno != EINTR) {
      return text;
    }
  }
}

absl::Status Ended(const std::string& program, int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  // What posix_spawn's child ends with when the program is not there (POSIX).
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return absl::NotFoundError(absl::StrCat("cannot start ", program));
  }
  if (WIFEXITED(status)) {
    return absl::InternalError(absl::StrCat(program, " ended with exit code ", WEXITSTATUS(status)));
  }
  return absl::InternalError(absl::StrCat(program, " was ended by signal ", WTERMSIG(status)));
}

}  // namespace

absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "cannot make a pipe");
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int error = posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return absl::NotFoundError(absl::StrCat("cannot start ", command[0], ": ", std::strerror(error)));
  }
  std::string output = ReadAll(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const absl::Status ended = Ended(command[0], status);
  if (!ended.ok()) return ended;
  return output;
}

}  // namespace rsidiff::coordinator
