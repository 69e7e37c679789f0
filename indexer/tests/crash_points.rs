//! Killed before and after every durable step, and started again: no row is lost or doubled, and
//! the only objects left over are those it had uploaded and not committed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use object_store::ObjectStoreExt;
use object_store::path::Path;
use segment::store::faulty::{Fault, Operation};
use support::{Rig, assert_all_published, send_some, until};

/// What an indexer makes durable, each by one put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The commit that takes partitions over.
    Acquire,
    /// A segment's object.
    Segment,
    /// The commit that publishes segments and offsets.
    Publish,
    /// The snapshot after some commits, and the hint that names it.
    Snapshot,
    SnapshotHint,
}

const STEPS: [Step; 5] =
    [Step::Acquire, Step::Segment, Step::Publish, Step::Snapshot, Step::SnapshotHint];

/// When it dies: the put is not done, or it is done and nobody hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

/// How often the step is taken before the one at which it dies.
const SURVIVED: [usize; 3] = [0, 1, 2];

/// What is known of the indexer that dies.
#[derive(Debug, Default)]
struct Life {
    uploaded: BTreeSet<String>,
    /// Steps of the kind in question.
    taken: usize,
    died_at: Option<Path>,
}

fn step_of(path: &Path, life: &Life) -> Option<Step> {
    let name = path.as_ref();
    if name.starts_with("segments/") {
        return Some(Step::Segment);
    }
    if name.contains("/commits/") {
        // Partitions are taken over before anything of them is uploaded.
        return Some(if life.uploaded.is_empty() { Step::Acquire } else { Step::Publish });
    }
    if name.ends_with("/snapshots/latest") {
        return Some(Step::SnapshotHint);
    }
    name.contains("/snapshots/").then_some(Step::Snapshot)
}

/// Makes the store stop an indexer dead at its `survived + 1`st `step`.
fn die_at(rig: &Rig, step: Step, moment: Moment, survived: usize) -> Arc<Mutex<Life>> {
    let shared = Arc::new(Mutex::new(Life::default()));
    let life = Arc::clone(&shared);
    rig.faults.choose(move |operation, path| {
        let mut life = life.lock().unwrap();
        if life.died_at.is_some() {
            // A dead process asks nothing more.
            return Some(Fault::Hang);
        }
        if operation != Operation::Put {
            return None;
        }
        let taken = step_of(path, &life)?;
        let dies = taken == step && life.taken == survived;
        life.taken += usize::from(taken == step);
        if taken == Step::Segment && !(dies && moment == Moment::Before) {
            life.uploaded.insert(path.to_string());
        }
        if !dies {
            return None;
        }
        life.died_at = Some(path.clone());
        Some(if moment == Moment::Before { Fault::Hang } else { Fault::LoseAnswer })
    });
    shared
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_and_only_uncommitted_uploads_are_left_over() {
    for step in STEPS {
        for moment in [Moment::Before, Moment::After] {
            for survived in SURVIVED {
                check(step, moment, survived).await;
            }
        }
    }
}

async fn check(step: Step, moment: Moment, survived: usize) {
    let case = format!("{moment:?} {step:?} after {survived}");
    if step == Step::Acquire && survived != 0 {
        // It takes everything over at once.
        return;
    }
    let mut rig = Rig::new(2);
    rig.snapshot_every = 2;
    rig.section.topics.samples.clear();
    send_some(&rig, 0).await;
    let life = die_at(&rig, step, moment, survived);
    let running = rig.start("a").await;
    let mut round: u8 = 0;
    let mut looks = 0;
    until(&case, async || {
        // More to do, until it gets to the point.
        looks += 1;
        if looks % 20 == 0 && round < 100 {
            round += 1;
            send_some(&rig, round).await;
        }
        let died_at = life.lock().unwrap().died_at.clone()?;
        if moment == Moment::After {
            rig.sound_store.head(&died_at).await.ok()?;
        }
        Some(())
    })
    .await;
    running.crash().await;
    rig.faults.clear();

    let state = rig.state().await;
    let named: BTreeSet<String> = state.segments.values().map(|meta| meta.path.clone()).collect();
    let uploaded = std::mem::take(&mut life.lock().unwrap().uploaded);
    assert!(named.is_subset(&uploaded), "{case}: a commit names what was not uploaded");
    let left_over: BTreeSet<String> = uploaded.difference(&named).cloned().collect();
    assert_eq!(rig.orphans().await, left_over, "{case}: just after the crash");

    send_some(&rig, 200).await;
    rig.start("a").await.stop().await.unwrap();
    assert_all_published(&rig).await;
    assert_eq!(rig.orphans().await, left_over, "{case}: after the restart");
    rig.assert_sound_catalog().await;
}
