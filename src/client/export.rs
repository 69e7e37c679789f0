//! `millrace export`: published log rows as a Parquet file that other programs read.
//!
//! Reads the store that a configuration file names, beside or without running processes. Segments
//! follow each other from old to new by their first row; the rows of a segment are as they lie, by
//! stream, then time.
//!
//! What always holds: the file has its name only when it is whole, with every published row that was
//! asked for. A segment that cannot be read is named and counted, and then the rows of the others
//! stay under the unfinished name.
//!
//! On a crash an unfinished file is left, without the footer that a reader needs; a signal removes
//! it.
//!
//! Bounds: the tables and a window of rows of one segment, and a row group of the file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use query::api::loki::parse_time;
use query::logql::parse_matchers;
use record::TenantId;
use runtime::clock::SharedClock;
use runtime::shutdown::{Shutdown, Tasks};
use segment::logs::plan::{CompiledPlan, LogPlan};
use segment::logs::{LogExport, LogSegment, ScanBudget, SegmentError};
use segment::{SegmentKind, SegmentMeta};

use super::print::Printer;
use super::published::Published;
use super::time::rfc3339_millis;
use super::unfinished::{Unfinished, check_target};
use crate::cli::{ExportArgs, Output, RangeArgs};

/// Pause between two words on how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs the command; a signal ends it and takes the unfinished file away.
pub(crate) async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(&shutdown);
    shutdown.on_signals(&tasks).context("listen for signals")?;
    let stop = shutdown.token();
    tokio::select! {
        biased;
        () = stop.cancelled() => bail!("interrupted, `{}` was not written", args.out.display()),
        done = export(&args) => done,
    }
}

async fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let matchers = match &args.selector {
        Some(text) => {
            parse_matchers(text).with_context(|| format!("read the stream selector `{text}`"))?
        }
        None => Vec::new(),
    };
    check_target(&args.out, args.force)?;
    let published = Published::open(&args.store, "millrace export").await?;
    let (start_ns, end_ns) = times(&args.range, published.clock.unix_nanos())?;
    let tenant = tenant(&published, args.tenant.as_deref(), start_ns, end_ns)?;
    let plan = LogPlan::all(tenant, start_ns, end_ns, matchers);
    let segments = segments(&published, &plan);

    let unfinished = Unfinished::beside(&args.out)?;
    let mut exporting = Exporting::new(&published, &plan, &unfinished)?;
    let printer = Printer::new(Output::Raw);
    let mut unreadable = 0;
    for (done, meta) in segments.iter().enumerate() {
        exporting.progress.at_segment(done, segments.len());
        let Err(error) = exporting.segment(meta).await else { continue };
        if !is_of_one_segment(&error) {
            return Err(error.context(format!("export segment {}", meta.id)));
        }
        unreadable += 1;
        exporting.progress.clear();
        printer.note(&format!("{} {error:#}{}", meta.id, fate(&published, meta).await));
    }
    let rows = exporting.finish()?;
    if rows == 0 && unreadable == 0 {
        bail!(
            "no published row from {} to {} {}; `millrace segments ls` lists what is published",
            rfc3339_millis(start_ns),
            rfc3339_millis(end_ns),
            args.selector.as_ref().map_or("at all".to_owned(), |text| format!("matches `{text}`")),
        );
    }
    if 0 < unreadable {
        let (segments, out) = (segments.len(), args.out.display());
        let failed = format!(
            "{unreadable} of {segments} segments could not be read, so `{out}` was not written"
        );
        if rows == 0 {
            bail!("{failed}");
        }
        bail!("{failed}; the {rows} rows that could are in `{}`", unfinished.keep()?.display());
    }
    let bytes = unfinished.publish(&args.out, args.force)?;
    printer.line(&format!("{rows} rows, {bytes} bytes, {}", args.out.display()))
}

/// Rows on their way from segments into the file.
struct Exporting<'a> {
    published: &'a Published,
    plan: Arc<CompiledPlan>,
    budget: Arc<ScanBudget>,
    out: &'a Unfinished,
    file: LogExport<File>,
    progress: Progress,
}

impl<'a> Exporting<'a> {
    fn new(published: &'a Published, plan: &LogPlan, out: &'a Unfinished) -> anyhow::Result<Self> {
        Ok(Self {
            published,
            plan: Arc::new(CompiledPlan::new(plan)?),
            budget: Arc::new(ScanBudget::unlimited()),
            out,
            file: LogExport::new(out.file()?).with_context(|| out.context())?,
            progress: Progress::new(Arc::clone(&published.clock)),
        })
    }

