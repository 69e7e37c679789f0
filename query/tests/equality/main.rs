//! Equality with a naive reading of LogQL, over generated rows, layouts and questions.
//!
//! Rows lie in one to four segments with granules of different sizes, and with the indexer; their
//! times overlap. The naive side looks at every row for every question and knows nothing of
//! pruning, folding or limits.
//!
//! `MILLRACE_ORACLE_QUERIES` says how many questions are asked, `MILLRACE_ORACLE_SEED` which: a
//! failure prints the seed of its world, which alone gives the same world again.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed test may panic, and says how to repeat it"
)]

mod corpus;
mod naive;
mod question;
#[path = "../world/mod.rs"]
mod world;

use fastrand::Rng;
use world::{Row, World};

/// Questions to each world: making one costs more than asking it.
const QUESTIONS_PER_WORLD: usize = 40;

/// Questions when nobody says otherwise: a few seconds on two cores.
const QUESTIONS: usize = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn generated_questions_get_the_naive_answer() {
    let questions = number("MILLRACE_ORACLE_QUERIES").map_or(QUESTIONS, |n| n as usize);
    let seed = number("MILLRACE_ORACLE_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("MILLRACE_ORACLE_SEED={seed} MILLRACE_ORACLE_QUERIES={questions}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut kinds = Kinds::default();
    for number in 0..questions.div_ceil(QUESTIONS_PER_WORLD) as u64 {
        runtime.block_on(ask_world(seed.wrapping_add(number), &mut kinds));
    }
    eprintln!("{kinds:?}");
    // Answers of all kinds were compared, or the test shows nothing.
    assert!(0 < kinds.entries && 0 < kinds.points && 0 < kinds.empty, "{kinds:?}");
}

/// What was compared.
#[derive(Debug, Default)]
struct Kinds {
    entries: usize,
    points: usize,
    /// Questions without an answer.
    empty: usize,
}

async fn ask_world(seed: u64, kinds: &mut Kinds) {
    let mut rng = Rng::with_seed(seed);
    let rows = corpus::rows(&mut rng);
    let world = lay_out(&rows, &mut rng).await;
    for number in 0..QUESTIONS_PER_WORLD {
        let question = question::generate(&rows, &mut rng);
        let answer = world.get(&question.path()).await;
        let place = || format!("MILLRACE_ORACLE_SEED={seed}, question {number}: {question:?}");
        assert_eq!(answer.status, 200, "{}: {}", place(), answer.text());
        assert_eq!(answer.warnings(), "", "{}", place());
        let json = answer.json();
        match &question.metric {
            None => {
                let (got, expected) = (naive::entries_of(&json), naive::entries(&rows, &question));
                assert_eq!(got, expected, "{}", place());
                kinds.entries += expected.values().map(Vec::len).sum::<usize>();
                kinds.empty += usize::from(expected.is_empty());
            }
            Some(metric) => {
                let (got, expected) =
                    (naive::points_of(&json), naive::points(&rows, &question, metric));
                assert!(naive::close(&got, &expected), "{}\n{got:?}\n{expected:?}", place());
                kinds.points += expected.len();
                kinds.empty += usize::from(expected.is_empty());
            }
        }
    }
}

/// Puts rows, in their order, into segments and with the indexer.
async fn lay_out(rows: &[Row], rng: &mut Rng) -> World {
    let mut world = World::new().await;
    let recent = if rng.bool() { rng.usize(0..=rows.len()) } else { rows.len() };
    let (published, held) = rows.split_at(recent);
    let mut rest = published;
    let parts = rng.usize(1..=4);
    for part in 1..=parts {
        let take = if part == parts { rest.len() } else { rng.usize(0..=rest.len()) };
        let (here, later) = rest.split_at(take);
        rest = later;
        if !here.is_empty() {
            let granule_rows = [1, 3, 8, 50, 200, 8_192][rng.usize(..6)];
            world.publish_in_granules(here, granule_rows).await;
        }
    }
    for part in held.chunks(held.len().div_ceil(2).max(1)) {
        world.hold(part);
    }
    world
}
