#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// Lower-case hexadecimal SHA-256 of `bytes`: 64 characters, the name of an artifact.
std::string Sha256Hex(absl::string_view bytes);

/// SHA-256 over pieces. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(absl::string_view bytes);
  /// Digest of everything so far. Call once, last.
  std::string FinishHex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// True for 64 lower-case hexadecimal characters. Anything else must not become a file name.
bool IsDigest(absl::string_view text);

/// A fresh random 128-bit hexadecimal string, for request ids.
std::string RandomId();

}  // namespace rsidiff
