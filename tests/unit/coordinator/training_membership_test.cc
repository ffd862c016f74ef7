#include "coordinator/schedule/training_membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rsidiff::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Action = MembershipDecision::Action;

Joiner Of(const std::string& worker, uint64_t token, uint64_t step = 0, bool has_state = false,
          uint64_t joined_generation = 0) {
  Joiner joiner;
  joiner.member.set_worker(worker);
  joiner.member.set_token(token);
  joiner.member.set_step(step);
  joiner.member.set_has_state(has_state);
  joiner.member.set_joined_generation(joined_generation);
  return joiner;
}

MembershipInput First(std::vector<Joiner> joiners) {
  MembershipInput input;
  input.now = absl::UnixEpoch();
  input.first_join = input.now;
  input.join_window = absl::Seconds(2);
  for (const Joiner& joiner : joiners) input.leases.push_back(joiner.member.token());
  input.joiners = std::move(joiners);
  return input;
}

/// A regroup: `joiners` answered, `members` are the generation before.
MembershipInput Regroup(const std::vector<Joiner>& members, std::vector<Joiner> joiners) {
  MembershipInput input = First(std::move(joiners));
  input.current.set_generation(5);
  for (const Joiner& member : members) *input.current.add_members() = member.member;
  return input;
}

std::vector<std::string> Names(const MembershipDecision& decision) {
  std::vector<std::string> names;
  for (const auto& member : decision.members) names.push_back(member.worker());
  return names;
}

TEST(DecideMembershipTest, FirstGenerationWaitsForTheWindowWhileOthersCouldCome) {
  MembershipInput input = First({Of("b", 2), Of("a", 1)});
  input.free_workers = 1;
  EXPECT_EQ(DecideMembership(input).action, Action::kWait);
  input.now += absl::Seconds(2);
  EXPECT_THAT(Names(DecideMembership(input)), ElementsAre("a", "b"));
  input.now = input.first_join;
  input.free_workers = 0;
  EXPECT_EQ(DecideMembership(input).action, Action::kForm) << "nobody else can come";
}

TEST(DecideMembershipTest, FirstGenerationNeedsTrainMin) {
  MembershipInput input = First({Of("a", 1)});
  input.train_min = 2;
  input.now += absl::Minutes(5);
  MembershipDecision decision = DecideMembership(input);
  EXPECT_EQ(decision.action, Action::kWait);
  EXPECT_THAT(decision.reason, HasSubstr("1 of 2"));
  EXPECT_TRUE(decision.lacks_workers);
}

TEST(DecideMembershipTest, TrainMaxIsTakenAtOnceAndNotExceeded) {
  MembershipInput input = First({Of("a", 1), Of("b", 2), Of("c", 3)});
  input.train_max = 2;
  input.free_workers = 3;
  MembershipDecision decision = DecideMembership(input);
  EXPECT_THAT(Names(decision), ElementsAre("a", "b"));
  EXPECT_THAT(decision.released, ElementsAre(3));
}

TEST(DecideMembershipTest, LaterGenerationWaitsForEveryLiveMember) {
  std::vector<Joiner> members = {Of("a", 1), Of("b", 2)};
  MembershipInput input = Regroup(members, {Of("a", 1, 7, true, 5)});
  input.leases = {1, 2};
  input.now += absl::Minutes(1);
  EXPECT_EQ(DecideMembership(input).action, Action::kWait) << "b is alive and has not answered";
  input.leases = {1};
  EXPECT_THAT(Names(DecideMembership(input)), ElementsAre("a"));
}

TEST(DecideMembershipTest, SurvivorsKeepTheirOrderAndNewcomersFollow) {
  std::vector<Joiner> members = {Of("z", 1), Of("m", 2)};
  MembershipInput input = Regroup(members, {Of("a", 9), Of("m", 2, 4, true, 5), Of("z", 1, 4, true, 3)});
  MembershipDecision decision = DecideMembership(input);
  EXPECT_THAT(Names(decision), ElementsAre("z", "m", "a"));
  EXPECT_TRUE(decision.members[0].has_state());
  EXPECT_FALSE(decision.members[2].has_state());
}

TEST(DecideMembershipTest, SourcesAreThoseAtTheGreatestStep) {
  MembershipInput input = Regroup({Of("a", 1), Of("b", 2)}, {Of("a", 1, 6, true, 5), Of("b", 2, 7, true, 5)});
  MembershipDecision decision = DecideMembership(input);
  EXPECT_FALSE(decision.members[0].has_state());
  EXPECT_TRUE(decision.members[1].has_state());
}

TEST(DecideMembershipTest, CheckpointBeyondEveryMemberMakesAllLoadIt) {
  MembershipInput input = Regroup({Of("a", 1)}, {Of("a", 1, 6, true, 5)});
  input.current.set_checkpoint_step(8);
  input.current.set_checkpoint("digest");
  EXPECT_FALSE(DecideMembership(input).members[0].has_state());
}