    async fn segment(&mut self, meta: &SegmentMeta) -> anyhow::Result<()> {
        let segment = LogSegment::open(Arc::clone(&self.published.store), meta).await?;
        let mut scan = segment.scan(&self.plan, &self.budget, None);
        while let Some(rows) = scan.next_rows().await? {
            self.file.write(&rows).with_context(|| self.out.context())?;
            self.progress.add(rows.len() as u64);
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<u64> {
        self.progress.clear();
        self.file.finish().with_context(|| self.out.context())
    }
}

/// Earliest time, inclusive, and latest, exclusive: the range that a query with the same flags has.
fn times(range: &RangeArgs, now_ns: i64) -> anyhow::Result<(i64, i64)> {
    let read = |flag: &str, text: &String| {
        parse_time(text).map_err(|why| anyhow!("could not read `{flag}`: {why}"))
    };
    let end_ns = range.to.as_ref().map_or(Ok(now_ns), |text| read("--to", text))?;
    let since_ns = i64::try_from(range.since.as_nanos()).unwrap_or(i64::MAX);
    let start_ns = match &range.from {
        Some(text) => read("--from", text)?,
        None => end_ns.min(now_ns).saturating_sub(since_ns),
    };
    if end_ns <= start_ns {
        let (start, end) = (rfc3339_millis(start_ns), rfc3339_millis(end_ns));
        bail!("the range ends at {end}, which is not after its start {start}");
    }
    Ok((start_ns, end_ns))
}

/// Whose rows are meant. The file does not say whose a row is, so it has those of one tenant.
fn tenant(
    published: &Published,
    named: Option<&str>,
    start_ns: i64,
    end_ns: i64,
) -> anyhow::Result<TenantId> {
    if let Some(name) = named {
        return TenantId::new(name).context("read `--tenant`");
    }
    let state = published.catalog.state();
    let logs = state.segments.values().filter(|meta| meta.kind == SegmentKind::Logs);
    let in_range = logs.filter(|meta| meta.overlaps(start_ns, end_ns));
    let found: BTreeSet<&TenantId> = in_range.map(|meta| &meta.tenant).collect();
    if 1 < found.len() {
        let names: Vec<&str> = found.iter().map(|tenant| tenant.as_str()).collect();
        bail!("several tenants have rows, choose one with --tenant: {}", names.join(", "));
    }
    Ok(found.first().map_or_else(TenantId::default, |tenant| TenantId::clone(tenant)))
}

/// The segments that may have rows of the plan, from old to new.
fn segments(published: &Published, plan: &LogPlan) -> Vec<Arc<SegmentMeta>> {
    let state = published.catalog.state();
    let found = state.segments_between(&plan.tenant, SegmentKind::Logs, plan.start_ns, plan.end_ns);
    let mut segments: Vec<Arc<SegmentMeta>> = found.map(Arc::clone).collect();
    segments.sort_by_key(|meta| (meta.time_min_ns, meta.id));
    segments
}

/// Whether the fault is the segment's alone, so that others may well be read.
fn is_of_one_segment(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<SegmentError>() {
        Some(SegmentError::Damaged { .. } | SegmentError::TooNew { .. }) => true,
        Some(SegmentError::Store { source, .. }) => {
            matches!(source, object_store::Error::NotFound { .. })
        }
        _ => false,
    }
}

/// Says so where a segment that could not be read is none any more.
async fn fate(published: &Published, meta: &SegmentMeta) -> &'static str {
    match published.catalog.refresh().await {
        Ok(state) if !state.segments.contains_key(&meta.id) => {
            "; it was merged or removed since the export began, start again"
        }
        _ => "",
    }
}

/// A line on the terminal that says how far it has come; nothing where there is no terminal.
struct Progress {
    terminal: bool,
    clock: SharedClock,
    shown_at: Option<Duration>,
    done: usize,
    segments: usize,
    rows: u64,
}

impl Progress {
    fn new(clock: SharedClock) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, clock, shown_at: None, done: 0, segments: 0, rows: 0 }
    }

    fn at_segment(&mut self, done: usize, segments: usize) {
        (self.done, self.segments) = (done, segments);
        self.show();
    }

    fn add(&mut self, rows: u64) {
        self.rows += rows;
        self.show();
    }

    fn show(&mut self) {
        let now = self.clock.elapsed();
        let recent = self.shown_at.is_some_and(|at| now.saturating_sub(at) < PROGRESS_EVERY);
        if recent || !self.terminal {
            return;
        }
        self.shown_at = Some(now);
        let Self { done, segments, rows, .. } = self;
        write(&format!("\r\x1b[K{done} of {segments} segments, {rows} rows"));
    }

    /// Takes the line away, for others to be written.
    fn clear(&mut self) {
        if self.shown_at.take().is_some() {
            write("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes to the terminal; one that went away is no reason to stop.
fn write(text: &str) {
    let mut terminal = io::stderr().lock();
    drop(terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_range_is_that_of_a_query() {
        let range = |from: Option<&str>, to: Option<&str>| RangeArgs {
            since: Duration::from_secs(60),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        let now = 10_000 * SECOND;
        let found = |from, to| times(&range(from, to), now).map_err(|error| error.to_string());
        assert_eq!(found(None, None), Ok((9_940 * SECOND, now)));
        assert_eq!(found(None, Some("9000")), Ok((8_940 * SECOND, 9_000 * SECOND)));
        assert_eq!(found(None, Some("20000")), Ok((9_940 * SECOND, 20_000 * SECOND)));
        assert_eq!(found(Some("1970-01-01T00:00:01Z"), None), Ok((SECOND, now)));
        assert_eq!(
            found(Some("7"), Some("7")).unwrap_err(),
            "the range ends at 1970-01-01T00:00:07.000Z, which is not after its start \
             1970-01-01T00:00:07.000Z"
        );
        assert!(found(Some("monday"), None).unwrap_err().starts_with("could not read `--from`"));
    }
}
