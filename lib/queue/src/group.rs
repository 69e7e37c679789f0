//! Who reads which partition, for the queues that live inside this process.
//!
//! Always holds: a partition has at most one owner; it changes hands only after the old owner was
//! told and asked for its next event (or left); within a topic no member has two partitions more
//! than another; nothing moves without need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{Partition, Topic, TopicPartition};

/// A consumer within its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(u64);

/// What a member must be told before anything else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// Every group of one queue.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<String, Group>,
    members_made: u64,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<TopicPartition, MemberId>,
}

#[derive(Debug)]
struct Member {
    topics: BTreeSet<Topic>,
    /// Told as revoked; released when the member asks for its next event.
    releasing: BTreeSet<TopicPartition>,
    /// Taken away without asking (a broken connection); the member has not been told yet.
    taken: BTreeSet<TopicPartition>,
}

impl Groups {
    pub(crate) fn join(&mut self, group: &str, topics: &[Topic]) -> MemberId {
        self.members_made += 1;
        let id = MemberId(self.members_made);
        let member = Member {
            topics: topics.iter().cloned().collect(),
            releasing: BTreeSet::new(),
            taken: BTreeSet::new(),
        };
        let group = self.groups.entry(group.to_owned()).or_default();
        group.members.insert(id, member);
        id
    }

    pub(crate) fn leave(&mut self, group: &str, member: MemberId) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        state.members.remove(&member);
        state.owners.retain(|_, owner| *owner != member);
        if state.members.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Takes every partition from every member, as when all lose the broker.
    pub(crate) fn take_all(&mut self) {
        for group in self.groups.values_mut() {
            for (at, owner) in std::mem::take(&mut group.owners) {
                if let Some(member) = group.members.get_mut(&owner)
                    && !member.releasing.remove(&at)
                {
                    member.taken.insert(at);
                }
            }
        }
    }

    /// Returns the next thing `member` must be told, and whether other members should look too.
    pub(crate) fn poll(
        &mut self,
        group: &str,
        member: MemberId,
        partitions: impl Fn(&Topic) -> u32,
    ) -> (Option<GroupEvent>, bool) {
        let Some(group) = self.groups.get_mut(group) else {
            return (None, false);
        };
        let Some(state) = group.members.get_mut(&member) else {
            return (None, false);
        };
        if !state.taken.is_empty() {
            let taken = std::mem::take(&mut state.taken);
            return (Some(GroupEvent::Revoked(taken.into_iter().collect())), true);
        }
        let released = std::mem::take(&mut state.releasing);
        for at in &released {
            group.owners.remove(at);
        }
        let wanted = share_out(&group.members, &group.owners, partitions);
        let event = group.give_up(member, &wanted).or_else(|| group.take_up(member, &wanted));
        (event, !released.is_empty())
    }
}

impl Group {
    fn give_up(
        &mut self,
        member: MemberId,
        wanted: &BTreeMap<TopicPartition, MemberId>,
    ) -> Option<GroupEvent> {
        let leaving: Vec<TopicPartition> = self
            .owners
            .iter()
            .filter(|(at, owner)| **owner == member && wanted.get(at) != Some(&member))
            .map(|(at, _)| at.clone())
            .collect();
        if leaving.is_empty() {
            return None;
        }
        let state = self.members.get_mut(&member)?;
        state.releasing.extend(leaving.iter().cloned());
        Some(GroupEvent::Revoked(leaving))
    }

    fn take_up(
        &mut self,
        member: MemberId,
        wanted: &BTreeMap<TopicPartition, MemberId>,
    ) -> Option<GroupEvent> {
        let joining: Vec<TopicPartition> = wanted
            .iter()
            .filter(|(at, owner)| **owner == member && !self.owners.contains_key(at))
            .map(|(at, _)| at.clone())
            .collect();
        if joining.is_empty() {
            return None;
        }
        for at in &joining {
            self.owners.insert(at.clone(), member);
        }
        Some(GroupEvent::Assigned(joining))
    }
}

/// Returns who should own each partition, moving as little as balance allows.
fn share_out(
    members: &BTreeMap<MemberId, Member>,
    owners: &BTreeMap<TopicPartition, MemberId>,
    partitions: impl Fn(&Topic) -> u32,
) -> BTreeMap<TopicPartition, MemberId> {
    let topics: BTreeSet<&Topic> = members.values().flat_map(|m| &m.topics).collect();
    let mut wanted = BTreeMap::new();
    let mut totals: BTreeMap<MemberId, usize> = BTreeMap::new();
    for topic in topics {
        let readers: Vec<MemberId> = members
            .iter()
            .filter(|(_, member)| member.topics.contains(topic))
            .map(|(id, _)| *id)
            .collect();
        let all: Vec<TopicPartition> = (0..partitions(topic))
            .filter_map(|number| i32::try_from(number).ok())
            .map(|number| TopicPartition::new(topic, Partition(number)))
            .collect();
        for (at, owner) in share_out_topic(&readers, &all, owners, &totals) {
            *totals.entry(owner).or_default() += 1;
            wanted.insert(at, owner);
        }
    }
    wanted
}

