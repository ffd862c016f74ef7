#include "worker/agent/lease_table.h"

#include <gtest/gtest.h>

namespace rsidiff::worker {
namespace {

v1::Grant Grant(uint64_t token) {
  v1::Grant grant;
  grant.set_token(token);
  grant.mutable_task()->set_kind(v1::TASK_KIND_TRAIN);
  return grant;
}

v1::HeartbeatRequest HeartbeatOf(const LeaseTable& table) {
  v1::HeartbeatRequest request;
  for (const v1::HeldLease& held : table.Held()) *request.add_held() = held;
  return request;
}

TEST(LeaseTableTest, HeldShowsTheProgress) {
  LeaseTable table;
  auto lease = table.Add(Grant(7));
  lease->SetProgress(1.5);
  lease->SetStep(3, 12, 0.25);
  ASSERT_EQ(table.Held().size(), 1u);
  v1::HeldLease held = table.Held()[0];
  EXPECT_EQ(held.token(), 7u);
  EXPECT_EQ(held.task().kind(), v1::TASK_KIND_TRAIN);
  EXPECT_EQ(held.progress(), 1.0);
  EXPECT_EQ(held.generation(), 3u);
  EXPECT_EQ(held.step(), 12u);
  EXPECT_EQ(held.loss(), 0.25);
}

TEST(LeaseTableTest, TheSameTokenIsTheSameLease) {
  LeaseTable table;
  EXPECT_EQ(table.Add(Grant(7)), table.Add(Grant(7)));
  EXPECT_EQ(table.Held().size(), 1u);
}

TEST(LeaseTableTest, ApplyDropsAndForgets) {
  LeaseTable table;
  auto kept = table.Add(Grant(1));
  auto lost = table.Add(Grant(2));
  v1::HeartbeatResponse answer;
  answer.add_dropped_tokens(2);
  answer.add_dropped_tokens(99);
  table.Apply(HeartbeatOf(table), answer);
  EXPECT_FALSE(kept->dropped());
  EXPECT_TRUE(lost->dropped());
  EXPECT_EQ(table.Held().size(), 1u);
}

TEST(LeaseTableTest, RegroupIsLevelTriggered) {
  LeaseTable table;
  auto lease = table.Add(Grant(1));
  lease->EnterGeneration(4);
  v1::HeartbeatResponse answer;
  answer.add_regroup_tokens(1);
  table.Apply(HeartbeatOf(table), answer);
  EXPECT_TRUE(lease->regroup_requested());
  table.Apply(HeartbeatOf(table), v1::HeartbeatResponse());
  EXPECT_FALSE(lease->regroup_requested());
}

TEST(LeaseTableTest, AnAnswerAboutAnEarlierGenerationDoesNotRegroupTheNewOne) {
  LeaseTable table;
  auto lease = table.Add(Grant(1));
  lease->EnterGeneration(4);
  v1::HeartbeatRequest sent = HeartbeatOf(table);
  v1::HeartbeatResponse answer;
  answer.add_regroup_tokens(1);
  lease->EnterGeneration(5);
  table.Apply(sent, answer);
  EXPECT_FALSE(lease->regroup_requested());
}

}  // namespace
}  // namespace rsidiff::worker
