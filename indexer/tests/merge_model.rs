//! The merge planner against a model: whatever segments there are, its plans are disjoint, keep to
//! their bounds, keep the order in which rows came in, and come to an end.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indexer::merge::plan::{MergePlan, plan, rank};
use indexer::merge::policy::MergePolicy;
use proptest::prelude::*;
use record::TenantId;
use segment::{SegmentId, SegmentKind, SegmentMeta};

const HOUR: i64 = 3_600_000_000_000;
const BYTES_PER_ROW: u64 = 100;

/// Times, and when each came in.
type Rows = Vec<(i64, u64)>;

/// Tenant, kind, class and time of rows.
type Where = (String, SegmentKind, String, i64);

/// Segments and their rows.
#[derive(Clone, Debug)]
struct Model {
    segments: BTreeMap<SegmentId, (Arc<SegmentMeta>, Rows)>,
    next_id: u128,
}

fn policy() -> MergePolicy {
    MergePolicy {
        logs_window: Duration::from_secs(3_600),
        samples_window: Duration::from_secs(7_200),
        inputs_min: 3,
        inputs_max: 6,
        bytes_max: 40 * BYTES_PER_ROW,
        raw_bytes_max: 50 * BYTES_PER_ROW,
        settle: Duration::from_secs(600),
    }
}

impl Model {
    fn add(&mut self, tenant: &str, kind: SegmentKind, class: &str, created_ms: i64, rows: Rows) {
        let id = SegmentId::from_bits(self.next_id);
        self.next_id += 1;
        let meta = SegmentMeta {
            id,
            kind,
            tenant: TenantId::new(tenant).unwrap(),
            path: format!("segments/{id}"),
            bytes: rows.len() as u64 * BYTES_PER_ROW,
            raw_bytes: rows.len() as u64 * BYTES_PER_ROW,
            rows: rows.len() as u64,
            time_min_ns: rows.iter().map(|(time, _)| *time).min().unwrap(),
            time_max_ns: rows.iter().map(|(time, _)| *time).max().unwrap(),
            ranges: Vec::new(),
            created_ms,
            footer_bytes: 0,
            level: 0,
            class: class.to_owned(),
        };
        self.segments.insert(id, (Arc::new(meta), rows));
    }

    fn plans(&self, set_aside: &BTreeSet<SegmentId>, now_ms: i64) -> Vec<MergePlan> {
        let segments = self.segments.values().map(|(meta, _)| meta);
        plan(segments, set_aside, &policy(), now_ms)
    }

    fn carry_out(&mut self, plan: &MergePlan) {
        let mut outputs = vec![Vec::new(); plan.cuts.len() + 1];
        for input in &plan.inputs {
            let (_, rows) = self.segments.remove(&input.id).expect("inputs are there");
            for row in rows {
                outputs[plan.cuts.partition_point(|cut| *cut <= row.0)].push(row);
            }
        }
        let first = &plan.inputs[0];
        let created_ms = plan.inputs.iter().map(|input| input.created_ms).max().unwrap();
        for rows in outputs.into_iter().filter(|rows| !rows.is_empty()) {
            self.add(first.tenant.as_str(), first.kind, &first.class, created_ms, rows);
        }
    }

    /// Rows of each family and time in the order a query sees them.
    fn orders(&self) -> BTreeMap<Where, Vec<u64>> {
        let mut segments: Vec<_> = self.segments.values().collect();
        segments.sort_by_key(|(meta, _)| rank(meta));
        let mut orders: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for (meta, rows) in segments {
            for (time, came_in) in rows {
                let tenant = meta.tenant.as_str().to_owned();
                let family = (tenant, meta.kind, meta.class.clone(), *time);
                orders.entry(family).or_default().push(*came_in);
            }
        }
        orders
    }
}