fn share_out_topic(
    readers: &[MemberId],
    all: &[TopicPartition],
    owners: &BTreeMap<TopicPartition, MemberId>,
    totals: &BTreeMap<MemberId, usize>,
) -> Vec<(TopicPartition, MemberId)> {
    if readers.is_empty() {
        return Vec::new();
    }
    let held = |id: MemberId| all.iter().filter(|at| owners.get(at) == Some(&id)).count();
    let total = |id: MemberId| totals.get(&id).copied().unwrap_or(0);
    let mut order: Vec<MemberId> = readers.to_vec();
    // Whoever holds most keeps the odd partition; then whoever has least of other topics.
    order.sort_by_key(|id| (std::cmp::Reverse(held(*id)), total(*id), *id));
    let (share, odd) = (all.len() / order.len(), all.len() % order.len());
    let mut room: BTreeMap<MemberId, usize> = order
        .iter()
        .enumerate()
        .map(|(place, id)| (*id, share + usize::from(place < odd)))
        .collect();

    let mut wanted = Vec::with_capacity(all.len());
    let mut free = Vec::new();
    for at in all {
        match owners.get(at).and_then(|id| room.get_mut(id).map(|left| (*id, left))) {
            Some((id, left)) if 0 < *left => {
                *left -= 1;
                wanted.push((at.clone(), id));
            }
            _ => free.push(at.clone()),
        }
    }
    let mut vacancies =
        order.iter().flat_map(|id| std::iter::repeat_n(*id, room.get(id).copied().unwrap_or(0)));
    for at in free {
        if let Some(id) = vacancies.next() {
            wanted.push((at, id));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    /// Lets every member ask until nobody is told anything more.
    fn settle(groups: &mut Groups, members: &[MemberId], partitions: u32) {
        for _ in 0..100 {
            let mut quiet = true;
            for member in members {
                let (event, released) = groups.poll("g", *member, |_| partitions);
                quiet &= event.is_none() && !released;
            }
            if quiet {
                return;
            }
        }
        panic!("the group does not settle");
    }

    fn counts(groups: &Groups, members: &[MemberId]) -> Vec<usize> {
        let group = groups.groups.get("g").unwrap();
        members
            .iter()
            .map(|id| group.owners.values().filter(|owner| *owner == id).count())
            .collect()
    }

    #[test]
    fn a_partition_moves_only_after_its_owner_was_told() {
        let mut groups = Groups::default();
        let topics = [Topic::logs()];
        let first = groups.join("g", &topics);
        settle(&mut groups, &[first], 2);
        let second = groups.join("g", &topics);
        assert_eq!(groups.poll("g", second, |_| 2).0, None);
        let (told, _) = groups.poll("g", first, |_| 2);
        assert!(matches!(told, Some(GroupEvent::Revoked(ref at)) if at.len() == 1));
        assert_eq!(groups.poll("g", second, |_| 2).0, None, "not released yet");
        assert_eq!(groups.poll("g", first, |_| 2), (None, true));
        let (told, _) = groups.poll("g", second, |_| 2);
        assert!(matches!(told, Some(GroupEvent::Assigned(ref at)) if at.len() == 1));
    }

    #[test]
    fn one_partition_of_two_topics_goes_to_two_members() {
        let mut groups = Groups::default();
        let topics = [Topic::logs(), Topic::samples()];
        let members = [groups.join("g", &topics), groups.join("g", &topics)];
        settle(&mut groups, &members, 1);
        assert_eq!(counts(&groups, &members), [1, 1]);
    }

    proptest! {
        #[test]
        fn shares_differ_by_at_most_one(
            partitions in 0u32..20,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..20),
        ) {
            let mut groups = Groups::default();
            let mut members = vec![groups.join("g", &[Topic::logs()])];
            for (join, who) in steps {
                if join || members.len() < 2 {
                    members.push(groups.join("g", &[Topic::logs()]));
                } else {
                    let member = members.swap_remove(who.index(members.len()));
                    groups.leave("g", member);
                }
                settle(&mut groups, &members, partitions);
                let counts = counts(&groups, &members);
                prop_assert_eq!(counts.iter().sum::<usize>(), partitions as usize);
                let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(high - low <= 1, "{:?}", counts);
            }
        }
    }
}