TEST(DecideMembershipTest, MembersDoNotWaitForANewcomerThatIsStillLoading) {
  MembershipInput input = Regroup({Of("a", 1)}, {Of("a", 1, 6, true, 5), Of("b", 2)});
  input.leases = {1, 2, 3};  // 3 loads its data
  EXPECT_THAT(Names(DecideMembership(input)), ElementsAre("a", "b"));
  input = Regroup({Of("a", 1)}, {Of("b", 2)});
  input.leases = {2, 3};
  EXPECT_EQ(DecideMembership(input).action, Action::kWait) << "nobody trains meanwhile";
}

std::vector<uint64_t> StepsOf(const std::vector<v1::GenerationRecord::Checkpoint>& checkpoints) {
  std::vector<uint64_t> steps;
  for (const auto& checkpoint : checkpoints) steps.push_back(checkpoint.step());
  return steps;
}

TEST(DecideMembershipTest, RefusedCheckpointGivesWayToTheOneBefore) {
  std::vector<v1::GenerationRecord::Checkpoint> checkpoints(3);
  for (int i = 0; i < 3; ++i) {
    checkpoints[i].set_step(30 - 10 * i);
    checkpoints[i].set_digest(std::string(1, 'a' + i));
  }
  MembershipInput input = Regroup({Of("gone", 1)}, {Of("new", 2, 0, true)});
  SetCheckpoints(checkpoints, input.current);
  EXPECT_THAT(StepsOf(DecideMembership(input).checkpoints), ElementsAre(30, 20, 10));
  input.joiners[0].refused_checkpoints = {"a", "b"};
  EXPECT_THAT(StepsOf(DecideMembership(input).checkpoints), ElementsAre(10));
  EXPECT_FALSE(DecideMembership(input).members[0].has_state());
  // Somebody who could read it, or has trained on, holds what it holds.
  input.joiners.push_back(Of("reader", 3, 30, true));
  EXPECT_THAT(StepsOf(DecideMembership(input).checkpoints), ElementsAre(30, 20, 10));
  input.joiners.pop_back();
  input.joiners[0].refused_checkpoints = {"a", "b", "c"};
  EXPECT_THAT(DecideMembership(input).checkpoints, IsEmpty());
  EXPECT_TRUE(DecideMembership(input).members[0].has_state()) << "from the start";
}

TEST(DecideMembershipTest, DrainingMemberLeavesWhenOthersHoldTheState) {
  Joiner leaver = Of("a", 1, 7, true, 5);
  leaver.draining = true;
  MembershipDecision decision =
      DecideMembership(Regroup({leaver, Of("b", 2)}, {leaver, Of("b", 2, 7, true, 5)}));
  EXPECT_THAT(Names(decision), ElementsAre("b"));
  EXPECT_THAT(decision.released, ElementsAre(1));
  // A newcomer without the state needs the draining one once more.
  decision = DecideMembership(Regroup({leaver}, {leaver, Of("c", 3)}));
  EXPECT_THAT(Names(decision), ElementsAre("a", "c"));
  EXPECT_THAT(decision.released, IsEmpty());
}

TEST(DecideRegroupTest, SaysWhoCausesIt) {
  std::vector<Joiner> members = {Of("a", 1), Of("b", 2)};
  MembershipInput calm = Regroup(members, {});
  calm.leases = {1, 2};
  EXPECT_FALSE(DecideRegroup(calm, {}).regroup);
  MembershipInput lost = calm;
  lost.leases = {1};
  EXPECT_EQ(DecideRegroup(lost, {}).reason, "b was lost");
  MembershipInput joined = calm;
  joined.joiners = {Of("c", 3)};
  EXPECT_EQ(DecideRegroup(joined, {}).reason, "c wants to join");
  MembershipInput left = calm;
  left.joiners = {Of("a", 1)};
  EXPECT_EQ(DecideRegroup(left, {}).reason, "a left the group");
  EXPECT_EQ(DecideRegroup(calm, {2}).reason, "b drains");
  EXPECT_FALSE(DecideRegroup(calm, {1, 2}).regroup) << "nobody could go on";
}

TEST(JoinableTest, ClosesNearTheEndAndWhenFull) {
  EXPECT_TRUE(Joinable(1, 0, 0, 100));
  EXPECT_TRUE(Joinable(1, 0, 94, 100));
  EXPECT_FALSE(Joinable(1, 0, 95, 100));
  EXPECT_TRUE(Joinable(0, 0, 99, 100)) << "somebody has to end it";
  EXPECT_FALSE(Joinable(2, 2, 0, 100));
}

}  // namespace
}  // namespace rsidiff::coordinator