fn check(plan: &MergePlan) {
    let policy = policy();
    let first = &plan.inputs[0];
    for input in &plan.inputs {
        assert_eq!((&input.tenant, input.kind), (&first.tenant, first.kind));
        assert_eq!(input.class, first.class, "never across retention classes");
        assert_eq!(policy.home(input), plan.window);
    }
    assert!(plan.inputs.windows(2).all(|two| rank(&two[0]) < rank(&two[1])));
    assert!(plan.inputs.len() <= policy.inputs_max);
    let bytes: u64 = plan.inputs.iter().map(|input| input.bytes).sum();
    if plan.window.level == 0 {
        assert!(2 <= plan.inputs.len() && bytes <= policy.bytes_max && plan.cuts.is_empty());
    } else {
        assert!(plan.inputs.len() == 1 || bytes <= policy.raw_bytes_max);
    }
}

fn rows() -> impl Strategy<Value = Vec<i64>> {
    let time = prop_oneof![
        // Few distinct times, so that rows of different segments meet.
        8 => (0_i64..6, 0_i64..3).prop_map(|(hour, part)| 480_000 * HOUR + hour * HOUR + part),
        1 => (-40_i64..40).prop_map(|hour| 480_000 * HOUR + hour * HOUR),
        1 => prop_oneof![Just(0), Just(-1), Just(i64::MIN), Just(i64::MAX)],
    ];
    let in_one_hour =
        (0_i64..6, prop::collection::vec(0_i64..3, 1..8)).prop_map(|(hour, parts)| {
            parts.into_iter().map(|part| (480_000 + hour) * HOUR + part).collect()
        });
    prop_oneof![3 => in_one_hour, 1 => prop::collection::vec(time, 1..12)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn plans_are_sound_keep_the_order_and_end(
        segments in prop::collection::vec((0_u8..2, 0_u8..6, rows()), 1..40),
        damaged in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let mut model = Model { segments: BTreeMap::new(), next_id: 1 };
        let mut came_in = 0;
        for (created_ms, (tenant, sort, times)) in (1_000..).zip(segments) {
            let (kind, class) = match sort {
                0 => (SegmentKind::Samples, ""),
                1 => (SegmentKind::Logs, "audit"),
                _ => (SegmentKind::Logs, ""),
            };
            let mut rows = Vec::new();
            for time in times {
                came_in += 1;
                rows.push((time, came_in));
            }
            model.add(["a", "b"][usize::from(tenant)], kind, class, created_ms, rows);
        }
        let ids: Vec<SegmentId> = model.segments.keys().copied().collect();
        let set_aside: BTreeSet<SegmentId> =
            damaged.iter().map(|index| ids[index.index(ids.len())]).collect();
        let before = model.orders();
        // Long after the last segment came, so that every window has settled.
        let now_ms = 10_000_000;
        let mut steps = 0;
        loop {
            let plans = model.plans(&set_aside, now_ms);
            let mut seen = BTreeSet::new();
            for plan in &plans {
                check(plan);
                for input in &plan.inputs {
                    prop_assert!(seen.insert(input.id), "a segment is in one plan");
                    prop_assert!(!set_aside.contains(&input.id));
                }
            }
            let Some(pick) = picks.get(steps) else {
                prop_assert!(false, "more than {} merges", picks.len());
                break;
            };
            if plans.is_empty() {
                break;
            }
            model.carry_out(&plans[pick.index(plans.len())]);
            prop_assert_eq!(&model.orders(), &before, "rows and their order stay");
            steps += 1;
        }
        for (meta, _) in model.segments.values() {
            prop_assert!(
                set_aside.contains(&meta.id) || policy().home(meta).level == 0,
                "in the end every segment keeps to its window"
            );
        }
    }
}

#[test]
fn a_byte_is_written_again_only_when_what_it_is_in_doubles() {
    let mut model = Model { segments: BTreeMap::new(), next_id: 1 };
    let (mut written, mut rows) = (0, 0);
    for number in 0..64_i64 {
        let time = 480_000 * HOUR + number;
        model.add("a", SegmentKind::Logs, "", number, vec![(time, number as u64)]);
        rows += 1;
        // The window still grows.
        while let Some(plan) = model.plans(&BTreeSet::new(), number + 1).first().cloned() {
            written += plan.inputs.iter().map(|input| input.rows).sum::<u64>();
            model.carry_out(&plan);
        }
    }
    assert!(written <= rows * 6, "{written} rows written for {rows}");
    assert!(model.segments.len() <= 12, "{}", model.segments.len());
}
