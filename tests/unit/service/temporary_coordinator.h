#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "common/base/digest.h"
#include "coordinator/service/coordinator.h"

namespace rsidiff::coordinator {

/// A coordinator on free ports with a data folder that goes away with the test.
class TemporaryCoordinator : public testing::Test {
 protected:
  void SetUp() override { Start(); }
  void TearDown() override {
    coordinator_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start() {
    CoordinatorOptions options;
    options.data = folder_ / "data";
    auto started = Coordinator::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
  }

  void Restart() {
    coordinator_.reset();
    Start();
  }

  std::shared_ptr<grpc::Channel> Channel() const {
    return grpc::CreateChannel(coordinator_->grpc_address(), grpc::InsecureChannelCredentials());
  }

  const std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / RandomId();
  std::unique_ptr<Coordinator> coordinator_;
};

}  // namespace rsidiff::coordinator
