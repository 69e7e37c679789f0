//! What each run of a named question costs the query process, cold and warm.

use std::time::Instant;

use anyhow::Context;
use bench::corpus::{CorpusPlan, Needles};
use bench::cpu::ThreadTimes;
use bench::questions::{Question, named};
use bench::timing::Timing;

use crate::report::QueryFigures;
use crate::stage::Stage;

/// Runs of every question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    /// Each after a restart of the query process.
    pub(crate) cold: usize,
    /// One after another, after one that is not counted.
    pub(crate) warm: usize,
}

/// What runs of one question took together.
#[derive(Debug, Default)]
struct Spent {
    rows: u64,
    times_ms: Vec<f64>,
    cpu_ms: f64,
    bytes_read: u64,
}

/// Times every question.
pub(crate) async fn time_all(
    stage: &mut Stage,
    plan: &CorpusPlan,
    needles: &Needles,
    runs: Runs,
    raw_bytes: u64,
) -> anyhow::Result<Vec<QueryFigures>> {
    let mut all = Vec::new();
    for question in named(needles) {
        let (mut cold, mut warm) = (Spent::default(), Spent::default());
        for _ in 0..runs.cold {
            stage.restart_query().await?;
            spend(stage, &question, plan.range(), &mut cold).await?;
        }
        spend(stage, &question, plan.range(), &mut Spent::default()).await?;
        for _ in 0..runs.warm {
            spend(stage, &question, plan.range(), &mut warm).await?;
        }
        let timing =
            |spent: Spent| Timing::of(spent.times_ms, spent.cpu_ms, spent.bytes_read, raw_bytes);
        all.push(QueryFigures {
            name: question.name,
            query: question.logql(plan.seconds()),
            rows: warm.rows.max(cold.rows),
            cold: timing(cold),
            warm: timing(warm),
        });
    }
    Ok(all)
}

async fn spend(
    stage: &Stage,
    question: &Question,
    range: (i64, i64),
    spent: &mut Spent,
) -> anyhow::Result<()> {
    let role = stage.query();
    let read = "millrace_query_bytes_read_total";
    let read_before = stage.metric(role, read).await?;
    let cpu_before = ThreadTimes::of(role.id())?;
    let started = Instant::now();
    spent.rows = stage.loki().answer(question, range).await.context(question.name)?;
    spent.times_ms.push(started.elapsed().as_secs_f64() * 1e3);
    spent.cpu_ms += ThreadTimes::of(role.id())?.since(&cpu_before).as_secs_f64() * 1e3;
    spent.bytes_read += (stage.metric(role, read).await? - read_before) as u64;
    Ok(())
}
