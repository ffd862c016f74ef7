#include "common/base/cache_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>

namespace rsidiff {
namespace {

// Sets variables, and puts the ones before back at the end.
class CacheFolderTest : public ::testing::Test {
 protected:
  ~CacheFolderTest() override {
    for (const auto& [name, value] : before_) Put(name, value);
  }

  void Set(const std::string& name, std::optional<std::string> value) {
    const char* now = std::getenv(name.c_str());
    before_.emplace(name, now == nullptr ? std::nullopt : std::optional<std::string>(now));
    Put(name, value);
  }

 private:
  static void Put(const std::string& name, const std::optional<std::string>& value) {
    value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }

  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(CacheFolderTest, IsTheUsers) {
  Set("XDG_CACHE_HOME", "/caches");
  Set("HOME", "/home/u");
  EXPECT_EQ(CacheFolder(), "/caches/rsidiff");
  Set("XDG_CACHE_HOME", "");
  EXPECT_EQ(CacheFolder(), "/home/u/.cache/rsidiff");
}

TEST_F(CacheFolderTest, WithoutAHomeItIsAmongTheTemporaryFiles) {
  Set("XDG_CACHE_HOME", std::nullopt);
  Set("HOME", std::nullopt);
  Set("TMPDIR", ::testing::TempDir());
  EXPECT_EQ(CacheFolder(), std::filesystem::path(::testing::TempDir()) / "rsidiff-cache");
  Set("TMPDIR", "/nowhere/at/all");
  EXPECT_EQ(CacheFolder(), "/tmp/rsidiff-cache");
}

}  // namespace
}  // namespace rsidiff
